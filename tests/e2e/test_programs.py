"""train.py, eval.py and render.py one after another, and the Python API."""

import json
import math
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest
import run_util

from multinerf import parallel
from multinerf.app import eval as eval_lib
from multinerf.app import render, train
from multinerf.app import trainer as trainer_lib
from multinerf.config import gin_setup, views
from multinerf.data import base
from multinerf.ops import color
from multinerf.training import checkpoints
from multinerf.training import state as state_lib

SEED = 20200823  # the default of Config.jax_rng_seed
STEPS = run_util.MAX_STEPS


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
  return run_util.render_scene(tmp_path_factory.mktemp('data') / 'toys')


@pytest.fixture(scope='module')
def run_dir(scene, tmp_path_factory):
  """<experiment>/<scene>: trained for 60 steps, evaluated, rendered."""
  folder = tmp_path_factory.mktemp('runs') / 'tiny' / 'toys'
  args = run_util.arguments(
    scene,
    folder,
    'Config.checkpoint_every = 15',
    'Config.checkpoint_keep = 3',
    'Config.train_render_every = 30',
    'Config.render_path_frames = 3',
  )
  path = '--gin_bindings=Config.render_path = True'
  assert run_util.run(train.main, *args) == 0
  assert run_util.run(eval_lib.main, *args) == 0
  assert run_util.run(render.main, *args) == 0
  assert run_util.run(render.main, *args, path) == 0
  return folder


@pytest.fixture(scope='module')
def summaries(run_dir):
  return run_util.summaries(run_dir)


def read_image(path):
  return np.asarray(PIL.Image.open(path))


def psnr(picture, truth):
  return -10 * math.log10(np.mean((picture - truth) ** 2))


def truth_of(scene, index):
  """Test view over white, [H, W, 3] in [0, 1]."""
  rgba = read_image(scene / 'test' / f'r_{index}.png') / 255
  return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def test_training_lowers_the_loss(summaries):
  loss = summaries['train_avg_loss']
  assert sorted(loss) == [1, *range(10, STEPS + 1, 10)]
  first, last = loss[1].simple_value, loss[STEPS].simple_value
  assert last < first / 4  # measured: 0.186 -> 0.023


def test_held_out_views_beat_every_single_colour(run_dir, scene):
  found = json.loads((run_dir / 'results.json').read_text())
  for i, image in enumerate(found['images']):
    truth = truth_of(scene, i)
    # The best that a field showing one colour everywhere could do.
    assert image['metrics']['psnr'] > psnr(truth.mean((0, 1)), truth) + 0.5


def test_only_the_newest_checkpoints_are_kept(run_dir):
  kept = [30, 45, STEPS]  # of 15, 30, 45 and 60
  assert checkpoints.available_steps(run_dir) == kept
  manifests = sorted(path.name for path in run_dir.glob('manifest_*.json'))
  assert manifests == [f'manifest_{step}.json' for step in kept]


def test_the_documentation_names_every_file_of_a_run(run_dir):
  page = (run_util.CHECKOUT / 'docs' / 'configuration.md').read_text()
  (block,) = re.findall(r'```\n<checkpoint_dir>/\n(.*?)```', page, re.DOTALL)
  named = re.findall(r'^  (\S+?)/?  ', block, re.MULTILINE)
  patterns = [re.sub('<.*?>', '*', name) for name in named]
  for path in run_dir.iterdir():
    assert any(path.match(pattern) for pattern in patterns), path.name


def test_the_configuration_lies_beside_the_checkpoints(run_dir):
  setup = gin_setup.load([str(run_dir / 'operative_config.gin')])
  asked = gin_setup.load([str(run_dir / 'config.gin')])
  assert setup.config == asked.config
  assert setup.build_model() == asked.build_model()
  assert setup.config.checkpoint_keep == 3
  manifest = json.loads((run_dir / f'manifest_{STEPS}.json').read_text())
  assert manifest['run']['scene'] == 'toys'
  assert manifest['run']['train_seconds'] > 0


