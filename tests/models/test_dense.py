"""Layers side by side are the layers apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.models import dense


def layers(x, widths):
  keys = jax.random.split(jax.random.key(0), 2 * len(widths))
  return [
    dense.Pending(
      x,
      jax.random.normal(keys[2 * i], (x.shape[-1], width)),
      jax.random.normal(keys[2 * i + 1], (width,)),
    )
    for i, width in enumerate(widths)
  ]


@pytest.mark.parametrize('widths', [(), (3,), (3, 1, 5)])
def test_layers_together_are_those_apart_in_order(widths):
  x = jax.random.normal(jax.random.key(1), (2, 4, 6))
  found = dense.together(layers(x, widths))
  assert len(found) == len(widths)
  for output, layer in zip(found, layers(x, widths), strict=True):
    np.testing.assert_allclose(output, layer.apply(), rtol=1e-5, atol=1e-5)


def test_layers_of_different_arrays_are_refused():
  one, other = (layers(jnp.full((1, 2), v), (3,))[0] for v in (0.0, 1.0))
  with pytest.raises(ValueError, match='different'):
    dense.together([one, other])


def net(multiply, x, kernels):
  """What a field does: densities, and their gradient with respect to x."""

  def density(x):
    for kernel in kernels:
      x = jnp.sin(multiply(x, kernel))
    return jnp.sum(x, axis=-1)

  value, pull = jax.vjp(density, x)
  (slope,) = pull(jnp.ones_like(value))
  return jnp.mean(value**2) + jnp.mean(slope**2)


@pytest.mark.parametrize('shape', [(3, 8), (7, 5), (1, 1)])
@pytest.mark.parametrize(
  'widths', [(128, 160, 128), (128, 3, 128), (64, 15, 2, 1), (128, 1)]
)
def test_gradients_are_those_of_plain_products(shape, widths):
  keys = jax.random.split(jax.random.key(0), len(widths))
  x = jax.random.normal(keys[0], (*shape, widths[0]))
  kernels = [
    jax.random.normal(key, sides) / 8
    for key, sides in zip(
      keys[1:], zip(widths, widths[1:], strict=False), strict=True
    )
  ]
  got, want = (
    jax.jit(jax.value_and_grad(functools.partial(net, multiply), (0, 1)))(
      x, kernels
    )
    for multiply in (dense.matmul, jnp.matmul)
  )
  for one, other in zip(*map(jax.tree.leaves, (got, want)), strict=True):
    atol = 1e-5 * np.max(np.abs(other))  # sums of terms that cancel
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol)


def sums_over_rows(inputs, outputs):
  """Products of the gradient in which XLA would have to transpose."""
  x, kernel = jnp.ones((2, 8, inputs)), jnp.ones((inputs, outputs))
  gradient = jax.jit(jax.grad(functools.partial(net, dense.matmul), 1))
  text = gradient.lower(x, [kernel]).as_text()
  return text.count('contracting_dims = [0] x [0]')


@pytest.mark.parametrize(
  'inputs, outputs', [(128, 128), (128, 256), (16, 15), (128, 1), (2, 1)]
)
def test_gradients_of_wide_or_narrowing_kernels_need_no_transposed_products(
  inputs, outputs, monkeypatch
):
  assert sums_over_rows(inputs, outputs) == 0
  monkeypatch.setattr(dense.parallel, 'is_cpu', lambda: False)
  assert sums_over_rows(inputs, outputs) > 0


def test_kernels_of_few_inputs_are_left_to_xla():
  assert sums_over_rows(64, 64) > 0
