"""Penalties on parameters."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import errors, losses
from multinerf.losses import weight_decay

PARAMS = {
  'NerfMLP_0': {
    'Dense_0': {'kernel': jnp.float32([[1, 2], [3, 4]]), 'bias': jnp.ones(2)},
    'encoder': {'deep': {'er': jnp.float32([2.0])}},
  },
  'PropMLP_0': {'Dense_0': {'kernel': jnp.float32([[5.0]])}},
}
NERF = 30.0 + 2.0 + 4.0


def inputs(params=PARAMS):
  empty = jnp.zeros((0, 3), jnp.float32)
  return losses.LossInputs(
    rays=model_util.no_rays(),
    rgb=empty,
    lossmult=empty,
    renderings=(),
    levels=(),
    params=params,
  )


@pytest.mark.parametrize(
  'mults, want',
  [
    ({'NerfMLP_0': 1.0}, NERF),
    ({'PropMLP_0': 0.1}, 2.5),
    ({'NerfMLP_0': 0.5, 'PropMLP_0': 2.0}, 0.5 * NERF + 50),
    ({'NerfMLP_0/Dense_0': 1.0}, 32.0),
    ({'NerfMLP_0/Dense_0/bias': 3.0}, 6.0),
    # Named twice, once by its parent: both count.
    ({'NerfMLP_0': 1.0, 'NerfMLP_0/Dense_0/bias': 1.0}, NERF + 2),
  ],
)
def test_decay_is_mult_times_the_sum_of_squares(mults, want):
  cfg = losses.LossConfig(weight_decay_mults=mults)
  np.testing.assert_allclose(weight_decay.weight(inputs(), cfg), want)


def test_gradient_is_twice_mult_times_the_parameter_and_0_elsewhere():
  cfg = losses.LossConfig(weight_decay_mults={'NerfMLP_0/Dense_0': 0.5})
  grad = jax.grad(lambda p: weight_decay.weight(inputs(p), cfg))(PARAMS)
  np.testing.assert_allclose(
    grad['NerfMLP_0']['Dense_0']['kernel'],
    PARAMS['NerfMLP_0']['Dense_0']['kernel'],
  )
  np.testing.assert_array_equal(grad['PropMLP_0']['Dense_0']['kernel'], 0)


def test_subtrees_are_named_down_to_depth_three():
  assert sorted(weight_decay.subtrees(PARAMS)) == [
    'NerfMLP_0',
    'NerfMLP_0/Dense_0',
    'NerfMLP_0/Dense_0/bias',
    'NerfMLP_0/Dense_0/kernel',
    'NerfMLP_0/encoder',
    'NerfMLP_0/encoder/deep',
    'PropMLP_0',
    'PropMLP_0/Dense_0',
    'PropMLP_0/Dense_0/kernel',
  ]


def test_an_unknown_path_is_an_error_with_the_nearest_one():
  cfg = losses.LossConfig(weight_decay_mults={'NerfMLP/Dense_0': 0.1})
  with pytest.raises(
    errors.ConfigError, match="Did you mean 'NerfMLP_0/Dense_0'"
  ):
    weight_decay.weight(inputs(), cfg)