def test_tensorboard_has_the_tags_of_multinerf(summaries):
  every_report = {1, *range(10, STEPS + 1, 10)}
  for tag in (
    'train_avg_psnr',
    'train_max_psnr',
    'train_psnr',  # histogram
    'train_avg_losses/data',
    'train_avg_losses/interlevel',
    'train_avg_mses/0',
    'train_avg_psnrs/1',
    'train_avg_grad_norms/NerfMLP_0',
    'train_avg_grad_maxes/PropMLP_0',
    'train_avg_opt_update_norms/NerfMLP_0',
    'train_avg_weight_l2s/NerfMLP_0',
    'train_num_params',
    'train_learning_rate',
    'train_steps_per_sec',
    'train_rays_per_sec',
  ):
    assert set(summaries[tag]) == every_report, tag
  for tag in (
    'train_metrics/psnr',
    'train_metrics/ssim',
    'test_rays_per_sec',
    'test_true_color',
    'test_output_color',
    'test_output_acc',
    'test_output_depth_mean',
    'test_output_depth_median',
  ):
    assert set(summaries[tag]) == {30, STEPS}, tag
  assert {'train_avg_psnr_timed', 'gin_config'} <= set(summaries)
  text = summaries['gin_config'][1].tensor.string_val[0].decode()
  assert 'NerfMLP.net_width = 16' in text
  rate = summaries['train_learning_rate'][STEPS].simple_value
  np.testing.assert_allclose(rate, 1e-3, rtol=1e-5)  # Config.lr_final


def test_evaluation_leaves_the_files_of_multinerf(run_dir):
  folder = run_dir / 'test_preds'
  want = {f'render_times_{STEPS}.txt'}
  for i in ('000', '001'):
    want |= {f'color_{i}.png', f'color_cc_{i}.png'}
    for tag in ('distance_mean', 'distance_median', 'acc'):
      want.add(f'{tag}_{i}.tiff')
  for name in ('psnr', 'ssim'):
    want |= {f'metric_{name}_{STEPS}.txt', f'metric_cc_{name}_{STEPS}.txt'}
  assert want <= {path.name for path in folder.iterdir()}
  for name in want:
    if name.startswith(('metric', 'render_times')):
      assert len((folder / name).read_text().split(' ')) == run_util.NUM_TEST


def test_saved_pictures_reproduce_the_metrics(run_dir, scene):
  values = (run_dir / f'test_preds/metric_psnr_{STEPS}.txt').read_text()
  for i, value in enumerate(values.split(' ')):
    picture = read_image(run_dir / f'test_preds/color_00{i}.png') / 255
    assert picture.shape == (run_util.RESOLUTION, run_util.RESOLUTION, 3)
    # Predictions are rounded to 8 bits before the metric, as in the file; the
    # rest is float32.
    np.testing.assert_allclose(
      psnr(picture, truth_of(scene, i)), float(value), atol=1e-4
    )
  depth = read_image(run_dir / 'test_preds/distance_mean_000.tiff')
  assert depth.dtype == np.float32
  assert depth.min() >= 2 and depth.max() <= 6  # Config.near, Config.far


def test_results_json_says_what_was_measured_and_how(run_dir, scene):
  found = json.loads((run_dir / 'results.json').read_text())
  assert found['step'] == STEPS
  assert found['test_names'] == ['r_0.png', 'r_1.png']
  assert found['lpips'] is None and 'lpips_weights' in found['lpips_reason']
  assert found['protocol']['data_dir'] == str(scene)
  assert found['protocol']['dataset_loader'] == 'blender'
  assert found['protocol']['background'] == 'white'
  assert found['device'] == '8 x cpu'
  assert found['versions']['jax'] == jax.__version__
  assert found['wall_seconds'] > 0 and found['rays_per_sec'] > 0
  for name in ('psnr', 'ssim'):
    values = [image['metrics'][name] for image in found['images']]
    assert len(values) == run_util.NUM_TEST
    assert found['mean'][name] == pytest.approx(np.mean(values))
    text = (run_dir / f'test_preds/metric_{name}_{STEPS}.txt').read_text()
    assert values == [float(v) for v in text.split(' ')]


@pytest.mark.parametrize('kind, num', [('test_preds', 2), ('path_renders', 3)])
def test_rendering_leaves_frames(kind, num, run_dir):
  folder = run_dir / 'render' / f'{kind}_step_{STEPS}'
  frames = {p.name for p in folder.iterdir() if p.suffix in ('.png', '.tiff')}
  want = set()
  for i in range(num):
    want.add(f'color_{i:03d}.png')
    for tag in ('distance_mean', 'distance_median', 'acc'):
      want.add(f'{tag}_{i:03d}.tiff')
  assert frames == want


