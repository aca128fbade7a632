"""Models that cannot work are refused by the name of the option."""

import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import errors, models


@pytest.mark.parametrize(
  'fn', [jnp.reciprocal, jnp.log, (jnp.log, jnp.exp, {})], ids=str
)
@pytest.mark.parametrize('near', [0.0, np.array([0.2, -1.0]), np.zeros(3)])
def test_a_curve_that_is_infinite_where_rays_begin_is_refused(fn, near):
  net = model_util.model(raydist_fn=fn)
  with pytest.raises(errors.ConfigError, match='Config.near') as caught:
    models.check_for_scene(net, 3, near)
  assert 'Model.raydist_fn' in str(caught.value)
  assert '\n' not in str(caught.value)
  models.check_for_scene(net, 3, np.array([0.2, 1e-3]))


@pytest.mark.parametrize('fn', [None, 'piecewise', jnp.sqrt], ids=str)
def test_other_curves_may_begin_at_the_camera(fn):
  models.check_for_scene(model_util.model(raydist_fn=fn), 3, np.float32(0))
