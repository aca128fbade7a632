"""Layers side by side are the layers apart."""

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