def test_rendering_test_views_shows_what_evaluation_saw(run_dir):
  for i in range(run_util.NUM_TEST):
    name = f'color_00{i}.png'
    np.testing.assert_array_equal(
      read_image(run_dir / 'render' / f'test_preds_step_{STEPS}' / name),
      read_image(run_dir / 'test_preds' / name),
    )


def test_rendering_makes_videos_named_by_scene_and_experiment(run_dir):
  pytest.importorskip('imageio_ffmpeg', reason='pip install multinerf[video]')
  for kind in ('test_preds', 'path_renders'):
    for tag in ('color', 'acc', 'distance_mean', 'distance_median'):
      path = run_dir / 'render' / f'toys_tiny_{kind}_step_{STEPS}_{tag}.mp4'
      assert path.read_bytes()[4:8] == b'ftyp'


def test_two_jobs_share_the_frames_and_the_last_makes_the_video(
  run_dir, scene, tmp_path
):
  pytest.importorskip('imageio_ffmpeg', reason='pip install multinerf[video]')
  frames = tmp_path / f'path_renders_step_{STEPS}'
  seen = []
  for job in (1, 0):
    args = run_util.arguments(
      scene,
      run_dir,
      f"Config.render_dir = '{tmp_path}'",
      'Config.render_path = True',
      'Config.render_path_frames = 3',
      'Config.render_num_jobs = 2',
      f'Config.render_job_id = {job}',
    )
    assert run_util.run(render.main, *args) == 0
    pictures = sorted(path.name for path in frames.glob('color_*.png'))
    seen.append((pictures, len(list(tmp_path.glob('*_color.mp4')))))
  want = [f'color_00{i}.png' for i in range(3)]
  assert seen == [([want[1]], 0), (want, 1)]
  for name in want:
    one_job = run_dir / 'render' / frames.name / name
    assert (frames / name).read_bytes() == one_job.read_bytes()


def test_the_tilde_of_folders_is_the_home_folder(
  run_dir, scene, tmp_path, monkeypatch
):
  (tmp_path / 'runs').symlink_to(run_dir.parent)
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  args = run_util.arguments(
    scene, '~/runs/toys', "Config.render_dir = '~/frames'"
  )
  assert run_util.run(render.main, *args) == 0
  assert (tmp_path / 'frames' / f'test_preds_step_{STEPS}').is_dir()
  assert not (tmp_path / '~').exists()


def test_frames_rendered_under_other_options_are_not_taken_for_finished(
  run_dir, scene, tmp_path, capsys
):
  frames = tmp_path / f'test_preds_step_{STEPS}'
  pixels = []

  def go(*bindings):
    folder = f"Config.render_dir = '{tmp_path}'"
    args = run_util.arguments(scene, run_dir, folder, *bindings)
    assert run_util.run(render.main, *args) == 0
    pixels.append((frames / 'color_000.png').read_bytes())
    return 'frames are already there' in capsys.readouterr().out

  assert not go('Config.render_rgb_only = True')
  assert not (frames / 'acc_000.tiff').exists()
  assert go('Config.render_rgb_only = True')
  assert not go()
  assert (frames / 'acc_000.tiff').exists()
  # Bindings of training alone, and defaults spelt out, change no frame.
  assert go('train/NerfMLP.rgb_padding = 0.3', 'NerfMLP.rgb_padding = 0.001')
  assert not go('eval/NerfMLP.rgb_padding = 0.3')
  assert len(set(pixels[:-1])) == 1 and pixels[-1] not in pixels[:-1]


def test_evaluation_that_waits_ends_with_the_last_checkpoint(
  run_dir, scene, tmp_path
):
  # The newest is damaged: the one before is used, once, not for ever.
  folder = shutil.copytree(run_dir, tmp_path / 'run')
  damaged = checkpoints.checkpoint_path(folder, STEPS)
  damaged.write_bytes(damaged.read_bytes()[:-1])
  args = run_util.arguments(scene, folder, 'Config.eval_only_once = False')
  assert run_util.run(eval_lib.main, *args) == 0
  found = run_util.summaries(folder / 'eval')
  for tag in (
    'eval_metrics/psnr',
    'eval_metrics_cc/ssim',
    'eval_metrics/perimage_psnr',
    'eval_median_render_time',
    'output_color_0',
    'output_acc_1',
    'true_color_0',
  ):
    assert set(found[tag]) == {45}, tag


