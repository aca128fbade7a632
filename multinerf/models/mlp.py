"""The MLP fields of the MultiNeRF family: mip-NeRF 360, Ref-NeRF, RawNeRF.

Field names, defaults and the numbering `Dense_k` of the parameters are those
of google-research/multinerf @5b4d4f6 (internal/models.py), which gin files and
checkpoints refer to. `Dense_k` are numbered in the order of construction:
trunk, density, then only those enabled of predicted normals, diffuse, tint,
roughness, bottleneck, view layers, rgb.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from multinerf import types
from multinerf.models import encodings, glo, keys
from multinerf.ops import color, coord, directional

Activation = Callable[[Any], Any]
_BOTTLENECK_NOISE, _DENSITY_NOISE = 0, 1  # uses of a ray's key


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
    basis_shape: Polyhedron whose vertices are the projection directions.
    basis_subdivisions: Its tesselation; ('octahedron', 1) is the three axes.
    glo_mode: What an appearance code does: 'concatenate' joins the inputs of
      the view-dependent stage, 'affine' scales and shifts the bottleneck.
    glo_mlp_arch: Widths of layers that the code goes through before.
    glo_mlp_act: Activation after each of them.
    glo_premultiplier: Factor on the code before them. These four are
      camp_zipnerf's; their defaults are MultiNeRF's behaviour.
    encoder: Module (means, covs) -> features that replaces the integrated
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
    means: Float[Array, '*batch n 3'],
    covs: Float[Array, '*batch n 3 3'],
    *,
    viewdirs: Float[Array, '*batch 3'] | None = None,
    imageplane: Float[Array, '*batch 2'] | None = None,
    glo_vec: Float[Array, '*batch g'] | None = None,
  ) -> types.FieldOutput:
    """Evaluates the field.

    Args:
      ray_keys: One key per ray for training noise; None: no noise.
      means: Means of the samples' Gaussians, world space.
      covs: Their covariances.
      viewdirs: Unit view directions; None: colour does not depend on them.
      imageplane: Position on the image plane; unused here.
      glo_vec: Appearance code of each ray's image, or None.

    Returns:
      Density and, unless disabled, colour and normals of each sample.
    """
    del imageplane
    raw_density, features, gradient = self._density(means, covs)
    noisy = keys.perturb(
      keys.fold(ray_keys, _DENSITY_NOISE), raw_density, self.density_noise
    )
    density = self.density_activation(noisy + self.density_bias)
    normals = None if gradient is None else -directional.l2_normalize(gradient)
    grad_pred = normals_pred = None
    if self.enable_pred_normals:
      grad_pred = self._head(3, features)
      normals_pred = -directional.l2_normalize(grad_pred)
    rgb = roughness = None
    if not self.disable_rgb:
      shading_normals = normals_pred if self.enable_pred_normals else normals
      rgb, roughness = self._color(
        ray_keys, features, viewdirs, shading_normals, glo_vec
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

  def _dense(self, width, x):
    """A dense layer in the compute type."""
    dtype = jnp.dtype(self.compute_dtype)
    init = getattr(nn.initializers, self.weight_init)()
    return nn.Dense(width, kernel_init=init, dtype=dtype)(x.astype(dtype))

  def _head(self, width, x):
    """A dense output layer, float32 from here on."""
    return self._dense(width, x).astype(jnp.float32)

  def _layers(self, depth, width, skip, x):
    """Hidden layers; the input joins again after every `skip`-th (i > 0)."""
    inputs = x
    for i in range(depth):
      x = self.net_activation(self._dense(width, x))
      if i % skip == 0 and i > 0:
        x = jnp.concatenate([x, inputs.astype(x.dtype)], axis=-1)
    return x

  def _trunk(self, means, covs):
    """Raw density [..., n] and features [..., n, width]."""
    if self.warp_fn is not None:
      means, covs = coord.track_linearize(self.warp_fn, means, covs)
    if self.encoder is None:
      x = encodings.integrated(
        means,
        covs,
        directions=encodings.basis(self.basis_shape, self.basis_subdivisions),
        min_deg=self.min_deg_point,
        max_deg=self.max_deg_point,
      )
    else:
      x = self.encoder(means, covs)
    x = self._layers(self.net_depth, self.net_width, self.skip_layer, x)
    return self._head(1, x)[..., 0], x

  def _density(self, means, covs):
    """Raw density, features, and the density's gradient unless disabled.

    Samples do not see each other, so that one reverse pass of the summed
    density gives the gradient of every sample.
    """
    if self.disable_density_normals or self.is_initializing():
      raw_density, features = self._trunk(means, covs)
      gradient = None if self.disable_density_normals else jnp.zeros_like(means)
      return raw_density, features, gradient
    raw_density, pullback, features = jax.vjp(
      lambda m: self._trunk(m, covs), means, has_aux=True
    )
    (gradient,) = pullback(jnp.ones_like(raw_density))
    return raw_density, features, gradient

  def _color(self, ray_keys, features, viewdirs, normals, glo_vec):
    """Colour [..., n, c] and roughness [..., n, 1] or None."""
    diffuse = tint = roughness = None
    x = features
    if viewdirs is not None:
      if self.use_diffuse_color:
        diffuse = self._head(self.num_rgb_channels, features)
      if self.use_specular_tint:
        tint = nn.sigmoid(self._head(3, features))
      if self.enable_pred_roughness:
        raw = self._head(1, features) + self.roughness_bias
        roughness = self.roughness_activation(raw)
      x = self._view_inputs(
        ray_keys, features, viewdirs, normals, roughness, glo_vec
      )
      x = self._layers(
        self.net_depth_viewdirs,
        self.net_width_viewdirs,
        self.skip_layer_dir,
        x,
      )
    raw = self._head(self.num_rgb_channels, x)
    rgb = self.rgb_activation(self.rgb_premultiplier * raw + self.rgb_bias)
    if diffuse is not None:
      rgb = _ref_nerf_color(rgb, diffuse, tint)
    return rgb * (1 + 2 * self.rgb_padding) - self.rgb_padding, roughness

  def _view_inputs(
    self, ray_keys, features, viewdirs, normals, roughness, glo_vec
  ):
    """Concatenates what the view-dependent stage reads, per sample."""
    batch = features.shape[:-1]  # rays and samples
    parts = []
    if glo_vec is not None:
      glo.check(self.glo_mode, self.bottleneck_width)
      glo_vec = glo.transform(
        self.glo_premultiplier * glo_vec, self.glo_mlp_arch, self.glo_mlp_act
      )
    is_affine = glo_vec is not None and self.glo_mode == 'affine'
    if self.bottleneck_width > 0:
      bottleneck = self._dense(self.bottleneck_width, features)
      noise_keys = keys.fold(ray_keys, _BOTTLENECK_NOISE)
      bottleneck = keys.perturb(noise_keys, bottleneck, self.bottleneck_noise)
      if is_affine:
        bottleneck = glo.affine(glo_vec, bottleneck, len(self.glo_mlp_arch))
      parts.append(bottleneck)

    per_sample = jnp.broadcast_to(viewdirs[..., None, :], (*batch, 3))
    if self.use_reflections:
      # The encoding wants the direction light leaves in; viewdirs point at the
      # surface, hence the sign (Ref-NeRF, arXiv:2112.03907, Eq. 4).
      directions = directional.reflect(-per_sample, normals)
    elif self.use_directional_enc and roughness is not None:
      directions = per_sample
    else:  # One encoding per ray serves all of its samples.
      directions = viewdirs[..., None, :]
    encoded = self._encode_directions(directions, roughness)
    parts.append(jnp.broadcast_to(encoded, (*batch, encoded.shape[-1])))

    if self.use_n_dot_v:
      parts.append(jnp.sum(normals * per_sample, axis=-1, keepdims=True))
    if glo_vec is not None and not is_affine:
      shape = (*batch, glo_vec.shape[-1])
      parts.append(jnp.broadcast_to(glo_vec[..., None, :], shape))
    dtype = jnp.dtype(self.compute_dtype)
    return jnp.concatenate([p.astype(dtype) for p in parts], axis=-1)

  def _encode_directions(self, directions, roughness):
    """Sinusoids, or the integrated directional encoding."""
    if not self.use_directional_enc:
      return coord.pos_enc(directions, 0, self.deg_view, append_identity=True)
    if roughness is None:
      roughness = jnp.zeros_like(directions[..., :1])
    return directional.generate_ide_fn(self.deg_view)(directions, roughness)


def _ref_nerf_color(rgb, raw_diffuse, tint):
  """Diffuse plus (tinted) specular light, tone-mapped (Ref-NeRF, Eq. 10)."""
  # Starts diffuse near 1/4, so that both parts matter from the beginning.
  diffuse = nn.sigmoid(raw_diffuse - np.log(3.0))
  specular = 0.5 * rgb if tint is None else tint * rgb
  return jnp.clip(color.linear_to_srgb(specular + diffuse), 0.0, 1.0)


class NerfMLP(MLP):
  """The field of the last sampling level."""


class PropMLP(MLP):
  """The field of the proposal levels."""
