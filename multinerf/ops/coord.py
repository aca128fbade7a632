"""Coordinates: scene contraction, ray warps and positional encodings.

Points and Gaussians in, points, Gaussians or features out. Sources: mip-NeRF
(arXiv:2103.13415), mip-NeRF 360 (arXiv:2111.12077), Zip-NeRF (2304.06706).
"""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from multinerf import errors
from multinerf.ops import numerics, octaves

# Warps are referred to by these functions, or by the string 'piecewise'.
_INVERSES = {
  'reciprocal': jnp.reciprocal,
  'log': jnp.exp,
  'exp': jnp.log,
  'sqrt': jnp.square,
  'square': jnp.sqrt,
}


def _scaled_norm(
  x: Float[Array, '*batch d'],
) -> tuple[Float[Array, '*batch 1'], Float[Array, '*batch d'], Array]:
  """Returns (max(1, |x|), unit vector where |x| > 1, |x| <= 1)."""
  # |x|^2 overflows float32 from |x| = 2e19 on, so x is first divided by its
  # largest component. The result does not depend on that divisor, hence
  # stop_gradient; below |x| = 1 it is 1 and `inside` replaces the square by 1,
  # because sqrt has no gradient at 0.
  peak = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
  peak = jax.lax.stop_gradient(jnp.maximum(1, peak))
  scaled = x / peak
  square = jnp.sum(scaled**2, axis=-1, keepdims=True)
  inside = (peak == 1) & (square <= 1)
  root = jnp.sqrt(jnp.where(inside, 1, square))
  return peak * root, scaled / root, inside


def contract(x: Float[Array, '*batch d']) -> Float[Array, '*batch d']:
  """Maps all of space into the ball of radius 2.

  f(x) = x for |x| <= 1, else (2 - 1/|x|) x/|x| (mip-NeRF 360, Eq. 10).

  Args:
    x: Points, any finite float32 magnitude.

  Returns:
    Points of norm at most 2; the gradient is finite everywhere.
  """
  norm, unit, inside = _scaled_norm(x)
  return jnp.where(inside, x, (2 - 1 / norm) * unit)


def inv_contract(z: Float[Array, '*batch d']) -> Float[Array, '*batch d']:
  """Inverse of `contract` for points z inside the ball of radius 2.

  x = z for |z| <= 1, else z / (|z| (2 - |z|)). On the sphere of radius 2 the
  preimage is at infinity; beyond it there is none and the result is reflected.
  """
  square = jnp.sum(z**2, axis=-1, keepdims=True)
  inside = square <= 1
  norm = jnp.sqrt(jnp.where(inside, 1, square))
  return jnp.where(inside, z, z / (norm * (2 - norm)))


def contract3_isoscale(x: Float[Array, '*batch 3']) -> Float[Array, '*batch']:
  """Cube root of the determinant of the Jacobian of `contract` in 3D.

  ((2n - 1)^(2/3)) / n^2 with n = max(1, |x|): how much an isotropic blob
  shrinks on average (Zip-NeRF, arXiv:2304.06706, supplement).
  """
  norm = _scaled_norm(x)[0][..., 0]
  # The same with powers that don't overflow: n^2 is inf from n = 2e19 on.
  return (2 - 1 / norm) ** (2 / 3) * norm ** (-4 / 3)


def is_contract(fn: Callable) -> bool:
  """Whether `fn` is `contract`, also behind functools.wraps decorators."""
  return inspect.unwrap(fn) is inspect.unwrap(contract)


def track_linearize(
  fn: Callable[[Array], Array],
  mean: Float[Array, '*batch d'],
  cov: Float[Array, '*batch d d'],
) -> tuple[Float[Array, '*batch m'], Float[Array, '*batch m m']]:
  """Pushes Gaussians through `fn` by linearising it at their means.

  mean' = f(mean), cov' = J cov J^T (mip-NeRF 360, Eq. 9, an extended Kalman
  filter's prediction).

  Args:
    fn: Maps [..., d] to [..., m], each point on its own. `contract` takes a
      closed form, about five times cheaper than differentiation.
    mean: Means.
    cov: Covariances.

  Returns:
    Means and covariances of the images.
  """
  if is_contract(fn):
    return _track_contract(mean, cov)
  fn_mean, jvp = jax.linearize(fn, mean)
  push = jax.vmap(jvp, in_axes=-1, out_axes=-1)  # pushes each column
  half = jnp.swapaxes(push(jnp.swapaxes(cov, -1, -2)), -1, -2)  # cov J^T
  return fn_mean, push(half)


