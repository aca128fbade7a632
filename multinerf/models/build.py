"""Small changes to a model that is a value like any other."""

from typing import Any

from multinerf import errors
from multinerf.models import model as model_lib


def with_compute_dtype(
  model: model_lib.Model,
  compute_dtype: str,
  *,
  option: str = 'Config.compute_dtype',
) -> model_lib.Model:
  """Returns the model with the dense layers' arithmetic in another type.

  Args:
    model: Any model whose fields have an attribute `compute_dtype`, as MLPs do.
    compute_dtype: 'float32' or 'bfloat16'; parameters stay float32.
    option: What asks for it, for the error.

  Raises:
    ConfigError: A field that the model uses has no such attribute.
  """
  if model.sampling_strategy is not None:
    changed = {'compute_dtype': compute_dtype}
    params = tuple(dict(p) | changed for p in model.mlp_params_per_level)
    return model.clone(mlp_params_per_level=params)
  fields = {'nerf_mlp': model.nerf_mlp}
  if model.num_levels > 1 and not model.single_mlp:
    fields['prop_mlp'] = model.prop_mlp
  for name, field in fields.items():
    if not hasattr(field, 'compute_dtype'):
      raise errors.ConfigError(
        f'{option} = {compute_dtype!r}, but Model.{name} is a '
        f'{type(field).__name__}, which has no attribute compute_dtype: give it '
        f'one, or leave {option} at its default (gin: {option}).'
      )
  changes: dict[str, Any] = {
    name: field.clone(compute_dtype=compute_dtype)
    for name, field in fields.items()
  }
  return model.clone(**changes)


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
