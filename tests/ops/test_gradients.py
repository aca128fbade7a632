"""Functions with a gradient of their own."""

import jax.numpy as jnp
import numpy as np
import ops_util
import pytest

from multinerf.ops import gradients


def test_clip_straight_through_clips_the_value_only():
  x = jnp.asarray([-2.0, -1.0, 0.5, 3.0])
  value, slope = ops_util.value_and_slope(
    lambda v: 3 * gradients.clip_straight_through(v, -1.0, 1.0), x
  )
  np.testing.assert_array_equal(value, [-3, -3, 1.5, 3])
  np.testing.assert_array_equal(slope, 3)


def test_clip_finite_nograd_replaces_infinities_only():
  x = np.concatenate([[-np.inf], ops_util.all_magnitudes(), [np.inf]])
  value, slope = ops_util.value_and_slope(
    gradients.clip_finite_nograd, x.astype(np.float32)
  )
  np.testing.assert_array_equal(value[1:-1], x[1:-1])
  np.testing.assert_array_equal(value[[0, -1]], [-ops_util.MAX, ops_util.MAX])
  np.testing.assert_array_equal(slope, 1)


def test_override_gradient_survives_an_infinite_second_argument():
  value, slope = ops_util.value_and_slope(
    lambda v: gradients.override_gradient(v**3, 5 * v + jnp.inf), jnp.ones(2)
  )
  np.testing.assert_array_equal(value, 1)
  np.testing.assert_array_equal(slope, 5)


def test_apply_fn_to_grad_maps_the_cotangent():
  clip = gradients.apply_fn_to_grad(lambda g: jnp.clip(g, -1, 1))
  value, slope = ops_util.value_and_slope(
    lambda v: 7 * clip(v), jnp.asarray([2.0, -3.0])
  )
  np.testing.assert_array_equal(value, [14, -21])
  np.testing.assert_array_equal(slope, 1)


@pytest.mark.parametrize('name', ['plus_eps', 'minus_eps'])
def test_eps_steps_move_to_the_neighbouring_float(name):
  x = ops_util.all_magnitudes()[1:-1]
  value, slope = ops_util.value_and_slope(getattr(gradients, name), x)
  toward = np.float32(np.inf if name == 'plus_eps' else -np.inf)
  want = np.nextafter(x, toward)
  # Denormals do not count as floats: TINY follows 0, which follows -TINY.
  sign = np.sign(toward)
  want = np.where(x == 0, sign * ops_util.TINY, want)
  want = np.where(x == -sign * ops_util.TINY, 0, want)
  np.testing.assert_array_equal(value, want)
  np.testing.assert_array_equal(slope, 1)