def _track_contract(
  mean: Float[Array, '*batch d'], cov: Float[Array, '*batch d d']
) -> tuple[Float[Array, '*batch d'], Float[Array, '*batch d d']]:
  """`track_linearize(contract, mean, cov)` by the formula of its Jacobian."""
  # Outside the unit ball J = a I + b u u^T with u = x/|x|.
  norm, unit, a, b = contract_jacobian(mean)
  cov_u = jnp.sum(cov * unit[..., None, :], axis=-1)
  u_cov = jnp.sum(cov * unit[..., :, None], axis=-2)
  u_cov_u = jnp.sum(unit * cov_u, axis=-1, keepdims=True)
  left = b * (a * u_cov + 0.5 * b * u_cov_u * unit)
  right = b * (a * cov_u + 0.5 * b * u_cov_u * unit)
  new_cov = (
    (a**2)[..., None] * cov
    + unit[..., :, None] * left[..., None, :]
    + right[..., :, None] * unit[..., None, :]
  )
  return jnp.where(norm > 1, (2 - 1 / norm) * unit, mean), new_cov


def contract_jacobian(
  x: Float[Array, '*batch d'],
) -> tuple[Array, Array, Array, Array]:
  """Parts of the Jacobian a I + b u u^T of `contract`.

  Returns:
    (n, u, a, b): n = max(1, |x|), u = x/n, a = (2 - 1/n)/n, b = 1/n^2 - a;
    inside the unit ball a = 1, b = 0. All but u have a trailing axis of 1.
  """
  norm, unit, inside = _scaled_norm(x)
  inv = 1 / norm
  a = jnp.where(inside, 1, inv * (2 - inv))
  b = jnp.where(inside, 0, 2 * inv * (inv - 1))
  return norm, unit, a, b


def track_isotropic(
  fn: Callable[[Array], Array],
  mean: Float[Array, '*batch d'],
  scale: Float[Array, '*batch'] | None,
) -> tuple[Float[Array, '*batch d'], Float[Array, '*batch'] | None]:
  """Pushes isotropic Gaussians through `fn`, keeping them isotropic.

  Args:
    fn: Maps [..., d] to [..., d], each point on its own.
    mean: Means.
    scale: Standard deviations, or None to push the means only.

  Returns:
    f(mean) and scale |det J|^(1/d), `contract3_isoscale` for `contract` in 3D.
  """
  if scale is None:
    return fn(mean), None
  if is_contract(fn) and mean.shape[-1] == 3:
    return contract(mean), scale * contract3_isoscale(mean)
  d = mean.shape[-1]
  fn_mean, jvp = jax.linearize(fn, mean)
  eye = jnp.broadcast_to(jnp.eye(d, dtype=mean.dtype), mean.shape + (d,))
  jac = jax.vmap(jvp, in_axes=-1, out_axes=-1)(eye)
  logdet = jnp.linalg.slogdet(jac)[1]
  return fn_mean, scale * jnp.exp(logdet / d)


def _piecewise(x: Array) -> Array:
  """x/2 below 1, 1 - 1/(2x) above: half linear, half in disparity."""
  # The inner `where` keeps 1/0 out of the gradient of the branch not taken.
  return jnp.where(x < 1, 0.5 * x, 1 - 0.5 / jnp.where(x < 1, 1, x))


def _inv_piecewise(y: Array) -> Array:
  """Inverse of `_piecewise`."""
  return jnp.where(y < 0.5, 2 * y, 0.5 / (1 - jnp.where(y < 0.5, 0.5, y)))


