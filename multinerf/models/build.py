"""Small changes to a model that is a value like any other."""

from multinerf import errors
from multinerf.models import model as model_lib


def with_compute_dtype(
  model: model_lib.Model, compute_dtype: str
) -> model_lib.Model:
  """Returns the model with the dense layers' arithmetic in another type.

  Args:
    model: Any model of MLP fields.
    compute_dtype: 'float32' or 'bfloat16'; parameters stay float32.
  """
  if model.sampling_strategy is not None:
    option = {'compute_dtype': compute_dtype}
    params = tuple(dict(p) | option for p in model.mlp_params_per_level)
    return model.clone(mlp_params_per_level=params)
  return model.clone(
    nerf_mlp=model.nerf_mlp.clone(compute_dtype=compute_dtype),
    prop_mlp=model.prop_mlp.clone(compute_dtype=compute_dtype),
  )


def check_num_images(model: model_lib.Model, num_images: int) -> None:
  """Checks that every training image has an appearance code.

  Raises:
    ConfigError: There are more images than codes.
  """
  if model.num_glo_features > 0 and num_images > model.num_glo_embeddings:
    raise errors.ConfigError(
      f'{num_images} training images, but Model.num_glo_embeddings = '
      f'{model.num_glo_embeddings}; raise it to at least {num_images}.'
    )