def test_waiting_evaluation_of_a_camera_path_writes_its_frames(
  run_dir, scene, tmp_path
):
  # An IndexError in MultiNeRF: there is no ground truth to show.
  folder = shutil.copytree(run_dir, tmp_path / 'run')
  shutil.rmtree(folder / 'path_renders', ignore_errors=True)
  args = run_util.arguments(
    scene,
    folder,
    'Config.eval_only_once = False',
    'Config.render_path = True',
    'Config.render_path_frames = 2',
  )
  assert run_util.run(eval_lib.main, *args) == 0
  frames = sorted(p.name for p in (folder / 'path_renders').glob('color_0*'))
  assert frames == ['color_000.png', 'color_001.png']
  found = run_util.summaries(folder / 'eval')
  assert set(found['output_color_0']) == {STEPS}
  assert 'true_color_0' not in found


def kill_seeds(monkeypatch, seeds):
  """Makes fields of these seeds dead: density bias -1e3, no gradient."""
  create = state_lib.create

  def create_dead(model, optimizer, rays, seed, *more):
    state = create(model, optimizer, rays, seed, *more)
    if seed in seeds:
      bias = state.params['params']['NerfMLP_0']['Dense_2']['bias']
      assert bias.shape == (1,)
      state.params['params']['NerfMLP_0']['Dense_2']['bias'] = bias * 0 - 1e3
    return state

  monkeypatch.setattr(state_lib, 'create', create_dead)


COLLAPSE = (
  'Config.collapse_check_step = 45',  # the report at step 50 decides
  'Config.checkpoint_every = 24',
  'Config.early_exit_steps = 52',
)


def test_a_dead_field_is_restarted_from_another_seed(
  scene, tmp_path, monkeypatch, capsys
):
  kill_seeds(monkeypatch, {SEED})
  args = run_util.arguments(scene, tmp_path, *COLLAPSE)
  assert run_util.run(train.main, *args) == 0
  out = capsys.readouterr().out
  assert f'it is dead. Starting again from seed {SEED + 1}.' in out
  assert out.count('Compiled the training step') == 1
  # The dead field's checkpoints are out of a resume's sight.
  aside = tmp_path / f'collapsed_seed_{SEED}'
  assert checkpoints.available_steps(aside) == [24, 48]
  assert checkpoints.available_steps(tmp_path) == [24, 48, 52]
  assert run_util.leaves(tmp_path, 52)["['seed']"] == SEED + 1


@pytest.mark.slow
def test_dead_fields_from_every_seed_end_in_an_error(
  scene, tmp_path, monkeypatch, capsys
):
  kill_seeds(monkeypatch, {SEED, SEED + 1})
  args = run_util.arguments(
    scene, tmp_path, *COLLAPSE, 'Config.collapse_max_restarts = 1'
  )
  assert run_util.run(train.main, *args) == 1
  message = capsys.readouterr().err
  assert message.startswith('error: ') and message.count('\n') == 1
  assert '1 restarts from other seeds did not help' in message
  assert 'Config.collapse_max_restarts' in message
  # Nobody shall evaluate a dead field, or train it further unguarded.
  assert checkpoints.available_steps(tmp_path) == []
  for seed in (SEED, SEED + 1):
    aside = tmp_path / f'collapsed_seed_{seed}'
    assert checkpoints.available_steps(aside) == [24, 48]


@pytest.mark.slow
def test_a_run_resumed_between_check_and_report_is_still_guarded(
  scene, tmp_path, monkeypatch, capsys
):
  kill_seeds(monkeypatch, {SEED})
  # Stopped after the check step, before the report that would have decided.
  args = run_util.arguments(scene, tmp_path, *COLLAPSE)
  stop = '--gin_bindings=Config.early_exit_steps = 48'
  off = '--gin_bindings=Config.collapse_guard = False'
  assert run_util.run(train.main, *args, stop, off) == 0
  assert checkpoints.latest(tmp_path) == 48
  assert run_util.run(train.main, *args) == 0
  out = capsys.readouterr().out
  assert f'Starting again from seed {SEED + 1}.' in out