def construct_ray_warps(
  fn: Callable[[Array], Array] | str | None,
  t_near: Float[Array, '*#batch'],
  t_far: Float[Array, '*#batch'],
  fn_inv: Callable[[Array], Array] | None = None,
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
  """Makes the maps between metric t and normalised distance s in [0, 1].

  s = (g(t) - g(near)) / (g(far) - g(near)) (mip-NeRF 360, Eq. 11).

  Args:
    fn: g, monotonic: None (identity), 'piecewise' (x/2 below 1, 1 - 1/(2x)
      above) or a function. The inverses of jnp.reciprocal, log, exp, sqrt and
      square are known; for any other give `fn_inv`.
    t_near, t_far: Ray bounds, broadcastable against t; [..., 1] as in `Rays`.
    fn_inv: Inverse of g. If given, t is clipped to [t_near, t_far], as in
      Zip-NeRF, because inverses such as the power ladder's are inexact at the
      far end.

  Returns:
    (t_to_s, s_to_t). A ray of zero length has s = 0 and t = t_near everywhere,
    also where g(t_near) is infinite.

  Raises:
    ConfigError: The inverse of `fn` is not known.
  """
  clip = fn_inv is not None
  if fn is None:
    fn_fwd = fn_inv = lambda x: x
  elif isinstance(fn, str):
    if fn != 'piecewise':
      raise errors.ConfigError(
        f"Unknown ray warp {fn!r}; known by name: 'piecewise' "
        '(gin: Model.raydist_fn).'
      )
    fn_fwd, fn_inv = _piecewise, _inv_piecewise
  else:
    fn_fwd = fn
    if fn_inv is None:
      fn_inv = _INVERSES.get(getattr(fn, '__name__', ''))
    if fn_inv is None:
      raise errors.ConfigError(
        f'The inverse of the ray warp {fn!r} is not known; known: '
        f"{', '.join(_INVERSES)}, 'piecewise', None (gin: Model.raydist_fn)."
      )
  return _ray_warps(fn_fwd, fn_inv, t_near, t_far, clip=clip)


def _ray_warps(fn_fwd, fn_inv, t_near, t_far, *, clip):
  """(t_to_s, s_to_t) of a curve and its inverse."""
  # Rays that miss the scene's box have near = far = 0, where 1/t and log t are
  # infinite, and inf - inf is NaN, in the gradient of what `where` drops, too.
  # There the curve only ever sees 1.
  point = t_near == t_far
  start, end = (jnp.where(point, 1, t) for t in (t_near, t_far))
  s_near, s_far = fn_fwd(start), fn_fwd(end)
  length = s_far - s_near
  # The curve may also be flat in float32 between bounds that differ.
  empty = length == 0

  def t_to_s(t: Array) -> Array:
    s = fn_fwd(jnp.where(point, 1, t)) - s_near
    return jnp.where(empty, 0, s / jnp.where(empty, 1, length))

  def s_to_t(s: Array) -> Array:
    t = fn_inv(s * s_far + (1 - s) * s_near)
    t = jnp.clip(t, start, end) if clip else t
    return jnp.where(point, t_near, t)

  return t_to_s, s_to_t


def expected_sin(
  mean: Float[Array, '*batch'], var: Float[Array, '*batch']
) -> Float[Array, '*batch']:
  """E[sin(x)] for x ~ N(mean, var): exp(-var/2) sin(mean) (mip-NeRF, Eq. 12).

  Args:
    mean: Any magnitude; from 100 pi on it is reduced (`numerics.safe_sin`).
    var: Variances >= 0.
  """
  return jnp.exp(-0.5 * var) * numerics.safe_sin(mean)


def integrated_pos_enc(
  mean: Float[Array, '*batch d'],
  var: Float[Array, '*batch d'],
  min_deg: int,
  max_deg: int,
) -> Float[Array, '*batch e']:
  """Expected sines and cosines of Gaussians at several scales.

  E[sin(2^k x)], E[cos(2^k x)] for x ~ N(mean, var), k in [min_deg, max_deg)
  (mip-NeRF, arXiv:2103.13415, Eq. 13-14).

  Args:
    mean: Means.
    var: Variances >= 0 of the coordinates.
    min_deg, max_deg: Range of octaves. Negative ones give constant features
      (0 and 1), as in the reference.

  Returns:
    Features of width 2 d (max_deg - min_deg): all sines, scale-major, then the
    cosines in the same order.
  """
  out = octaves.encode(mean, var, min_deg, max_deg)
  return out.reshape(*mean.shape[:-1], 2 * (max_deg - min_deg) * mean.shape[-1])


def project(
  x: Float[Array, '*batch d'], basis: Float[Array, 'd n']
) -> Float[Array, '*batch n']:
  """Inner products of vectors with the columns of `basis`, full precision."""
  return numerics.matmul(x[..., None, :], basis)[..., 0, :]


def lift_and_diagonalize(
  mean: Float[Array, '*batch d'],
  cov: Float[Array, '*batch d d'],
  basis: Float[Array, 'd n'] | Float[np.ndarray, 'd n'],
) -> tuple[Float[Array, '*batch n'], Float[Array, '*batch n']]:
  """Marginals of Gaussians along the columns of `basis`.

  Args:
    mean, cov: Gaussians; only the symmetric part of cov matters.
    basis: Directions p_k as columns (`geopoly.generate_basis`).

  Returns:
    Means p_k . mean and variances p_k^T cov p_k.
  """
  d, n = basis.shape
  basis = jnp.asarray(basis, mean.dtype)
  # diag(P^T C P)_k = sum_ij C_ij P_ik P_jk: one product with a [d*d, n] matrix
  # in place of C P, which would be three times as large as the result.
  pairs = (basis[:, None, :] * basis[None, :, :]).reshape(d * d, n)
  flat = cov.reshape(*cov.shape[:-2], d * d)
  return project(mean, basis), project(flat, pairs)


def pos_enc(
  x: Float[Array, '*batch d'],
  min_deg: int,
  max_deg: int,
  append_identity: bool = True,
) -> Float[Array, '*batch e']:
  """Sines and cosines of points (NeRF, arXiv:2003.08934, Eq. 4).

  Args:
    x: Points of moderate size, such as unit directions.
    min_deg, max_deg: Octaves k in [min_deg, max_deg); no pi in the phases.
    append_identity: Whether x itself comes first.

  Returns:
    [x,] sin(2^k x), scale-major, then cos(2^k x).
  """
  phase = (x[..., None, :] * octaves.scales(min_deg, max_deg)).reshape(
    *x.shape[:-1], (max_deg - min_deg) * x.shape[-1]
  )
  parts = [jnp.sin(phase), jnp.cos(phase)]
  return jnp.concatenate([x] * append_identity + parts, axis=-1)
