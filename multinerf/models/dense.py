"""Dense layers that read several inputs without joining them first.

A layer behind a concatenation, [x, y] W, is computed as x W_x + y W_y: the
parts are not copied, one that is the same for all samples of a ray is
multiplied once per ray, and one that is itself the output of a layer without
activation can be passed on unapplied, as the product of the two matrices.
Parameters are those of the layer behind the concatenation.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from multinerf import errors, parallel

# The least number of inputs, of no more than there are outputs, for which
# transposing them first pays.
_LEAST_WIDTH = 128


class Pending(NamedTuple):
  """The output x @ kernel + bias of a layer that has not been applied yet."""

  x: Array
  kernel: Array
  bias: Array

  def apply(self) -> Array:
    """The output."""
    return matmul(self.x, self.kernel) + self.bias


Part = Array | Pending


def matmul(x: Array, kernel: Array) -> Array:
  """x [..., k] @ kernel [k, m] with all samples in one axis.

  The kernel's gradient is then a product of two matrices. With several axes to
  sum over XLA first writes transposed copies of both (docs/performance.md). On
  CPUs kernels that are wide, or have fewer outputs than inputs, have rules of
  their own for gradients, of any order, but none for `jax.jvp`.
  """
  flat = x.reshape(-1, x.shape[-1])
  inputs, outputs = kernel.shape
  if parallel.is_cpu() and (inputs > outputs or inputs >= _LEAST_WIDTH):
    flat = _product(flat, kernel)
  else:
    flat = flat @ kernel
  return flat.reshape(*x.shape[:-1], outputs)


@jax.custom_vjp
def _product(x, kernel):
  """x @ kernel, differentiated as CPUs multiply fastest."""
  return x @ kernel


@jax.custom_vjp
def _product_transposed(y, kernel):
  """y @ kernel.T, the same."""
  return y @ kernel.T


def _kernel_gradient(x, y):
  """x.T @ y, summed over samples: the gradient of a kernel.

  XLA's fast products on CPUs (YNNPACK) take matrices in the order in which they
  are read; others, which it would use for this, take a third longer, and many
  times as long for a few columns. So the narrower one is transposed first. A
  product with a single row is a sum; YNNPACK of JAX 0.10.2 crashes on some.
  """
  inputs, outputs = x.shape[-1], y.shape[-1]
  if outputs == 1:
    return jnp.sum(x * y, axis=0)[:, None]
  if outputs < inputs:
    return parallel.stored(_transposed(y) @ x).T
  return _transposed(x) @ y


def _transposed(x):
  """x.T, written down.

  Transposing together with what x is computed from takes longer. Of two halves
  it is done at once; a matrix is copied twice from JAX 0.12 on.
  """
  rows, features = x.shape
  halves = parallel.stored(x).reshape(math.gcd(2, rows), -1, features)
  columns = jnp.moveaxis(halves, -1, 0).reshape(features, rows)
  return jax.lax.optimization_barrier(columns)


_product.defvjp(
  lambda x, kernel: (_product(x, kernel), (x, kernel)),
  lambda saved, dy: (
    _product_transposed(dy, saved[1]),
    _kernel_gradient(saved[0], dy),
  ),
)
_product_transposed.defvjp(
  lambda y, kernel: (_product_transposed(y, kernel), (y, kernel)),
  lambda saved, dx: (_product(dx, saved[1]), _kernel_gradient(dx, saved[0])),
)


def together(layers: Sequence[Pending]) -> list[Array]:
  """The outputs of layers that read the same array, by one product.

  A product with three columns takes as long as one with a hundred.
  """
  if not layers:
    return []
  x = layers[0].x
  if not all(layer.x is x for layer in layers):
    raise ValueError('The layers read different arrays.')
  out = Pending(
    x,
    jnp.concatenate([layer.kernel for layer in layers], axis=-1),
    jnp.concatenate([layer.bias for layer in layers]),
  ).apply()
  ends = np.cumsum([width(layer) for layer in layers])
  return jnp.split(out, ends[:-1], axis=-1)


def width(part: Part) -> int:
  """Features of a part."""
  return part.kernel.shape[-1] if isinstance(part, Pending) else part.shape[-1]


def only_feature(parts: Sequence[Array]) -> Array:
  """The one feature [...] that a trunk without a density layer ends in.

  Raises:
    ConfigError: There are more.
  """
  widths = [width(part) for part in parts]
  if widths != [1]:
    raise errors.ConfigError(
      'skip_final_density_layer takes the only feature of the trunk for the '
      f'density, but there are {sum(widths)}; set net_depth = 0 with a grid of '
      'one level and one feature and append_scale = False, or net_width = 1 '
      '(gin: MLP.skip_final_density_layer, or NerfMLP, PropMLP).'
    )
  return parts[0][..., 0]


class Dense(nn.Module):
  """A dense layer on one or more parts, side by side in this order.

  Attributes:
    features: Outputs.
    kernel_init: Initialiser of the kernel [all parts' features, features].
    dtype: Of the arithmetic; parameters are float32.
  """

  features: int
  kernel_init: Any
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, parts: Part | Sequence[Part], *, pending: bool = False
  ) -> Part:
    """Applies the layer.

    Args:
      parts: Arrays [..., n, f_i], or [..., 1, f_i] for what all samples of a
        ray share, or unapplied layers.
      pending: Return the layer unapplied; there must be one part.

    Returns:
      [..., n, features], or a `Pending`.
    """
    if not isinstance(parts, list | tuple) or isinstance(parts, Pending):
      parts = [parts]
    num_inputs = sum(width(part) for part in parts)
    shape = (num_inputs, self.features)
    kernel = self.param('kernel', self.kernel_init, shape)
    bias = self.param('bias', nn.initializers.zeros_init(), (self.features,))
    kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
    if pending:
      (x,) = parts
      return Pending(x.astype(self.dtype), kernel, bias)
    total, start = bias, 0
    for part in parts:
      rows = kernel[start : start + width(part)]
      start += width(part)
      if isinstance(part, Pending):
        rows, total = part.kernel @ rows, total + part.bias @ rows
        part = part.x
      total = matmul(part.astype(self.dtype), rows) + total
    return total
