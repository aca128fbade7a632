"""Reference vectors, answered through upstream's own call forms.

Always the values of one case per function; the slow tests run every case, and
compare gradients. (Most names are our functions themselves, whose own tests
always run all of it.) Tolerances that are wider than `golden_util`'s have their
reason there, in tests/ops and tests/cameras.
"""

import functools
import importlib
import json

import golden_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf.compat.multinerf import (
  camera_utils,
  coord,
  image,
  ref_utils,
  render,
  stepfun,
  utils,
)

PLAIN = {
  'math': 'safe_sin safe_cos safe_exp log_lerp learning_rate_decay '
  'sorted_interp interp matmul',
  'stepfun': 'searchsorted query inner_outer lossfun_outer weight_to_pdf '
  'pdf_to_weight max_dilate max_dilate_weights integrate_weights invert_cdf '
  'lossfun_distortion weighted_percentile resample interval_distortion',
  'coord': 'contract inv_contract integrated_pos_enc expected_sin '
  'lift_and_diagonalize pos_enc',
  'render': 'conical_frustum_to_gaussian cylinder_to_gaussian cast_rays '
  'lift_gaussian compute_alpha_weights',
  'ref_utils': 'reflect l2_normalize compute_weighted_mae',
  'image': 'mse_to_psnr psnr_to_mse ssim_to_dssim dssim_to_ssim '
  'linear_to_srgb srgb_to_linear',
}
# In NumPy on the host, float64.
HOST = {
  'geopoly': 'compute_sq_dist',
  'image': 'downsample color_correct',
  'camera_utils': 'pad_poses unpad_poses recenter_poses average_pose '
  'transform_poses_pca focus_point_fn viewmatrix generate_spiral_path '
  'generate_ellipse_path generate_interpolated_path interpolate_1d '
  'get_pixtocam intrinsic_matrix pixel_coordinates convert_to_ndc',
}
LOOSE = {
  'resample': {'rtol': 1e-3, 'atol': 1e-4},
  'lossfun_outer': {'grad_rtol': 3e-4, 'grad_atol': 3e-5},
  'conical_frustum_to_gaussian/unstable': {'rtol': 1e-3, 'atol': 2e-3},
  'conical_frustum_to_gaussian/wide': {'grad_atol': 1e-4},
  'color_correct': {'atol': 3e-4},
}
THOROUGHLY = pytest.mark.parametrize(
  'thorough', [False, pytest.param(True, marks=pytest.mark.slow)]
)
check = functools.partial(golden_util.check_case, jit=True)


def pairs(table):
  return [(file, name) for file in table for name in table[file].split()]


def upstream(file, name):
  module = importlib.import_module(f'multinerf.compat.multinerf.{file}')
  return getattr(module, name)


def tolerances(name, case):
  for prefix, found in LOOSE.items():
    if f'{name}/{case}'.startswith(prefix):
      return found
  return {}


def chosen(file, name, thorough):
  """All cases of a function, or the first."""
  cases = file.cases(name)
  assert cases
  return cases if thorough else cases[:1]


def keywords(data):
  params = golden_util.case_params(data)
  for name in ('domain', 'ps'):
    if name in params:
      params[name] = tuple(params[name])
  return params


@THOROUGHLY
@pytest.mark.parametrize(('file', 'name'), pairs(PLAIN))
def test_function_answers_the_reference(golden, file, name, thorough):
  for case in chosen(golden(file), name, thorough):
    data = golden(file).case(name, case)
    tolerance = tolerances(name, case)
    if name == 'conical_frustum_to_gaussian' and 'unstable' in case:
      assert keywords(data)['stable'] is False
    check(
      golden(file),
      name,
      case,
      upstream(file, name),
      params=keywords(data),
      grads=thorough and 'unstable' not in case,
      **tolerance,
    )


@pytest.mark.parametrize(('file', 'name'), pairs(HOST))
def test_host_function_answers_the_reference(golden, file, name):
  cases = golden(file).cases(name)
  assert cases
  for case in cases:
    data = golden(file).case(name, case)
    args = [data[f'in_{k}'] for k in golden_util.case_args(data)]
    out = upstream(file, name)(*args, **keywords(data))
    named = golden_util.named_outputs(out)
    stored = [k for k in data if k.startswith('out')]
    assert sorted(named) == sorted(stored)
    tolerance = {'rtol': 1e-5, 'atol': 1e-6} | tolerances(name, case)
    for key in stored:
      np.testing.assert_allclose(
        named[key], data[key], err_msg=f'{name}/{case}/{key}', **tolerance
      )


# --- step functions -----------------------------------------------------------


