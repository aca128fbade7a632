"""Functions whose gradient is, on purpose, not that of their value."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from multinerf.types import Array

TINY = float(jnp.finfo(jnp.float32).tiny)
MAX = float(jnp.finfo(jnp.float32).max)


@jax.custom_jvp
def clip_straight_through(
  x: ArrayLike, low: ArrayLike, high: ArrayLike
) -> Array:
  """Clips x to [low, high] with the gradient of the identity.

  A value that left the range still hears which way to move. Upstream:
  `fake_clip` and `generate_clip_nograd_fn` of camp_zipnerf's math.
  """
  return jnp.clip(x, low, high)


@clip_straight_through.defjvp
def _clip_straight_through_jvp(primals, tangents):
  out = jnp.clip(*primals)
  return out, jnp.broadcast_to(tangents[0], out.shape)


def clip_finite_nograd(x: ArrayLike) -> Array:
  """+-inf becomes the largest float32; the gradient is the identity's."""
  return clip_straight_through(jnp.asarray(x), -MAX, MAX)


@jax.custom_jvp
def override_gradient(fval: ArrayLike, bval: ArrayLike) -> Array:
  """Takes the value of `fval` and the gradient of `bval`.

  The two must have the same shape. fval + (bval - stop(bval)) would do as
  well, but turns infinite values into NaN.
  """
  del bval
  return jnp.asarray(fval)


@override_gradient.defjvp
def _override_gradient_jvp(primals, tangents):
  return override_gradient(*primals), tangents[1]


def apply_fn_to_grad(grad_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
  """An identity whose backward pass maps the cotangent through `grad_fn`.

  Args:
    grad_fn: Takes and returns an array of the input's shape and dtype, e.g. a
      clip or a scaling.

  Returns:
    A function x -> x; reverse mode only.
  """

  @jax.custom_vjp
  def identity(x):
    return x

  identity.defvjp(lambda x: (x, None), lambda _, g: (grad_fn(g),))
  return identity


def _step_jvp(fn):
  """Gives a rounding function the gradient of the identity."""
  stepped = jax.custom_jvp(fn)
  stepped.defjvp(lambda primals, tangents: (stepped(*primals), tangents[0]))
  return stepped


def plus_eps(x: ArrayLike) -> Array:
  """The next larger normal float32, with gradient 1."""
  return _plus_eps(jnp.asarray(x, jnp.float32))


def minus_eps(x: ArrayLike) -> Array:
  """The next smaller normal float32, with gradient 1."""
  return _minus_eps(jnp.asarray(x, jnp.float32))


@_step_jvp
def _plus_eps(x):
  # Denormals are flushed to zero on CPU and TPU: from zero the next float is
  # `tiny`, and from -tiny it is zero.
  up = jnp.nextafter(x, jnp.inf)
  up = jnp.where(jnp.abs(x) < TINY, TINY, up)
  return jnp.where(x == -TINY, 0.0, up)


@_step_jvp
def _minus_eps(x):
  return -_plus_eps(-x)
