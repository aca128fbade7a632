"""`numerics`, `curves` and `lookup` against the reference vectors.

Source: google-research/multinerf@5b4d4f6, see shared/golden/README.md.
"""

import functools

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.ops import curves, lookup, numerics

check = functools.partial(golden_util.check_case, jit=True)


@pytest.mark.parametrize('name', ['safe_sin', 'safe_cos'])
def test_trigonometry_matches_the_reference(golden, name):
  check(golden('math'), name, 'wide', getattr(numerics, name))


def test_safe_exp_matches_the_reference(golden):
  file = golden('math')
  check(file, 'safe_exp', 'wide', numerics.safe_exp)
  data = file.case('safe_exp', 'wide')
  slope = jax.vmap(jax.grad(numerics.safe_exp))(jnp.asarray(data['in_x']))
  np.testing.assert_allclose(slope, data['grad_x_elementwise'], rtol=1e-5)


@pytest.mark.parametrize('case', ['c0', 'c1', 'c2', 'c3'])
def test_log_lerp_matches_the_reference(golden, case):
  check(golden('math'), 'log_lerp', case, curves.log_lerp)


@pytest.mark.parametrize('case', ['c0', 'c1', 'c2', 'c3', 'c4'])
def test_learning_rate_decay_matches_the_reference(golden, case):
  # Rates are 1e-6 to 1e-2: only a relative tolerance means anything.
  check(
    golden('math'),
    'learning_rate_decay',
    case,
    curves.learning_rate_decay,
    rtol=1e-5,
    atol=0,
  )


@pytest.mark.parametrize('case', ['c0', 'c1', 'c2', 'dup'])
@pytest.mark.parametrize('name', ['sorted_interp', 'interp'])
def test_interpolation_matches_the_reference(golden, name, case):
  check(golden('math'), name, case, getattr(lookup, name))


def test_matmul_matches_the_reference(golden):
  check(golden('math'), 'matmul', 'c0', numerics.matmul)
