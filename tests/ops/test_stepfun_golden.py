"""`stepfun` and `resampling` against the reference vectors.

Source: google-research/multinerf@5b4d4f6, see shared/golden/README.md.
"""

import functools

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.ops import resampling, stepfun

check = functools.partial(golden_util.check_case, jit=True)
CASES = ('c0', 'c1', 'c2')


# Compiled once per shape, and shared by the cases that differ in values only.
query = jax.jit(stepfun.query)
max_dilate = jax.jit(stepfun.max_dilate)
max_dilate_weights = jax.jit(
  stepfun.max_dilate_weights, static_argnames='renormalize'
)
invert_cdf = jax.jit(stepfun.invert_cdf)
sample = jax.jit(
  stepfun.sample, static_argnames=('num_samples', 'deterministic_center')
)
sample_intervals = jax.jit(
  stepfun.sample_intervals, static_argnames='num_samples'
)


def domain_of(params):
  return {**params, 'domain': tuple(params.get('domain', (-np.inf, np.inf)))}


@pytest.mark.parametrize(
  'case', ['c0', 'c1', 'c2', 'exact0', 'exact1', 'exact2']
)
def test_searchsorted_matches_the_reference(golden, case):
  check(golden('stepfun'), 'searchsorted', case, stepfun.searchsorted)


@pytest.mark.parametrize(
  'case', ['c0', 'c1', 'c2', 'outside0', 'outside1', 'outside2']
)
def test_query_matches_the_reference(golden, case):
  golden_util.check_case(golden('stepfun'), 'query', case, query)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize(
  'name',
  [
    'inner_outer',
    'weight_to_pdf',
    'pdf_to_weight',
    'integrate_weights',
    'lossfun_distortion',
    'weighted_percentile',
  ],
)
def test_function_matches_the_reference(golden, name, case):
  check(golden('stepfun'), name, case, getattr(stepfun, name))


@pytest.mark.parametrize('case', CASES)
def test_lossfun_outer_matches_the_reference(golden, case):
  # The reference's bound is a difference of cumulative sums; its rounding,
  # divided by w + eps, moves its own gradients by 2.3 of the usual units.
  check(
    golden('stepfun'),
    'lossfun_outer',
    case,
    stepfun.lossfun_outer,
    grad_rtol=3e-4,
    grad_atol=3e-5,
  )


@pytest.mark.parametrize('case', ['over0', 'over1', 'over2'])
def test_integrate_weights_saturates_as_the_reference(golden, case):
  check(golden('stepfun'), 'integrate_weights', case, stepfun.integrate_weights)


def test_interval_distortion_matches_the_reference(golden):
  check(
    golden('stepfun'), 'interval_distortion', 'c0', stepfun.interval_distortion
  )


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('domain', range(4))
def test_max_dilate_matches_the_reference(golden, case, domain):
  file = golden('stepfun')
  name = f'{case}_{domain}'
  params = golden_util.case_params(file.case('max_dilate', name))
  golden_util.check_case(
    file, 'max_dilate', name, max_dilate, params=domain_of(params)
  )


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('domain', range(4))
@pytest.mark.parametrize('renormalize', [0, 1])
def test_max_dilate_weights_matches_the_reference(
  golden, case, domain, renormalize
):
  file = golden('stepfun')
  name = f'{case}_{domain}_rn{renormalize}'
  params = golden_util.case_params(file.case('max_dilate_weights', name))
  golden_util.check_case(
    file,
    'max_dilate_weights',
    name,
    max_dilate_weights,
    params=domain_of(params),
  )


def sampling_cases(golden, function):
  file = golden('stepfun')
  for name in file.cases(function):
    params = golden_util.case_params(file.case(function, name))
    # Two kernels upstream, one here.
    params.pop('use_gpu_resampling', None)
    params.pop('single_jitter', None)  # the vectors are deterministic
    yield file, name, params


@pytest.mark.parametrize('function', [invert_cdf, sample])
def test_sampling_matches_the_reference(golden, function):
  name = function.__name__
  for file, case, params in sampling_cases(golden, name):
    golden_util.check_case(file, name, case, function, params=params)


def test_sample_intervals_matches_the_reference(golden):
  for file, case, params in sampling_cases(golden, 'sample_intervals'):
    params = domain_of(params)
    golden_util.check_case(
      file, 'sample_intervals', case, sample_intervals, params=params
    )


@pytest.mark.parametrize('case', ['sj0', 'sj1'])
def test_jittered_samples_lie_in_the_reference_strata(golden, case):
  # The vectors' random numbers come from a key of an old JAX. They are
  # recovered by inverting the reference's samples, and used as ours.
  data = golden('stepfun').case('sample_rng_oldjax', case)
  t, logits, want = (data[k] for k in ('in_t', 'in_w_logits', 'out'))
  weights = np.exp(logits.astype(np.float64))
  weights /= weights.sum(-1, keepdims=True)
  cdf = np.pad(np.cumsum(weights, -1), ((0, 0), (1, 0)))
  u = np.stack(
    [np.interp(x, a, b) for x, a, b in zip(want, t, cdf, strict=True)]
  )
  n = u.shape[-1]
  highest = stepfun.EPS + (1 - stepfun.EPS) / n
  reach = (1 - highest) / (n - 1) - stepfun.EPS
  jitter = (u - np.linspace(0, 1 - highest, n)) / reach
  # u is known to about 1e-6 (float32 samples), so jitter to n times that.
  assert (jitter > -1e-4).all() and (jitter < 1 + 1e-4).all()
  if case == 'sj1':
    np.testing.assert_allclose(jitter - jitter[:, :1], 0, atol=2e-4)
    jitter = jitter[:, :1]
  got = sample(
    jnp.asarray(t),
    jnp.asarray(logits),
    n,
    jitter=jnp.asarray(jitter, jnp.float32),
  )
  # One column's jitter, off by 2e-4 of a stratum, serves the whole ray.
  np.testing.assert_allclose(got, want, atol=2e-4 if case == 'sj1' else 1e-5)


@pytest.mark.parametrize('case', ['c0_avg0', 'c1_avg0', 'c2_avg0'])
def test_resampled_sums_match_the_reference(golden, case):
  check(golden('stepfun'), 'resample', case, resampling.resample)


@pytest.mark.parametrize('case', ['c0_avg1', 'c1_avg1', 'c2_avg1'])
def test_resampled_averages_match_the_reference(golden, case):
  # The reference divides two differences of cumulative sums, ours cancels
  # nothing; the reference itself moves by 10 of the usual units.
  check(
    golden('stepfun'),
    'resample',
    case,
    resampling.resample,
    rtol=1e-3,
    atol=1e-4,
  )
