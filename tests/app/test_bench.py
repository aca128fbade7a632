"""multinerf-bench measures what it says and writes it down."""

import dataclasses
import json

import pytest
import run_util

from multinerf import errors
from multinerf.app.bench import main as bench
from multinerf.app.bench import measure, page, peaks, work
from multinerf.config import gin_setup

MACHINE = {
  'processor': 'A processor',
  'memory_bytes': 2**33,
  'load_average': 0.5,
  'platform': 'cpu',
  'devices': '8 x cpu',
  'num_devices': 8,
  'num_cores': 2,
  'matmul_gflops': {'float32': 100.0},
  'matmul_float32_gflops_by_size': {'128': 50.0},
  'copy_gb_per_s': 7.0,
}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
  """One measurement of a tiny model in this process."""
  folder = tmp_path_factory.mktemp('bench')
  data = run_util.render_scene(folder / 'scene')
  options = measure.Options(
    preset='blender_256.gin',
    seconds=0.1,
    step_seconds=0.01,
    batch_size=60,
    matmul_size=64,
    bindings=run_util.BINDINGS,
    scene_bindings=(
      "Config.dataset_loader = 'blender'",
      f"Config.data_dir = '{data}'",
    ),
  )
  return measure.preset(options, folder)


def record(presets):
  return {
    'date': '2026-01-01 00:00',
    'command': 'multinerf-bench',
    'versions': {'jax': '1', 'absent': None},
    'machine': MACHINE,
    'presets': presets,
  }


@pytest.mark.slow
def test_a_measurement_has_all_that_it_promises(tiny):
  json.dumps(tiny)
  assert tiny['num_devices'] == 8
  assert tiny['batch_size'] == 64  # 60, so that eight devices can share it
  for part in ('training', 'rendering'):
    found = tiny[part]
    assert found['num_rounds'] >= 3
    assert found['rays_per_s_best'] >= found['rays_per_s'] > 0
    for kind in ('utilisation', 'utilisation_busy', 'utilisation_of_best'):
      assert found[kind] > 0
  for name in (
    'start_s', 'compile_cold_s', 'compile_warm_s', 'host_batch_s',
    'host_share_of_step', 'checkpoint_save_s', 'checkpoint_restore_s',
    'checkpoint_bytes', 'peak_rss_bytes',
  ):  # fmt: skip
    assert tiny[name] > 0, name


@pytest.mark.slow
def test_utilisation_is_work_per_time_over_the_peak(tiny):
  found = tiny['training']
  want = found['rays_per_s_best'] * 281.4e6 / found['matmul_gflops_best'] / 1e9
  # Rounding of one product and two quotients.
  assert found['utilisation_of_best'] == pytest.approx(want, rel=1e-9)
  assert found['source'].startswith('measured')


@pytest.mark.slow
def test_the_page_has_a_row_for_each_preset_in_each_table(tiny, tmp_path):
  point = {'num_devices': 1, 'batch_size': 8, 'rays_per_s': 10.0}
  point['utilisation'] = 0.5
  faster = point | {'num_devices': 8, 'rays_per_s': 60.0}
  presets = {
    'tiny': tiny | {'scaling': [point, faster]},
    'broken': {'error': 'no such thing'},
  }
  bench.write(record(presets), tmp_path)
  text = (tmp_path / 'bench.md').read_text()
  assert text.count('\n| `tiny` |') == 3 + 2
  assert '| `tiny` | 8 | 8 | 60 | 6.00 | 50 % |' in text
  assert '- `broken`: no such thing' in text
  assert '| versions | jax 1 |' in text
  stored = json.loads((tmp_path / 'bench.json').read_text())
  assert stored['presets']['tiny']['num_params'] == tiny['num_params']


@pytest.mark.slow
def test_tables_are_well_formed(tiny):
  lines = page.markdown(record({'tiny': tiny})).splitlines()
  widths = [line.count(' | ') for line in lines if line.startswith('|')]
  below = [line.count(' | ') for line in lines if line.startswith('| ---')]
  assert len(below) == 4
  assert set(widths) == set(below)


def test_presets_are_measured_in_processes_and_failures_are_recorded(
  monkeypatch, tmp_path, capsys
):
  asked = []

  def child(options, *, cores=None, accelerators=None):
    asked.append((options and options.preset, cores))
    if options is None:
      return {k: MACHINE[k] for k in MACHINE if k != 'memory_bytes'}
    if options.preset == '360.gin':
      return {'error': 'ended by signal 9; too little memory?'}
    rates = {'rays_per_s': 5.0, 'utilisation': 0.1}
    return dataclasses.asdict(options) | {
      'num_devices': cores or 8,
      'training': rates,
      'rendering': rates,
    }

  monkeypatch.setattr(bench, 'child', child)
  monkeypatch.setattr(bench.page, 'markdown', lambda found: 'page')
  monkeypatch.setenv('HOME', str(tmp_path))
  args = ['x', '--presets=360,blender_256', '--out=~/bench']
  assert bench.main(args) == 1
  assert asked == [
    (None, None),
    ('360.gin', None),
    ('blender_256.gin', None),
    *(('blender_256.gin', n) for n in (1, 2, 4)),
  ]
  found = json.loads((tmp_path / 'bench/bench.json').read_text())['presets']
  assert found['360'] == {'error': 'ended by signal 9; too little memory?'}
  counts = [point['num_devices'] for point in found['blender_256']['scaling']]
  assert counts == [1, 2, 4, 8]
  assert 'not measured: 360' in capsys.readouterr().err


def test_an_unwritable_folder_names_the_flag(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  with pytest.raises(errors.CheckpointError, match=r'file.*\(--out\)'):
    bench.write({'presets': {}}, tmp_path / 'file' / 'bench')


def test_an_unknown_preset_is_named_before_anything_is_measured(
  monkeypatch, capsys
):
  monkeypatch.setattr(bench, 'child', lambda *args: pytest.fail('measured'))
  assert bench.main(['x', '--presets=blender_265']) == 1
  message = capsys.readouterr().err
  assert 'blender_265.gin' in message
  assert message.count('\n') == 1


@pytest.mark.parametrize(
  ('num', 'want'),
  [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8])],
)
def test_scaling_doubles_up_to_all_devices(num, want):
  assert bench.device_counts(num) == want


def test_reference_work_holds_for_its_presets_and_others_are_counted():
  setup = gin_setup.load(['blender_256.gin'], run_util.BINDINGS)
  model = setup.build_model()
  known = work.of_preset('configs/blender_256.gin', model)
  assert (known.training, known.rendering) == (281.4, 95.8)
  other = work.of_preset('other.gin', model)
  assert other.training > other.rendering > 0
  assert other.training_source != known.training_source


def test_a_peak_is_the_best_of_its_samples():
  peak = peaks.MatmulPeak('float32', 64)
  rates = [peak.sample(1).clock for _ in range(3)]
  assert peak.best == max(rates) > 0
  assert peaks.copy_gb_per_s(8000) > 0