@THOROUGHLY
@pytest.mark.parametrize('name', ['sample', 'sample_intervals'])
def test_deterministic_sampling_answers_the_reference(golden, name, thorough):
  fn = functools.partial(getattr(stepfun, name), None)  # rng comes first
  for case in chosen(golden('stepfun'), name, thorough):
    params = keywords(golden('stepfun').case(name, case))
    check(golden('stepfun'), name, case, fn, params=params, grads=False)


@pytest.mark.parametrize(
  'case', ['sj0', pytest.param('sj1', marks=pytest.mark.slow)]
)
def test_random_sampling_draws_the_numbers_of_the_reference(golden, case):
  data = golden('stepfun').case('sample_rng_oldjax', case)
  arrays = [jnp.asarray(data['in_t']), jnp.asarray(data['in_w_logits'])]
  # The generator that was the default of the JAX that made the vectors.
  with jax.threefry_partitionable(False):
    got = stepfun.sample(jax.random.PRNGKey(7), *arrays, **keywords(data))
    new = stepfun.sample(jax.random.key(7), *arrays, **keywords(data))
  np.testing.assert_allclose(got, data['out'], rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(got, new)


# --- coordinates --------------------------------------------------------------


@pytest.mark.parametrize(
  'case', ['none', 'reciprocal', 'log', 'exp', 'sqrt', 'square', 'piecewise']
)
def test_ray_warps_answer_the_reference(golden, case):
  data = golden('coord').case('construct_ray_warps', case)
  fn = {'none': None, 'piecewise': 'piecewise'}.get(
    case, getattr(jnp, case, None)
  )
  near, far, s = (
    jnp.asarray(data[f'in_{k}']) for k in ('t_near', 't_far', 's')
  )
  t_to_s, s_to_t = coord.construct_ray_warps(fn, near, far)
  t = s_to_t(s)
  np.testing.assert_allclose(t, data['out_t'], rtol=1e-4, atol=1e-5)
  # 1e-4: t_to_s amplifies the rounding of t by the slope of the warp.
  np.testing.assert_allclose(t_to_s(t), data['out_s_of_t'], atol=1e-4)


@THOROUGHLY
def test_linearised_contraction_answers_the_reference(golden, thorough):
  track = functools.partial(coord.track_linearize, coord.contract)
  cases = ['contract0', 'contract1', 'contract2'] if thorough else ['contract0']
  for case in cases:
    check(golden('coord'), 'track_linearize', case, track, grads=thorough)


# --- rendering ----------------------------------------------------------------


@THOROUGHLY
@pytest.mark.parametrize('case', ['opaque0', 'opaque1'])
def test_the_first_of_the_alpha_weights_is_the_weight(golden, case, thorough):
  check(
    golden('render'),
    'compute_alpha_weights_w',
    case,
    lambda *args, **kwargs: render.compute_alpha_weights(*args, **kwargs)[0],
    grads=thorough,
  )


@THOROUGHLY
def test_rendering_answers_the_reference(golden, thorough):
  file = golden('render')
  cases = chosen(file, 'volumetric_rendering', thorough)
  for case in [*cases, 'opaque0_bgvec_extras1']:
    data = file.case('volumetric_rendering', case)
    extras = {
      k[len('in_extras_') :]: jnp.asarray(v)
      for k, v in data.items()
      if k.startswith('in_extras_')
    }
    extras |= {'normals_pred': None}
    check(
      file,
      'volumetric_rendering',
      case,
      functools.partial(render.volumetric_rendering, extras=extras),
      args=('rgbs', 'weights', 'tdist', 'bg_rgbs', 't_far'),
      params={'compute_extras': True} | keywords(data),
      grads=thorough,
    )


def test_extras_of_any_name_are_composited():
  @jax.jit
  def composite(weights, values):
    extras = {'semantics': values, 'nothing': None}
    rgbs, t = jnp.zeros((1, 2, 3)), jnp.float32([[1, 2, 3]])
    return render.volumetric_rendering(
      rgbs, weights, t, 1.0, jnp.float32([[4]]), True, extras
    )

  out = composite(jnp.float32([[0.25, 0.5]]), jnp.float32([[[1, 2], [3, 4]]]))
  np.testing.assert_allclose(out['semantics'], [[1.75, 2.5]])
  assert 'nothing' not in out


# --- directions and colours ---------------------------------------------------


@THOROUGHLY
@pytest.mark.parametrize('name', ['generate_ide_fn', 'generate_dir_enc_fn'])
def test_directional_encoding_answers_the_reference(golden, name, thorough):
  # At degree 5 the reference sums terms of 1e5 in float32.
  loose = {'rtol': 0, 'atol': 6e-3, 'grad_rtol': 2e-2, 'grad_atol': 0.2}
  for case in chosen(golden('ref_utils'), name, thorough):
    params = keywords(golden('ref_utils').case(name, case))
    check(
      golden('ref_utils'),
      name,
      case,
      getattr(ref_utils, name)(**params),
      params={},
      grads=thorough,
      **(loose if params['deg_view'] == 5 else {}),
    )


def test_tables_of_the_harmonics_equal_the_reference(golden):
  file = golden('ref_utils')
  for degree in range(1, 6):
    want = file.case('get_ml_array', f'deg{degree}')['out']
    np.testing.assert_array_equal(ref_utils.get_ml_array(degree), want)
  for name, args in (
    ('sph_harm_coeff', 'in_lmk'),
    ('assoc_legendre_coeff', 'in_lmk'),
    ('generalized_binomial_coeff', 'in_ak'),
  ):
    data = file.case(name, 'all')
    rows = [
      (float(row[0]), *map(int, row[1:]))
      if args == 'in_ak'
      else tuple(map(int, row))
      for row in data[args]
    ]
    got = [getattr(ref_utils, name)(*row) for row in rows]
    np.testing.assert_allclose(got, data['out'], rtol=1e-10)


def test_bases_equal_the_reference(golden):
  generate = upstream('geopoly', 'generate_basis')
  for case in golden('geopoly').cases('generate_basis'):
    if case != 'tetrahedron_unsupported':  # ours has it
      data = golden('geopoly').case('generate_basis', case)
      got = generate(**golden_util.case_params(data))
      np.testing.assert_allclose(got, data['out'], rtol=0, atol=1e-12)
  weights = upstream('geopoly', 'compute_tesselation_weights')
  for parts in (1, 2, 3, 5):
    data = golden('geopoly').case('compute_tesselation_weights', f'v{parts}')
    np.testing.assert_allclose(weights(parts), data['out'], atol=1e-15)


def test_the_metric_harness_answers_the_reference(golden):
  data = golden('image').case('MetricHarness', 'c0')
  got = image.MetricHarness()(
    data['in_rgb_pred'], data['in_rgb_gt'], name_fn=lambda s: f'out_{s}'
  )
  assert set(got) == {'out_psnr', 'out_ssim'}
  for name, value in got.items():  # the reference is float32
    np.testing.assert_allclose(value, data[name], rtol=1e-4)


# --- cameras ------------------------------------------------------------------


@THOROUGHLY
def test_rays_of_pixels_answer_the_reference(golden, thorough):
  file = golden('camera_utils')
  cases = file.cases('pixels_to_rays')
  for case in cases if thorough else cases[::6]:
    data = file.case('pixels_to_rays', case)
    params = json.loads(str(data['params']))
    args = [data[f'in_{k}'] for k in golden_util.case_args(data)]
    *args, ndc = args if case.startswith('ndc') else [*args, None]
    got = camera_utils.pixels_to_rays(
      *args,
      json.loads(params['_distortion']),
      ndc,
      camera_utils.ProjectionType(params.get('_camtype', 'perspective')),
      xnp=jnp if params.get('_xnp') == 'jnp' else np,
    )
    for i, value in enumerate(got):
      np.testing.assert_allclose(
        value, data[f'out_{i}'], rtol=1e-4, atol=1e-5, err_msg=f'{case}/{i}'
      )


@pytest.mark.parametrize(
  ('name', 'case'),
  [
    ('cast_pinhole_rays', 'c0'),
    ('cast_spherical_rays', 'pano'),
    ('cast_ray_batch', 'percam'),
  ],
)
@pytest.mark.parametrize('xnp', [np, pytest.param(jnp, marks=pytest.mark.slow)])
def test_rays_of_images_and_batches_answer_the_reference(
  golden, name, case, xnp
):
  data = golden('camera_utils').case(name, case)
  if name == 'cast_ray_batch':
    ones = xnp.ones(data['in_cam_idx'].shape)
    pixels = utils.Pixels(
      xnp.asarray(data['in_pix_x_int']),
      xnp.asarray(data['in_pix_y_int']),
      lossmult=ones,
      near=2 * ones,
      far=6 * ones,
      cam_idx=xnp.asarray(data['in_cam_idx']),
    )
    cameras = (
      xnp.asarray(data['in_pixtocams']),
      xnp.asarray(data['in_camtoworlds']),
      None,
      None,
    )
    rays = camera_utils.cast_ray_batch(cameras, pixels, xnp=xnp)
  else:
    rays = getattr(camera_utils, name)(
      data['in_camtoworld'], **golden_util.case_params(data), xnp=xnp
    )
  assert isinstance(rays, utils.Rays)
  stored = [k for k in data if k.startswith('out_')]
  assert len(stored) == 9
  for key in stored:
    np.testing.assert_allclose(
      getattr(rays, key[len('out_') :]),
      data[key],
      rtol=1e-4,
      atol=1e-5,
      err_msg=key,
    )
