"""The step is a function of (state, batch), however many devices share it."""

import functools
import re

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import losses, parallel, types
from multinerf.cameras import camera, projection
from multinerf.training import optim, schedules, stats, step

LOSS = losses.LossConfig(data_coarse_loss_mult=0.1)
N = 16


@functools.cache
def training(num_devices=1, **options):
  """Compiled once for all tests that need it."""
  return model_util.training(num_devices, loss=LOSS, **options)


def batch(seed=0, n=N):
  """Rays whose weights differ by up to 64 times, and a masked one."""
  weights = np.float32(
    4.0 ** np.random.default_rng(seed).integers(0, 4, (n, 1))
  )
  weights[n // 2] = 0
  return model_util.batch(n, seed, lossmult=jnp.asarray(weights))


def assert_close(got, want, rtol, atol):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  jax.tree.map(
    lambda g, w: np.testing.assert_allclose(g, w, rtol=rtol, atol=atol),
    got,
    want,
  )


def assert_identical(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_one_device_and_eight_take_the_same_step():
  one, one_stats = training(1).run([batch()])
  eight, eight_stats = training(8).run([batch()])
  # Only the order of sums over rays differs. Measured: 1e-7 of the largest
  # gradient (5e-5 after Adam's 1 - beta1), 3e-8 of the parameters, 4e-7 of the
  # statistics. Weights normalised per device would be off by 1e-1.
  assert_close(
    eight.opt_state[0].mu, one.opt_state[0].mu, rtol=1e-4, atol=1e-10
  )
  assert_close(eight.params, one.params, rtol=1e-5, atol=1e-6)
  assert one_stats.keys() == eight_stats.keys()
  for name in one_stats:
    np.testing.assert_allclose(
      eight_stats[name], one_stats[name], rtol=1e-5, atol=1e-9, err_msg=name
    )


def test_all_devices_end_up_with_the_same_state_and_statistics():
  run = training(8)
  now, packed = run.fn(
    run.copies(run.first), run.spread(batch()), run.copies(np.float32(0))
  )
  for leaf in jax.tree.leaves((now.params, now.opt_state, packed.values)):
    leaf = np.asarray(leaf)
    for i in range(1, 8):
      np.testing.assert_array_equal(leaf[i], leaf[0])


@pytest.mark.parametrize('num_devices', [1, 8])
def test_the_same_state_and_batch_give_the_same_bits(num_devices):
  run = training(num_devices)
  batches = [batch(0), batch(1)]
  first, first_stats = run.run(batches)
  again, again_stats = run.run(batches)
  assert_identical(again, first)
  assert_identical(again_stats, first_stats)


def test_a_run_cut_in_two_ends_with_the_same_bits():
  run = training(1)
  whole, _ = run.run([batch(i) for i in range(4)])
  half, _ = run.run([batch(i) for i in range(2)])
  resumed, _ = run.run([batch(i) for i in range(2, 4)], first=half)
  assert_identical(resumed, whole)


def test_another_seed_is_another_step():
  run = training(1)
  base = run.run([batch()])[1]['loss']
  reseeded = run.first.replace(seed=np.uint32(8))
  assert run.run([batch()], first=reseeded)[1]['loss'] != base


def key_data(num_devices, per_device, seed=3, count=5):
  fn = jax.pmap(
    lambda s, c: jax.random.key_data(step.ray_keys(s, c, per_device)),
    axis_name=parallel.AXIS,
    devices=jax.devices()[:num_devices],
  )
  seeds = np.full(num_devices, seed, np.uint32)
  counts = np.full(num_devices, count, np.int32)
  return np.asarray(fn(seeds, counts)).reshape(-1, 2)


def test_keys_belong_to_rays_wherever_they_are():
  one = key_data(1, (8,))
  np.testing.assert_array_equal(key_data(8, (1,)), one)
  np.testing.assert_array_equal(key_data(2, (1, 2, 2)), one)  # patches


def test_keys_of_rays_steps_and_seeds_all_differ():
  found = np.concatenate(
    [key_data(1, (8,), seed, count) for seed in (0, 1) for count in (0, 1)]
  )
  assert len(np.unique(found, axis=0)) == 32


def test_steps_need_one_trace_and_reuse_the_memory_of_the_state():
  cfg = optim.OptimConfig()
  fn = step.make_train_step(
    model_util.model(), optim.make_optimizer(cfg), LOSS, cfg, step.StepConfig()
  )
  traces = []

  def counted(*args):
    traces.append(None)
    return fn(*args)

  mapped = parallel.pmap_step(counted, donate_state=True)
  first = now = parallel.replicate(training(8).first)
  cameras = parallel.replicate(np.float32(0))
  for i in range(3):
    shared = parallel.to_devices(parallel.shard(jax.device_get(batch(i))))
    now, _ = mapped(now, shared, cameras)
  parallel.wait(now)
  assert parallel.unreplicate(now).step == 3
  assert len(traces) == 1
  donated = jax.tree.leaves((first.params, first.opt_state))
  assert all(x.is_deleted() for x in donated)
  assert not cameras.is_deleted()


def copies_of(shape, fn, args):
  """Copies of arrays of a shape that a step of one device makes.

  There must be three such arguments: weights and both moments. What is taken
  when a step is reported needs the old weights beside the new, and copies them
  in a computation of its own.
  """
  args = jax.tree.map(lambda x: np.asarray(x)[None], args)
  mapped = jax.pmap(
    fn, parallel.AXIS, devices=jax.devices()[:1], donate_argnums=0
  )
  program = parallel.compiled(mapped, args)
  start = program.as_text().split('ENTRY')[1]
  large = 'f32' + re.escape(str([1, *shape]).replace(' ', ''))
  assert len(re.findall(rf'{large}\S* parameter\(', start)) == 3
  return re.findall(rf'{large}\S* copy\(.*', start)


def test_the_state_is_written_over_without_copies():
  cfg = optim.OptimConfig()
  fn = step.make_train_step(
    model_util.model(), optim.make_optimizer(cfg), LOSS, cfg, step.StepConfig()
  )
  args = training(8).first, batch(), np.float32(0), None, np.bool_(True)
  assert not copies_of((23, 8), fn, args)


def test_weights_that_their_gradient_reads_are_written_over_without_copies():
  """Of decay; whoever counts what is not finite may read them, too."""
  optimizer = optim.make_optimizer(optim.OptimConfig())

  def fn(state, rows, reported):
    weights = state[0]['params']['net']['w']
    found = jax.lax.fori_loop(
      0,
      4,
      lambda i, x: x.at[rows[i]].add(1),
      jnp.zeros_like(weights),
    )
    grads = {'params': {'net': {'w': found + 0.1 * weights}}}
    update = parallel.in_place(step._make_update(optimizer, reported))
    params, opt_state, *rest = update(*state, grads)
    return (params, opt_state), rest

  weights = {'params': {'net': {'w': np.ones((2000, 3), np.float32)}}}
  state = weights, optimizer.init(weights)
  args = state, np.arange(4), np.bool_(True)
  assert not copies_of((2000, 3), fn, args)


def test_loss_falls_on_a_batch_seen_again_and_again():
  one = batch()
  flat = one.replace(rgb=jnp.full((N, 3), 0.2, jnp.float32))
  _, table = training(1).run([flat] * 20)
  assert table['losses/data'][-1] < 0.7 * table['losses/data'][0]


def test_statistics_are_what_their_names_say():
  run, one = training(8), batch()
  last, table = run.run([one])
  np.testing.assert_allclose(
    table['color_spread'], [np.var(one.rgb, axis=0).mean()], rtol=1e-5
  )
  parts = ('data', 'interlevel', 'distortion')
  total = sum(table[f'losses/{p}'] for p in parts)
  np.testing.assert_allclose(table['loss'], total, rtol=1e-5)
  np.testing.assert_allclose(
    table['psnrs'], -10 * np.log10(table['mses']), rtol=1e-5
  )
  assert table['psnr'] == table['psnrs'][:, -1]
  assert 0 < table['acc'][0] <= 1
  assert table['nonfinite_grads'] == table['nonfinite_steps'] == 0
  cfg = optim.OptimConfig(lr_init=0.01, max_steps=20, lr_delay_steps=0)
  np.testing.assert_allclose(
    table['learning_rate'], schedules.make_schedule(cfg)(1), rtol=1e-6
  )
  kernel = run.first.params['params']['NerfMLP_0']['Dense_0']['kernel']
  moved = last.params['params']['NerfMLP_0']['Dense_0']['kernel'] - kernel
  path = 'NerfMLP_0/Dense_0/kernel'
  for name, want in (
    ('weight_l2s', np.sum(kernel**2)),
    ('opt_update_norms', np.linalg.norm(moved)),
    ('opt_update_maxes', np.abs(moved).max()),
  ):
    # The update is the difference of weights that are 1000 times larger.
    np.testing.assert_allclose(table[f'{name}/{path}'], [want], rtol=1e-3)
  for name in ('grad_norms', 'grad_maxes'):
    assert table[f'{name}/{path}'][0] > 0


def test_a_nan_in_the_data_is_counted_and_does_no_lasting_harm():
  run = training(1)
  hurt = batch(0).replace(rgb=batch(0).rgb.at[3].set(jnp.nan))
  last, table = run.run([hurt, hurt, batch(1)])
  np.testing.assert_array_equal(table['nonfinite_steps'], [1, 2, 0])
  assert np.all(table['nonfinite_grads'][:2] > 0)
  assert table['nonfinite_grads'][2] == 0
  for leaf in jax.tree.leaves((last.params, last.opt_state)):
    assert np.all(np.isfinite(leaf))
  assert last.nonfinite_steps == 0 and last.step == 3


def test_a_ray_of_weight_zero_does_not_enter_the_data_loss():
  run, one = training(1), batch()
  masked = one.replace(rgb=one.rgb.at[N // 2].set(0.99))
  _, want = run.run([one])
  _, got = run.run([masked])
  assert got['color_spread'] != want['color_spread']  # it did change
  for name in ('loss', 'mses', 'grad_norms/NerfMLP_0'):
    np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_a_batch_without_any_weight_has_no_data_loss_and_no_nan():
  nothing = model_util.batch(N, lossmult=jnp.zeros((N, 1), jnp.float32))
  _, stats_found = training(1).run([nothing])
  assert stats_found['losses/data'] == 0
  assert stats_found['nonfinite_grads'] == 0
  assert np.isfinite(stats_found['loss'])


@pytest.mark.slow
def test_equal_weights_of_any_size_are_no_weights():
  run = training(1)
  plain = model_util.batch(N)
  ones, tens = (
    model_util.batch(N, lossmult=jnp.full((N, 1), w, jnp.float32))
    for w in (1, 10)
  )
  _, want = run.run([ones])
  _, got = run.run([tens])
  np.testing.assert_allclose(got['loss'], want['loss'], rtol=1e-6)
  _, none = run.run([plain])
  np.testing.assert_allclose(none['loss'], want['loss'], rtol=1e-6)


@pytest.mark.slow
def test_disable_multiscale_loss_ignores_the_weights():
  cfg = losses.LossConfig(disable_multiscale_loss=True)
  run = model_util.training(1, loss=cfg)
  one = batch()
  other = one.replace(rays=one.rays.replace(lossmult=jnp.ones((N, 1))))
  assert_identical(run.run([one])[1], run.run([other])[1])


def test_progress_runs_from_0_to_1_over_all_updates():
  fracs = [float(step.train_frac(jnp.int32(i), 20)) for i in (0, 19, 25)]
  assert fracs == [0, 1, 1]
  np.testing.assert_allclose(step.train_frac(jnp.int32(9), 19), 0.5)
  assert step.train_frac(jnp.int32(0), 1) == 0  # one update: no division by 0


def test_a_state_is_shown_at_the_share_of_the_updates_it_has_had():
  # Upstream's eval.py; state.step counts the updates made.
  assert [step.eval_frac(i, 20) for i in (0, 5, 20, 25)] == [0, 0.25, 1, 1]


@functools.cache
def scene():
  """Two cameras that look at the origin, and pixels of both."""
  pose = np.eye(4, dtype=np.float32)[:3]
  poses = np.stack([pose, pose])
  poses[:, 2, 3] = [4, 4.5]
  pixtocam = projection.get_pixtocam(20.0, 8, 8).astype(np.float32)
  cameras = camera.Cameras(
    pixtocams=np.stack([pixtocam] * 2),
    camtoworlds=poses,
    widths=np.full(2, 8, np.int32),
    heights=np.full(2, 8, np.int32),
    near=np.float32(2),
    far=np.float32(6),
  )
  gen = np.random.default_rng(0)
  pixels = types.Pixels(
    pix_x_int=gen.integers(0, 8, N).astype(np.int32),
    pix_y_int=gen.integers(0, 8, N).astype(np.int32),
    cam_idx=gen.integers(0, 2, (N, 1)).astype(np.int32),
  )
  return cameras, pixels


@pytest.mark.slow
def test_pixels_and_the_rays_through_them_give_the_same_step():
  cameras, pixels = scene()
  rgb = np.random.default_rng(1).random((N, 3)).astype(np.float32)
  rays = jax.jit(projection.cast_ray_batch)(cameras, pixels)
  run = training(1)
  _, want = run.run([types.Batch(rays=rays, rgb=rgb)])
  _, got = run.run([types.Batch(pixels=pixels, rgb=rgb)], cameras=cameras)
  for name in ('loss', 'mses', 'acc', 'grad_norms/NerfMLP_0'):
    np.testing.assert_allclose(got[name], want[name], rtol=1e-4, err_msg=name)


def test_render_step_is_the_last_level_without_random_numbers():
  cameras, pixels = scene()
  net, params = model_util.model(), training(1).first.params
  fn = parallel.pmap_step(step.make_render_step(net), donate_state=False)
  rendering = fn(
    parallel.replicate(params),
    parallel.shard(pixels),
    parallel.replicate(cameras),
    parallel.replicate(np.float32(0.5)),
  )
  rays = projection.cast_ray_batch(cameras, pixels)
  want, _ = jax.jit(
    lambda p, r: net.apply(p, None, r, train_frac=0.5, compute_extras=True)
  )(params, rays)
  got = parallel.merge(rendering)
  assert got.rgb.shape == (N, 3)
  for name in ('rgb', 'acc', 'distance_mean', 'distance_median'):
    # Sharing by 8 devices changes the order of sums in matrix products only.
    np.testing.assert_allclose(
      getattr(got, name), getattr(want[-1], name), rtol=1e-4, err_msg=name
    )


def test_statistics_of_a_step_are_packed():
  run = training(1)
  _, packed = run.fn(
    run.copies(run.first), run.spread(batch()), run.copies(np.float32(0))
  )
  assert isinstance(packed, stats.PackedStats)
  assert len(jax.tree.leaves(packed)) == 1


def test_a_step_that_is_not_reported_does_the_same_and_measures_less():
  run, shared = training(8), batch()
  found = []
  for reported in (True, False):
    now, packed = run.fn(
      run.copies(run.first),
      run.spread(shared),
      run.copies(np.float32(0)),
      None,
      run.copies(np.bool_(reported)),
    )
    found.append((jax.device_get(now), stats.unpack([packed]), packed))
  (want, all_stats, packed), (got, fewer, _) = found
  assert_identical(got, want)
  rare = set(packed.at_reports)
  kinds = {name.split('/')[0] for name in rare}
  assert kinds == {
    'grad_norms',
    'grad_maxes',
    'opt_update_norms',
    'opt_update_maxes',
    'weight_l2s',
  }
  for name, values in all_stats.items():
    if name in rare:
      assert np.isfinite(values).all() and np.isnan(fewer[name]).all()
    else:
      np.testing.assert_array_equal(fewer[name], values, err_msg=name)
