"""What a loss sees, the options of all losses, and how they are put together.

A *data loss* compares colours: `(pred, target, LossConfig) -> [..., 3]`,
chosen by `Config.data_loss_type`; one that must remember something from step to
step is a `StatefulDataLoss`. A *regulariser* is any other term:
`(LossInputs, LossConfig) -> scalar`, with a predicate that says whether the
options switch it on; one that is off never enters the program.

To add one, register it in a new file (`@DATA_LOSSES.register('name')`,
`register_regularizer`), and `import` that file from gin.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import parallel, registry, types

T = TypeVar('T', bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """The options of the losses; names and defaults as in `Config`."""

  data_loss_type: str = 'charb'
  charb_padding: float = 0.001
  robust_loss_scale: float = 0.01
  data_loss_mult: float = 1.0
  data_coarse_loss_mult: float = 0.0
  disable_multiscale_loss: bool = False
  normalize_loss_weights: bool = True
  interlevel_loss_mult: float = 1.0
  spline_interlevel_params: Mapping[str, Any] | None = None
  distortion_loss_mult: float = 0.01
  distortion_loss_target: str = 'sdist'
  distortion_loss_curve_fn: (
    tuple[Callable[..., Any], Mapping[str, Any]] | None
  ) = None
  orientation_loss_mult: float = 0.0
  orientation_coarse_loss_mult: float = 0.0
  orientation_loss_target: str = 'normals_pred'
  predicted_normal_loss_mult: float = 0.0
  predicted_normal_coarse_loss_mult: float = 0.0
  eikonal_loss_mult: float = 0.0
  eikonal_coarse_loss_mult: float = 0.0
  depth_loss_mult: float = 0.0
  depth_loss_type: str = 'mse'
  depth_sigma: float = 0.01
  normal_loss_mult: float = 0.0
  normal_loss_type: str = 'l1_cosine'
  normal_loss_target: str = 'normals'
  weight_decay_mults: Mapping[str, float] = dataclasses.field(
    default_factory=dict
  )
  param_regularizers: Mapping[
    str, tuple[float, Callable[..., Any], float, float]
  ] = dataclasses.field(default_factory=dict)
  enable_robustnerf_loss: bool = False
  robustnerf_inlier_quantile: float = 0.5
  robustnerf_smoothed_filter_size: int = 3
  robustnerf_smoothed_inlier_quantile: float = 0.5
  robustnerf_inner_patch_size: int = 8
  robustnerf_inner_patch_inlier_quantile: float = 0.5
  compute_disp_metrics: bool = False
  compute_normal_metrics: bool = False


@flax.struct.dataclass
class LossInputs:
  """One device's share of a batch, as rendered.

  Attributes:
    rays: The rays.
    rgb: [..., 3] true colours over white.
    lossmult: [..., 3] weight of each value, scaled so that its mean over all
      devices is 1. A plain mean of `lossmult * loss` is then the weighted mean
      of the whole batch however the batch is spread (upstream normalised per
      device, which made the result depend on their number).
    renderings, levels: One each per sampling level, coarsest first.
    params: The parameter tree below 'params'.
    disps, normals, alphas, depths, depth_weights: Ground truth where the data
      set has it, or None; see `types.Batch`.
  """

  rays: types.Rays
  rgb: Float[Array, '*batch 3']
  lossmult: Float[Array, '*batch 3']
  renderings: tuple
  levels: tuple
  params: Any
  disps: Any = None
  normals: Any = None
  alphas: Any = None
  depths: Any = None
  depth_weights: Any = None


@runtime_checkable
class StatefulDataLoss(Protocol):
  """A data loss that remembers something from step to step.

  Registered like any other, as an object. What it remembers is part of the
  train state: saved in checkpoints, and the same on all devices.
  """

  def init_state(self, cfg: LossConfig) -> dict[str, Any]:
    """What it remembers before the first step: named arrays."""
    ...

  def __call__(
    self, pred: Any, target: Any, cfg: LossConfig, state: dict[str, Any]
  ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Compares the colours of one level.

    Args:
      pred, target: [..., 3] this device's share of the batch.
      cfg: The options.
      state: What the step before left; every level gets the same.

    Returns:
      The loss [..., 3]; what to remember, without gradient and equal on all
      devices (see `parallel.all_gather`); statistics to report, which are
      averaged over devices. The last level's state and statistics count.
    """
    ...


DataLoss = Callable[[Any, Any, LossConfig], Any]
DATA_LOSSES: registry.Registry[DataLoss | StatefulDataLoss] = registry.Registry(
  'data loss', 'Config.data_loss_type'
)


def init_data_loss_state(cfg: LossConfig) -> dict[str, Any]:
  """What the data loss of `cfg` remembers before the first step; often {}."""
  loss = DATA_LOSSES.get(cfg.data_loss_type)
  return loss.init_state(cfg) if isinstance(loss, StatefulDataLoss) else {}


@dataclasses.dataclass(frozen=True)
class Regularizer:
  """A term of the loss beside the data term.

  Attributes:
    fn: (inputs, cfg) -> scalar, already multiplied by its weight.
    is_active: Whether the options switch it on.
  """

  fn: Callable[[LossInputs, LossConfig], Any]
  is_active: Callable[[LossConfig], bool]


REGULARIZERS: registry.Registry[Regularizer] = registry.Registry(
  'regularizer', 'the option named like it'
)


def register_regularizer(
  name: str, is_active: Callable[[LossConfig], bool]
) -> Callable[..., Any]:
  """Decorator: registers `(inputs, cfg) -> scalar` as the term `name`.

  Args:
    name: Key in stats['losses'] and in TensorBoard tags.
    is_active: Whether the options switch the term on.
  """

  def add(fn):
    REGULARIZERS.register(name)(Regularizer(fn, is_active))
    return fn

  return add


def per_ray(fn: T) -> T:
  """Declares that a loss is a mean over rays of what each says by itself.

  A data loss whose entries depend on their own ray alone, or a regulariser that
  is such a mean (or depends on parameters alone). Its gradient may then be
  taken a few rays after the other (`training.gradients`). A loss that compares
  rays, such as one with a median of the batch, must not be declared so.
  """
  fn.per_ray = True  # type: ignore[attr-defined]
  return fn


def all_per_ray(cfg: LossConfig) -> bool:
  """Whether every loss that `cfg` switches on is declared `per_ray`."""
  terms = [REGULARIZERS.get(name) for name in REGULARIZERS.names()]
  active = [
    DATA_LOSSES.get(cfg.data_loss_type),
    *(term.fn for term in terms if term.is_active(cfg)),
  ]
  return all(getattr(fn, 'per_ray', False) for fn in active)


def active_regularizers(
  cfg: LossConfig,
) -> dict[str, Callable[[LossInputs], Any]]:
  """Returns the regularisers that `cfg` switches on, by name."""
  active = {}
  for name in REGULARIZERS.names():
    term = REGULARIZERS.get(name)
    if term.is_active(cfg):
      active[name] = lambda inputs, fn=term.fn: fn(inputs, cfg)
  return active


def normalize_weights(
  weights: Float[Array, '*batch'],
) -> Float[Array, '*batch']:
  """Scales weights >= 0 to a mean of 1 over all devices.

  A plain mean of `weights * loss` is then the weighted mean of the whole batch,
  however it is spread. Without any weight in the batch, all stay 0. Only inside
  `parallel.pmap_step`.
  """
  mean = parallel.pmean(jnp.mean(weights))
  return weights / jnp.maximum(mean, jnp.finfo(weights.dtype).tiny)
