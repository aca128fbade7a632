"""The model: sampling levels along rays, a field at each, compositing.

mip-NeRF 360 (arXiv:2111.12077) with the options of google-research/multinerf
@5b4d4f6 (internal/models.py), whose names and defaults these are; Zip-NeRF
(arXiv:2304.06706) with those of camp_zipnerf @8e6d57e when `sampling_strategy`
is given.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from multinerf import types
from multinerf.models import keys, mlp, portions, sampling, zipnerf
from multinerf.ops import coord, frustum, volrend

_JITTER, _FIELD, _BACKGROUND = 0, 1, 2  # uses of a ray's key within a level


class _RayWarp(NamedTuple):
  """The curve between metric and normalised distance."""

  t_to_s: Callable[[Any], Any]
  s_to_t: Callable[[Any], Any]


class Model(nn.Module):
  """A radiance field rendered by coarse-to-fine resampling.

  Attributes:
    nerf_mlp: The field of the last level.
    prop_mlp: The field of the levels before it (unused with single_mlp).
    num_prop_samples: Intervals of each proposal level.
    num_nerf_samples: Intervals of the last level.
    num_levels: Sampling levels, the last one included.
    bg_intensity_range: Range of the grey background; random per ray and
      channel in training, its middle otherwise.
    anneal_slope: How fast resampling sharpens over training; 0: at once.
    stop_level_grad: No gradient through the resampled distances.
    use_viewdirs: Colour depends on the view direction.
    raydist_fn: Curve of the distances: None (linear), a function with a known
      inverse, 'piecewise', or a tuple (fn, fn_inv, kwargs).
    ray_shape: 'cone' or 'cylinder' (the latter for NDC).
    disable_integration: Points instead of Gaussians.
    single_jitter: One random offset per ray instead of one per sample.
    dilation_multiplier: Widening of the histogram before resampling, in units
      of the expected interval.
    dilation_bias: The same, absolute in normalised distance.
    num_glo_features: Length of the per-image appearance code; 0: none.
    num_glo_embeddings: Most images (and exposures) there can be.
    learned_exposure_scaling: Learn a colour gain per exposure (RawNeRF).
    near_anneal_rate: Fraction of training over which the near bound opens.
    near_anneal_init: Where it starts, in normalised distance.
    single_mlp: Use nerf_mlp at every level.
    resample_padding: Added to the weights before resampling.
    use_gpu_resampling: Accepted for old gin files; there is one resampling.
    opaque_background: The last interval absorbs all remaining light.
    sampling_strategy: Zip-NeRF's levels, (mlp, grid or None, intervals) each,
      where the first two number the entries of the next two fields. None: the
      levels are num_levels of nerf_mlp and prop_mlp, widened by dilation.
    mlp_params_per_level: Options of the fields MLP_0, MLP_1, ...
    grid_params_per_level: Options of the grids grid_0, grid_1, ...
  """

  nerf_mlp: nn.Module = mlp.NerfMLP(name='NerfMLP_0')
  prop_mlp: nn.Module = mlp.PropMLP(name='PropMLP_0')
  num_prop_samples: int = 64
  num_nerf_samples: int = 32
  num_levels: int = 3
  bg_intensity_range: tuple[float, float] = (1.0, 1.0)
  anneal_slope: float = 10
  stop_level_grad: bool = True
  use_viewdirs: bool = True
  raydist_fn: Any = None
  ray_shape: str = 'cone'
  disable_integration: bool = False
  single_jitter: bool = True
  dilation_multiplier: float = 0.5
  dilation_bias: float = 0.0025
  num_glo_features: int = 0
  num_glo_embeddings: int = 1000
  learned_exposure_scaling: bool = False
  near_anneal_rate: float | None = None
  near_anneal_init: float = 0.95
  single_mlp: bool = False
  resample_padding: float = 0.0
  use_gpu_resampling: bool = False
  opaque_background: bool = False
  sampling_strategy: tuple[tuple, ...] | None = None
  mlp_params_per_level: tuple[Mapping[str, Any], ...] = (
    {'disable_rgb': True},
    {},
  )
  grid_params_per_level: tuple[Mapping[str, Any], ...] = ()

  # Submodules keep the names they were built with, so that parameter paths are
  # NerfMLP_0/Dense_k as in gin files and checkpoints, not the field's name.
  preserve_adopted_names = True

  @nn.compact
  def __call__(
    self,
    ray_keys: Key[Array, '*batch'] | None,
    rays: types.Rays,
    *,
    train_frac: Float[Array, ''] | float = 1.0,
    compute_extras: bool = False,
    zero_glo: bool = True,
  ) -> tuple[list[types.Rendering], list[types.Level]]:
    """Renders rays.

    Args:
      ray_keys: One key per ray; None: deterministic, no noise.
      rays: What to render.
      train_frac: Progress of training in [0, 1]; drives the annealing.
      compute_extras: Also return distances, opacity, normals, ...
      zero_glo: Use the zero appearance code instead of each image's own.

    Returns:
      A rendering and a level per sampling level, coarsest first.
    """
    glo_vec = self._appearance(rays, zero_glo)
    if not (self._is_zipnerf or self.use_viewdirs):
      glo_vec = None  # MultiNeRF reads it together with directions only.
    gain = self._exposure_gain(rays)
    warp = _RayWarp(*_ray_warps(self.raydist_fn, rays.near, rays.far))
    sdist, weights = self._first_interval(rays, train_frac)
    plan = self._plan()
    renderings, levels, prod_num_samples = [], [], 1
    for i, (field, num_samples) in enumerate(plan):
      level_keys = keys.fold(ray_keys, i)
      sdist = sampling.resample(
        keys.fold(level_keys, _JITTER),
        sdist,
        weights,
        num_samples,
        dilation=self._dilation(i, prod_num_samples, train_frac),
        anneal=sampling.schlick_bias(train_frac, self.anneal_slope),
        padding=self.resample_padding,
        single_jitter=self.single_jitter,
        domain=(self._init_s_near(train_frac), 1.0),
      )
      prod_num_samples *= num_samples
      if self.stop_level_grad:
        sdist = jax.lax.stop_gradient(sdist)
      rendering, level = self._render_level(
        level_keys,
        field,
        rays,
        sdist,
        warp.s_to_t(sdist),
        glo_vec=glo_vec if self._is_zipnerf or i == len(plan) - 1 else None,
        gain=gain,
        compute_extras=compute_extras,
      )
      weights = level.weights
      renderings.append(rendering)
      levels.append(level)
    return renderings, levels

  @property
  def _is_zipnerf(self) -> bool:
    """Whether the levels are camp_zipnerf's, and so what differs between both."""
    return self.sampling_strategy is not None

  @property
  def background(self) -> float:
    """What deterministic renderings have behind everything, in [0, 1]."""
    return sum(self.bg_intensity_range) / 2

  def rays_at_once(self, num_rays: int) -> int:
    """How many of `num_rays` rays the device it runs on is fastest with.

    As many as the fields work on at once (`portions.rays_at_once`): all, but on
    CPUs and for fields that are nothing but matrix products.
    """
    if self._is_zipnerf:
      return num_rays
    return max(
      portions.rays_at_once(field, num_rays, num_samples)
      for field, num_samples in self._plan()
    )

  def _plan(self):
    """(field, number of intervals) of each level, coarsest first."""
    if self._is_zipnerf:
      return zipnerf.levels(
        self.sampling_strategy,
        self.mlp_params_per_level,
        self.grid_params_per_level,
      )
    coarse = self.nerf_mlp if self.single_mlp else self.prop_mlp
    proposals = [(coarse, self.num_prop_samples)] * (self.num_levels - 1)
    return [*proposals, (self.nerf_mlp, self.num_nerf_samples)]

  def _render_level(
    self,
    level_keys,
    field,
    rays,
    sdist,
    tdist,
    *,
    glo_vec,
    gain,
    compute_extras,
  ):
    """Evaluates one level's field on its intervals and composites."""
    samples = frustum.sample_rays(
      rays.origins, rays.directions, rays.radii, tdist, self.ray_shape
    )
    if self.disable_integration:
      no_var = jnp.zeros_like(samples.t_var)
      samples = samples.replace(t_var=no_var, r_var=no_var)
    output = portions.evaluate(
      field,
      keys.fold(level_keys, _FIELD),
      samples,
      viewdirs=rays.viewdirs if self.use_viewdirs else None,
      imageplane=rays.imageplane,
      glo_vec=glo_vec,
    )
    weights = volrend.alpha_weights(
      output.density,
      tdist,
      rays.directions,
      opaque_background=self.opaque_background,
    )
    rgb = output.rgb
    if rgb is None:
      rgb = jnp.zeros(weights.shape + (3,), weights.dtype)
    elif gain is not None:
      rgb = rgb * gain[..., None, :]
      output = output.replace(rgb=rgb)
    rendering = volrend.volumetric_rendering(
      rgb,
      weights,
      tdist,
      self._background(level_keys, rgb),
      None if self._is_zipnerf else rays.far,
      compute_extras=compute_extras,
      extras={
        'normals': output.normals,
        'normals_pred': output.normals_pred,
        'roughness': output.roughness,
      },
    )
    if self._is_zipnerf and output.rgb is None:
      # Not black, as in MultiNeRF, whose losses may look at it.
      rendering = rendering.replace(rgb=None)
    return rendering, types.Level(
      sdist=sdist, tdist=tdist, weights=weights, field=output
    )

  def _appearance(self, rays, zero_glo):
    """The appearance code [..., g] of each ray's image, or None."""
    if self.num_glo_features == 0:
      return None
    embed = nn.Embed(
      self.num_glo_embeddings, self.num_glo_features, name='Embed_0'
    )
    # Looked up even when unused: the parameter tree is the same in training
    # and evaluation (upstream's depended on the flag).
    codes = embed(rays.cam_idx[..., 0])
    return jnp.zeros_like(codes) if zero_glo else codes

  def _exposure_gain(self, rays):
    """Factor [..., 3] or [..., 1] on colours, or None (RawNeRF).

    Only where exposures are numbered, as those of raw images are: developed
    photographs have exposures too, but their brightness does not follow them.
    """
    idx = rays.exposure_idx
    gain = None if idx is None else rays.exposure_values
    if self.learned_exposure_scaling:
      offsets = nn.Embed(
        self.num_glo_embeddings,
        3,
        embedding_init=nn.initializers.zeros_init(),
        name='exposure_scaling_offsets',
      )
      if idx is None and self.is_initializing():
        idx = jnp.zeros_like(rays.cam_idx)  # the parameters always exist
      if idx is not None:
        # Exposure 0 is the reference and keeps gain 1.
        learned = 1.0 + jnp.where(idx > 0, offsets(idx[..., 0]), 0.0)
        gain = learned if gain is None else gain * learned
    return gain

  def _init_s_near(self, train_frac):
    """Near bound in normalised distance; opens early in training."""
    if self.near_anneal_rate is None:
      return 0.0
    return jnp.clip(
      1 - train_frac / self.near_anneal_rate, 0, self.near_anneal_init
    )

  def _first_interval(self, rays, train_frac):
    """One interval that spans the ray, with weight 1."""
    near = jnp.full_like(rays.near, self._init_s_near(train_frac))
    far = jnp.ones_like(rays.far)
    return jnp.concatenate([near, far], axis=-1), jnp.ones_like(rays.near)

  def _dilation(self, level_idx, prod_num_samples, train_frac):
    """Half width by which the histogram is widened; None: not at all."""
    enabled = self.dilation_bias > 0 or self.dilation_multiplier > 0
    # Zip-NeRF's proposals learn from blurred weights instead.
    enabled = enabled and not self._is_zipnerf
    if level_idx == 0 or not enabled:
      return None
    span = 1.0 - self._init_s_near(train_frac)
    return (
      self.dilation_bias + self.dilation_multiplier * span / prod_num_samples
    )

  def _background(self, level_keys, rgb):
    """Background colour [..., c]."""
    low, high = self.bg_intensity_range
    shape = rgb.shape[:-2] + rgb.shape[-1:]
    if low == high or level_keys is None:
      return jnp.full(shape, self.background, rgb.dtype)
    u = keys.uniform(keys.fold(level_keys, _BACKGROUND), rgb.shape[-1:])
    return low + (high - low) * u


def _ray_warps(raydist_fn, near, far):
  """(t_to_s, s_to_t) of the option `raydist_fn`."""
  if isinstance(raydist_fn, tuple | list):
    fn, fn_inv, kwargs = raydist_fn
    return coord.construct_ray_warps(
      lambda x: fn(x, **kwargs),
      near,
      far,
      fn_inv=lambda x: fn_inv(x, **kwargs),
    )
  return coord.construct_ray_warps(raydist_fn, near, far)
