"""Linear splines: piecewise linear functions given by knots.

Knots `t` [..., n], non-decreasing, values `y` [..., n], zero outside. Zip-NeRF
(arXiv:2304.06706, section 4) derives its interlevel loss with them; ours uses
the closed form in `resampling`, and these serve research code and tests.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.ops import gradients, lookup, numerics
from multinerf.types import Array, Float, Int, Num

EPS2 = float(jnp.finfo(jnp.float32).eps) ** 2
Knots = Num[Array, '*#batch n']
Values = Num[Array, '*#batch values']  # as many as knots


def _check(t: Array, y: Array) -> None:
  """Every knot needs one value."""
  if t.shape[-1] != y.shape[-1]:
    raise ValueError(
      f'A linear spline of {t.shape[-1]} knots has {y.shape[-1]} values.'
    )


def check_zero_endpoints(y: Num[Array, '... n']) -> None:
  """Raises ValueError if the first or last values are not 0.

  Under jit or grad the values are unknown, and nothing is checked.
  """
  if isinstance(y, jax.core.Tracer):
    return
  if (y[..., 0] != 0).any() or (y[..., -1] != 0).any():
    raise ValueError('The spline must start and end with the value 0.')


def query(
  tq: Num[Array, '*#batch m'], t: Knots, v: Values
) -> Float[Array, '... m']:
  """Value of the spline at tq; 0 before the first and after the last knot."""
  _check(t, v)
  inside = (tq >= t[..., :1]) & (tq <= t[..., -1:])
  return jnp.where(inside, lookup.sorted_interp(tq, t, v), 0.0)


def integrate(t: Knots, w: Values) -> Num[Array, '...']:
  """Area under the spline, by the trapezoid rule (exact here)."""
  _check(t, w)
  return jnp.sum((w[..., :-1] + w[..., 1:]) * jnp.diff(t), axis=-1) / 2


def normalize(t: Knots, w: Values, eps: float = EPS2) -> Float[Array, '... n']:
  """The spline divided by its area, or by eps if that is larger."""
  _check(t, w)
  return w / jnp.maximum(eps, integrate(t, w))[..., None]


def _sort_knots(t: Array, y: Array) -> tuple[Array, Array]:
  """Orders knots by position, equal ones as they came."""
  order = jnp.argsort(t, axis=-1)
  return lookup.take(t, order), lookup.take(y, order)


def insert_knot(
  ti: Num[Array, '*#batch m'], t: Knots, y: Values
) -> tuple[Float[Array, '... k'], Float[Array, '... k']]:
  """Adds knots without changing the function.

  Args:
    ti: Positions of the new knots.
    t, y: A spline that starts and ends with 0, so that knots may be added
      outside of it.

  Returns:
    Knots and values [..., n + m], sorted.
  """
  _check(t, y)
  check_zero_endpoints(y)
  batch = jnp.broadcast_shapes(ti.shape[:-1], t.shape[:-1], y.shape[:-1])
  wide = lambda x: jnp.broadcast_to(x, (*batch, x.shape[-1]))
  ts = jnp.concatenate([wide(t), wide(ti)], axis=-1)
  ys = jnp.concatenate([wide(y), wide(query(ti, t, y))], axis=-1)
  return _sort_knots(ts, ys)


def clamp(
  t: Knots,
  y: Values,
  minval: Num[Array, '*#batch 1'],
  maxval: Num[Array, '*#batch 1'],
) -> tuple[Float[Array, '... k'], Float[Array, '... k']]:
  """Makes the spline 0 outside of [minval, maxval].

  Args:
    t, y: A spline that starts and ends with 0.
    minval, maxval: Bounds; the spline drops to 0 within one float of them.

  Returns:
    Knots and values [..., n + 4].
  """
  ti = jnp.concatenate(
    jnp.broadcast_arrays(
      gradients.minus_eps(minval), minval, maxval, gradients.plus_eps(maxval)
    ),
    axis=-1,
  )
  tc, yc = insert_knot(ti, t, y)
  return tc, jnp.where((tc < minval) | (tc > maxval), 0.0, yc)


def compute_integral(
  t: Knots, y: Values
) -> tuple[Float[Array, '... pieces'], Num[Array, '...'], Float[Array, '...']]:
  """The spline's running integral, piecewise quadratic and 0 at the start.

  Returns:
    (a, b, c), each [..., n - 1]: on piece i the integral up to x is
    a_i (x - t_i)^2 + b_i (x - t_i) + c_i.
  """
  _check(t, y)
  dt = jnp.diff(t)
  a = jnp.diff(y) / jnp.maximum(EPS2, 2 * dt)
  areas = (dt * (y[..., :-1] + y[..., 1:]))[..., :-1] / 2
  start = jnp.zeros_like(areas[..., :1], shape=(*areas.shape[:-1], 1))
  c = jnp.concatenate([start, jnp.cumsum(areas, axis=-1)], axis=-1)
  return a, jnp.broadcast_to(y[..., :-1], c.shape), c


def sorted_lookup(
  x: Num[Array, '*#batch m'], xp: Num[Array, '*#batch n']
) -> tuple[Int[Array, '... m'], Int[Array, '... m']]:
  """Indices of the knots on either side of x, see `lookup.sorted_lookup`."""
  return lookup.sorted_lookup(x, xp)[0]


def interpolate_integral(
  tq: Num[Array, '*#batch m'],
  t: Knots,
  a: Num[Array, '...'],
  b: Num[Array, '...'],
  c: Num[Array, '...'],
) -> Float[Array, '... m']:
  """Evaluates what `compute_integral` returned; constant outside the knots."""
  tq = jnp.clip(tq, t[..., :1], gradients.minus_eps(t[..., -1:]))
  (lo, _), ((start, _),) = lookup.sorted_lookup(tq, t, (t,))
  at = lambda z: lookup.take(
    jnp.broadcast_to(z, (*lo.shape[:-1], z.shape[-1])), lo
  )
  offset = tq - start
  return (at(a) * offset + at(b)) * offset + at(c)


def blur_stepfun(
  ts: Float[Array, '*#batch edges'],
  ys: Float[Array, '*#batch n'],
  halfwidth: ArrayLike,
) -> tuple[Float[Array, '... k'], Float[Array, '... k']]:
  """Convolves a step function with a box of unit area: a linear spline.

  Every jump of the step function becomes a ramp of width 2 * halfwidth around
  it. The value at a knot is the sum of the ramps there, evaluated directly:
  upstream integrates their second derivatives twice, and loses digits.

  Args:
    ts: Endpoints of the step function.
    ys: Values, 0 outside.
    halfwidth: Half width of the box, >= 0: a number or one per endpoint. A
      ramp is at least one float32 wide.

  Returns:
    Knots and values [..., 2 (n + 1)] of a spline with zero endpoints.
  """
  low = ts - halfwidth
  high = jnp.maximum(gradients.plus_eps(ts), ts + halfwidth)
  zero = jnp.zeros_like(ys[..., :1])
  jumps = jnp.diff(jnp.concatenate([zero, ys, zero], axis=-1))
  knots = lookup.sort(jnp.concatenate([low, high], axis=-1))
  rise = numerics.safe_div(
    knots[..., :, None] - low[..., None, :], (high - low)[..., None, :]
  )
  values = jnp.sum(jnp.clip(rise, 0, 1) * jumps[..., None, :], axis=-1)
  ends = jnp.zeros_like(values[..., :1])
  return knots, jnp.concatenate([ends, values[..., 1:-1], ends], axis=-1)
