"""The MLP fields of the MultiNeRF family: mip-NeRF 360, Ref-NeRF, RawNeRF.

Field names, defaults and the numbering `Dense_k` of the parameters are those
of google-research/multinerf @5b4d4f6 (internal/models.py), which gin files and
checkpoints refer to. `Dense_k` are numbered in the order of construction:
trunk, density, then only those enabled of predicted normals, diffuse, tint,
roughness, bottleneck, view layers, rgb.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from multinerf import types
from multinerf.models import dense, encodings, glo, keys
from multinerf.ops import color, coord, directional, frustum

Activation = Callable[[Any], Any]
# Uses of a ray's key.
_BOTTLENECK_NOISE, _DENSITY_NOISE, _MULTISAMPLE, _GRID_JITTER = range(4)


class MLP(nn.Module):
  """A density and colour field over Gaussians.

  Attributes:
    net_depth: Layers of the trunk.
    net_width: Units of each trunk layer.
    bottleneck_width: Units passed from the trunk to the view-dependent stage;
      0 removes them.
    net_depth_viewdirs: Layers of the view-dependent stage.
    net_width_viewdirs: Units of each of them.
    net_activation: Activation after every hidden layer.
    min_deg_point: First octave of the integrated positional encoding.
    max_deg_point: One past its last octave.
    weight_init: Name of a kernel initialiser of jax.nn.initializers.
    skip_layer: The encoding joins again after every n-th trunk layer (i > 0).
    skip_layer_dir: The same in the view-dependent stage.
    num_rgb_channels: Colour channels.
    deg_view: Degree of the view-direction encoding; at most 5 for IDE.
    use_reflections: Encode the direction mirrored at the normal (Ref-NeRF).
    use_directional_enc: Integrated directional encoding instead of sinusoids.
    enable_pred_roughness: Predict the roughness that IDE blurs with.
    roughness_activation: Makes roughness positive.
    roughness_bias: Added before that activation.
    use_diffuse_color: Add a view-independent colour (Ref-NeRF, Eq. 10).
    use_specular_tint: Multiply the specular colour by a predicted tint.
    use_n_dot_v: Feed the angle between normal and view to the second stage.
    bottleneck_noise: Standard deviation of training noise on the bottleneck.
    density_activation: Makes density positive.
    density_bias: Added before that activation.
    density_noise: Standard deviation of training noise on the raw density.
    rgb_premultiplier: Colour is activation(this * x + rgb_bias).
    rgb_activation: Colour activation.
    rgb_bias: See rgb_premultiplier.
    rgb_padding: Widens the range of colours to [-p, 1 + p].
    enable_pred_normals: Predict normals with a head of their own.
    disable_density_normals: Skip the gradient of the density. It doubles the
      work; only Ref-NeRF and losses on normals need it.
    disable_rgb: Density only (proposal networks).
    warp_fn: Maps space before encoding, e.g. coord.contract; None: identity.
    unscented_mip_basis: Points at which an encoder reads for each sample:
      'hexify' for Zip-NeRF's six, or a set of `ops.unscented`.
    unscented_scale_mult: Factor on their scales, by which a grid fades features
      finer than a sample; 0: the encoder gets no scales.
    use_posenc_with_grid: Give the network the positional encoding as well.
    posenc_feature_scale: Factor on it.
    squash_before: Take the density's gradient, and so normals, in warped space.
    skip_final_density_layer: The trunk's only feature is the raw density.
    basis_shape: Polyhedron whose vertices are the projection directions.
    basis_subdivisions: Its tesselation; ('octahedron', 1) is the three axes.
    glo_mode: What an appearance code does: 'concatenate' joins the inputs of
      the view-dependent stage, 'affine' scales and shifts the bottleneck.
    glo_mlp_arch: Widths of layers that the code goes through before.
    glo_mlp_act: Activation after each of them.
    glo_premultiplier: Factor on the code before them. These four and the six
      after warp_fn are camp_zipnerf's; with their defaults nothing differs from MultiNeRF.
    encoder: Module (points, scales) -> features that replaces the integrated
      positional encoding, e.g. @HashEncoding(). Not in MultiNeRF.
    compute_dtype: 'float32', or 'bfloat16' for the dense layers' arithmetic;
      parameters, encodings, density and colour stay float32. Not in MultiNeRF.
  """

  net_depth: int = 8
  net_width: int = 256
  bottleneck_width: int = 256
  net_depth_viewdirs: int = 1
  net_width_viewdirs: int = 128
  net_activation: Activation = nn.relu
  min_deg_point: int = 0
  max_deg_point: int = 12
  weight_init: str = 'he_uniform'
  skip_layer: int = 4
  skip_layer_dir: int = 4
  num_rgb_channels: int = 3
  deg_view: int = 4
  use_reflections: bool = False
  use_directional_enc: bool = False
  enable_pred_roughness: bool = False
  roughness_activation: Activation = nn.softplus
  roughness_bias: float = -1.0
  use_diffuse_color: bool = False
  use_specular_tint: bool = False
  use_n_dot_v: bool = False
  bottleneck_noise: float = 0.0
  density_activation: Activation = nn.softplus
  density_bias: float = -1.0
  density_noise: float = 0.0
  rgb_premultiplier: float = 1.0
  rgb_activation: Activation = nn.sigmoid
  rgb_bias: float = 0.0
  rgb_padding: float = 0.001
  enable_pred_normals: bool = False
  disable_density_normals: bool = False
  disable_rgb: bool = False
  warp_fn: Callable[..., Any] | None = None
  unscented_mip_basis: str = 'mean'
  unscented_scale_mult: float = 0.0
  use_posenc_with_grid: bool = False
  posenc_feature_scale: float = 1.0
  squash_before: bool = False
  skip_final_density_layer: bool = False
  basis_shape: str = 'icosahedron'
  basis_subdivisions: int = 2
  glo_mode: str = 'concatenate'
  glo_mlp_arch: tuple[int, ...] = ()
  glo_mlp_act: Activation = nn.silu
  glo_premultiplier: float = 1.0
  encoder: nn.Module | None = None
  compute_dtype: str = 'float32'

  @nn.compact
  def __call__(
    self,
    ray_keys: Key[Array, '*batch'] | None,
    samples: frustum.Samples,
    *,
    viewdirs: Float[Array, '*batch 3'] | None = None,
    imageplane: Float[Array, '*batch 2'] | None = None,
    glo_vec: Float[Array, '*batch g'] | None = None,
    encoder: nn.Module | None = None,
  ) -> types.FieldOutput:
    """Evaluates the field.

    Args:
      ray_keys: One key per ray for training noise; None: no noise.
      samples: Where, world space.
      viewdirs: Unit view directions; None: colour does not depend on them.
      imageplane: Position on the image plane; unused here.
      glo_vec: Appearance code of each ray's image, or None.
      encoder: Takes the place of the attribute; several fields may share one.

    Returns:
      Density and, unless disabled, colour and normals of each sample.
    """
    del imageplane
    encode = self._encoding(ray_keys, samples, encoder or self.encoder)
    raw_density, (features, inside), gradient = self._density(samples, encode)
    noisy = keys.perturb(
      keys.fold(ray_keys, _DENSITY_NOISE), raw_density, self.density_noise
    )
    density = self.density_activation(noisy + self.density_bias)
    if inside is not None:
      density = jnp.where(inside, density, 0.0)
    normals = None if gradient is None else -directional.l2_normalize(gradient)
    has_views = viewdirs is not None or glo_vec is not None
    heads = self._heads(features, has_views and not self.disable_rgb)
    grad_pred, normals_pred = heads.get('grad_pred'), None
    if grad_pred is not None:
      normals_pred = -directional.l2_normalize(grad_pred)
    rgb = roughness = None
    if not self.disable_rgb:
      shading_normals = normals_pred if self.enable_pred_normals else normals
      rgb, roughness = self._color(
        ray_keys, features, heads, viewdirs, shading_normals, glo_vec
      )
    return types.FieldOutput(
      density=density,
      rgb=rgb,
      raw_grad_density=gradient,
      grad_pred=grad_pred,
      normals=normals,
      normals_pred=normals_pred,
      roughness=roughness,
    )

  def _dense(self, width, parts, **kwargs):
    """A dense layer in the compute type."""
    init = getattr(nn.initializers, self.weight_init)()
    layer = dense.Dense(width, init, jnp.dtype(self.compute_dtype))
    return layer(parts, **kwargs)

  def _head(self, width, x):
    """A dense output layer, float32 from here on."""
    return self._dense(width, x).astype(jnp.float32)

  def _layers(self, depth, width, skip, inputs):
    """Hidden layers; the input joins again after every `skip`-th (i > 0)."""
    parts = inputs
    for i in range(depth):
      x = self.net_activation(self._dense(width, parts))
      joins = i % skip == 0 and i > 0
      parts = [x, *inputs] if joins else [x]
    return parts

  def _encoding(self, ray_keys, samples, encoder):
    """Function of a shift of all samples: (inputs of the trunk, in bounds)."""
    integrated = functools.partial(
      encodings.integrated,
      directions=encodings.basis(self.basis_shape, self.basis_subdivisions),
      min_deg=self.min_deg_point,
      max_deg=self.max_deg_point,
      warp_fn=self.warp_fn,
    )
    warps_first = self.squash_before and self.warp_fn is not None

    def posenc(shift):
      if warps_first:
        return integrated(samples, shift=shift)
      return integrated(samples.replace(means=samples.means + shift))

    if encoder is None:
      return lambda shift: ([posenc(shift)], None)
    points, scales = encodings.control_points(
      keys.fold(ray_keys, _MULTISAMPLE), samples, self.unscented_mip_basis
    )
    grid_keys = keys.fold(ray_keys, _GRID_JITTER)
    # Scales are for warped space; without a warp camp_zipnerf has none.
    has_scales = self.unscented_scale_mult > 0 and self.warp_fn is not None
    scales = self.unscented_scale_mult * scales if has_scales else None

    def encode(shift):
      shift_all = shift[..., None, :]
      moved, spread = points if warps_first else points + shift_all, scales
      if self.warp_fn is not None:
        moved, spread = coord.track_isotropic(self.warp_fn, moved, spread)
      if warps_first:
        moved += shift_all
      parts = [encodings.read(encoder, moved, spread, grid_keys)]
      if self.use_posenc_with_grid:
        parts.append(self.posenc_feature_scale * posenc(shift))
      inside = None
      if hasattr(encoder, 'covers'):
        inside = encoder.covers(jnp.mean(moved, axis=-2))
      return parts, inside

    return encode

  def _trunk(self, parts):
    """Raw density [..., n] and features of the trunk, as parts."""
    features = self._layers(
      self.net_depth, self.net_width, self.skip_layer, parts
    )
    if self.skip_final_density_layer:
      return dense.only_feature(features).astype(jnp.float32), features
    return self._head(1, features)[..., 0], features

  def _density(self, samples, encode):
    """Raw density, what `encode` and the trunk say, the density's gradient.

    Samples do not see each other, so that one reverse pass of the summed
    density gives the gradient of every sample.
    """
    zero = jnp.zeros_like(samples.means)

    def run(shift):
      parts, inside = encode(shift)
      raw_density, features = self._trunk(parts)
      return raw_density, (features, inside)

    if self.disable_density_normals or self.is_initializing():
      raw_density, aux = run(zero)
      return raw_density, aux, None if self.disable_density_normals else zero
    raw_density, pullback, aux = jax.vjp(run, zero, has_aux=True)
    (gradient,) = pullback(jnp.ones_like(raw_density))
    return raw_density, aux, gradient

  def _heads(self, features, has_views):
    """What is read off the trunk before the view-dependent stage, by name."""
    wanted = (
      ('grad_pred', 3, self.enable_pred_normals),
      ('diffuse', self.num_rgb_channels, has_views and self.use_diffuse_color),
      ('tint', 3, has_views and self.use_specular_tint),
      ('roughness', 1, has_views and self.enable_pred_roughness),
    )
    x = jnp.concatenate(features, axis=-1).astype(self.compute_dtype)
    layers = {
      name: self._dense(width, x, pending=True)
      for name, width, is_on in wanted
      if is_on
    }
    outputs = dense.together(list(layers.values()))
    return {
      name: output.astype(jnp.float32)
      for name, output in zip(layers, outputs, strict=True)
    }

  def _color(self, ray_keys, features, heads, viewdirs, normals, glo_vec):
    """Colour [..., n, c] and roughness [..., n, 1] or None."""
    roughness = None
    x = features
    if viewdirs is not None or glo_vec is not None:
      if self.enable_pred_roughness:
        raw = heads['roughness'] + self.roughness_bias
        roughness = self.roughness_activation(raw)
      inputs = self._view_inputs(
        ray_keys, features, viewdirs, normals, roughness, glo_vec
      )
      x = self._layers(
        self.net_depth_viewdirs,
        self.net_width_viewdirs,
        self.skip_layer_dir,
        inputs,
      )
    raw = self._head(self.num_rgb_channels, x)
    rgb = self.rgb_activation(self.rgb_premultiplier * raw + self.rgb_bias)
    if 'diffuse' in heads:
      rgb = color.tinted(rgb, heads['diffuse'], heads.get('tint'))
    rgb = rgb * (1 + 2 * self.rgb_padding) - self.rgb_padding
    # Without a bottleneck all samples of a ray may have one colour.
    batch = features[0].shape[:-1]
    return jnp.broadcast_to(rgb, (*batch, rgb.shape[-1])), roughness

  def _view_inputs(
    self, ray_keys, features, viewdirs, normals, roughness, glo_vec
  ):
    """What the view-dependent stage reads, side by side."""
    parts = []
    if glo_vec is not None:
      glo.check(self.glo_mode, self.bottleneck_width)
      glo_vec = glo.transform(
        self.glo_premultiplier * glo_vec, self.glo_mlp_arch, self.glo_mlp_act
      )
    is_affine = glo_vec is not None and self.glo_mode == 'affine'
    if self.bottleneck_width > 0:
      is_linear = not is_affine and (
        self.bottleneck_noise <= 0 or ray_keys is None
      )
      pending = is_linear and self._saves_work(features)
      bottleneck = self._dense(self.bottleneck_width, features, pending=pending)
      if not pending:
        noise_keys = keys.fold(ray_keys, _BOTTLENECK_NOISE)
        bottleneck = keys.perturb(noise_keys, bottleneck, self.bottleneck_noise)
      if is_affine:
        bottleneck = glo.affine(glo_vec, bottleneck, len(self.glo_mlp_arch))
      parts.append(bottleneck)
    if viewdirs is not None:
      parts += self._direction_codes(viewdirs, normals, roughness)
    if glo_vec is not None and not is_affine:
      parts.append(glo_vec[..., None, :])
    return parts

  def _direction_codes(self, viewdirs, normals, roughness):
    """What is read of the directions that samples are seen from."""
    # What all samples of a ray share has one entry in their axis.
    directions = viewdirs[..., None, :]
    if self.use_reflections:
      # The encoding wants the direction light leaves in; viewdirs point at the
      # surface, hence the sign (Ref-NeRF, arXiv:2112.03907, Eq. 4).
      per_sample = jnp.broadcast_to(directions, normals.shape)
      directions = directional.reflect(-per_sample, normals)
    if self.use_directional_enc:
      code = encodings.integrated_directional(
        directions, roughness, deg_view=self.deg_view
      )
    else:
      code = coord.pos_enc(directions, 0, self.deg_view, append_identity=True)
    if not self.use_n_dot_v:
      return [code]
    cosine = jnp.sum(normals * viewdirs[..., None, :], axis=-1, keepdims=True)
    return [code, cosine]

  def _saves_work(self, features):
    """Whether the bottleneck, which has no activation, is better left pending.

    It is read by the first view layer and by every one behind a skip connection.
    """
    joins = range(self.skip_layer_dir, self.net_depth_viewdirs - 1)
    read = self.net_width_viewdirs * (1 + len(joins[:: self.skip_layer_dir]))
    given = sum(dense.width(part) for part in features)
    has_readers = self.net_depth_viewdirs > 0 and len(features) == 1
    return has_readers and given * read < self.bottleneck_width * (given + read)


class NerfMLP(MLP):
  """The field of the last sampling level."""


class PropMLP(MLP):
  """The field of the proposal levels."""
