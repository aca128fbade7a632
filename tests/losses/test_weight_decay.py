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


GRIDS = {
  'grid_0': {'grid_16': jnp.float32([1, 2, 3]), 'hash_32': jnp.float32([4.0])},
  'grid_1': {'grid_16': jnp.float32([0.1, -10])},
  'grid_10': {'grid_16': jnp.float32([2.0])},
  'exposure_scaling_offsets': jnp.float32([[5.0]]),
}
L2 = (2.0, jnp.mean, 2, 1)


def regularize(regularizers):
  cfg = losses.LossConfig(param_regularizers=regularizers)
  return weight_decay.param_regularizers(inputs(GRIDS), cfg)


@pytest.mark.parametrize(
  'regularizers, want',
  [
    # Half the mean square of each array by itself, summed over arrays.
    ({'grid_0': L2}, 14 / 3 + 16),
    ({'grid_0/hash': L2}, 16.0),
    ({'grid_1/': L2}, 100.01 / 2),
    # camp_zipnerf's prefixes do not end where a name does.
    ({'grid_1': L2}, 100.01 / 2 + 4),
    ({'exposure_scaling_offsets': L2}, 25.0),
    ({'grid_0/h': (2.0, jnp.sum, 2, 2), 'grid_10': L2}, 4 + 4.0),
    # Half of the square is inside of what accumulates: 4 * 10**2 / 2 / 2**2.
    ({'grid_1/': (4.0, jnp.max, 2, 2.0)}, 50.0),
    ({'grid_1/': (4.0, lambda x: jnp.max(x) ** 2, 2, 2.0)}, 4 * 12.5**2),
    # Charbonnier and Cauchy, of a width that matters.
    ({'grid_1/': (1.0, jnp.sum, 1, 2.0)}, np.hypot(0.05, 1) + 26**0.5 - 2),
    ({'grid_0/h': (1.0, jnp.sum, 0, 4.0)}, np.log(1.5)),
  ],
)
def test_param_regularizers_are_robust_losses_of_arrays(regularizers, want):
  np.testing.assert_allclose(regularize(regularizers), want, rtol=1e-5)


def test_param_regularizers_of_the_preset_decay_normalised_by_level():
  cfg = losses.LossConfig(param_regularizers={'grid_0': (0.1, jnp.mean, 2, 1)})
  grad = jax.grad(
    lambda params: weight_decay.param_regularizers(inputs(params), cfg)
  )(GRIDS)
  np.testing.assert_allclose(
    grad['grid_0']['grid_16'], 0.1 * np.float32([1, 2, 3]) / 3, rtol=1e-5
  )
  np.testing.assert_allclose(grad['grid_0']['hash_32'], [0.4], rtol=1e-5)
  np.testing.assert_array_equal(grad['grid_1']['grid_16'], 0)


def test_an_unused_prefix_names_the_parameters():
  with pytest.raises(errors.ConfigError) as e:
    regularize({'grid_0': L2, 'gird_1': L2})
  for word in ['Config.param_regularizers', "'gird_1'", 'grid_10/...']:
    assert word in str(e.value)
  assert 'exposure_scaling_offsets' in str(e.value)
  assert "Did you mean 'grid_1'" in str(e.value)