def test_the_trainer_does_what_train_py_does(
  run_dir, scene, tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  setup = gin_setup.load(
    'blender_256.gin',
    [*run_util.BINDINGS, f"Config.data_dir = '{scene}'"],
  )
  cfg = views.view(setup.config, base.DataConfig)
  train_scene = base.load_scene(cfg, 'train')
  with trainer_lib.Trainer(
    setup.config,
    train_scene,
    setup.build_model(),
    test_scene=base.load_scene(cfg, 'test'),
  ) as trainer:
    trainer.load(str(run_dir), step=45)
    assert trainer.step_number == 45
    parallel.wait([trainer.step() for _ in range(15)])
    trainer.save('~/saved')
    got, want = (
      run_util.leaves(f, STEPS) for f in (tmp_path / 'saved', run_dir)
    )
    assert got.keys() == want.keys()
    for name in want:
      np.testing.assert_array_equal(got[name], want[name], err_msg=name)

    found = trainer.evaluate()
    written = json.loads((run_dir / 'results.json').read_text())
    assert found.mean['psnr'] == pytest.approx(written['mean']['psnr'])
    assert [path.name for path in tmp_path.iterdir()] == ['saved']
    trainer.evaluate(out_dir='~/evaluated')
    assert (tmp_path / 'evaluated' / 'results.json').is_file()

    view = trainer.render(train_scene.cameras, 1)
    truth = np.asarray(color.decode_rgb(train_scene.images.image(1)))
    assert view.rgb.shape == truth.shape
    assert psnr(np.asarray(view.rgb), truth) > psnr(truth.mean((0, 1)), truth)


# No gin, and no flags parsed: what a notebook does.
API = """
import sys
sys.modules['gin'] = None  # importing it is an error
import numpy as np
import multinerf

mlp = dict(
  net_depth=2, net_width=16, max_deg_point=4, basis_shape='octahedron',
  basis_subdivisions=1, disable_density_normals=True,
)
model = multinerf.Model(
  num_levels=2, num_prop_samples=8, num_nerf_samples=8,
  nerf_mlp=multinerf.NerfMLP(
    name='NerfMLP_0', bottleneck_width=16, net_width_viewdirs=16, **mlp
  ),
  prop_mlp=multinerf.PropMLP(name='PropMLP_0', disable_rgb=True, **mlp),
)
config = multinerf.Config(
  dataset_loader='blender', data_dir=sys.argv[1], checkpoint_dir=sys.argv[2],
  batch_size=64, max_steps=60, data_loss_type='mse', distortion_loss_mult=0.0,
  adam_eps=1e-8, lr_init=1e-2, lr_final=1e-3, lr_delay_steps=0,
  grad_max_norm=0.0, render_chunk_size=256,
)
data = multinerf.DataConfig(dataset_loader='blender', data_dir=sys.argv[1])
scene = multinerf.load_scene(data, 'train')
with multinerf.Trainer(config, scene, model) as trainer:
  for _ in range(30):
    trainer.step()
  trainer.save()
  view = trainer.render(scene.cameras)
  assert view.rgb.shape == (16, 16, 3) and np.isfinite(view.rgb).all()
  mean = trainer.evaluate(multinerf.load_scene(data, 'test')).mean
  assert np.isfinite(mean['psnr'])
  trainer.step()
  trainer.load()
  assert trainer.step_number == 30
absl = sys.modules.get('absl.flags')
assert absl is None or not absl.FLAGS.is_parsed()
assert 'multinerf.app.cli' not in sys.modules
assert 'multinerf.config.gin_setup' not in sys.modules
"""


@pytest.mark.slow
def test_the_python_api_needs_neither_gin_nor_flags(run_dir, scene, tmp_path):
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', API, scene, tmp_path],
    cwd=run_util.CHECKOUT,
    env=run_util.environment(num_devices=8),
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  # The same run as that of the gin files, to the bit.
  got, want = (run_util.leaves(f, 30) for f in (tmp_path, run_dir))
  assert got.keys() == want.keys()
  for name in want:
    np.testing.assert_array_equal(got[name], want[name], err_msg=name)
