import errno
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading
import time

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization
from flax.training import checkpoints as flax_checkpoints
from flax.training import train_state

from multinerf import errors
from multinerf.training import checkpoints, durable, saver

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


@flax.struct.dataclass
class State:
  step: int
  params: dict
  opt_state: tuple


def make_state(step=0, *, width=4, layers=('Dense_0', 'Dense_1')):
  """A small state; all its numbers follow from the step."""
  gen = np.random.default_rng(step)
  params = {
    name: {
      'kernel': gen.normal(size=(3, width)).astype(np.float32),
      'bias': gen.normal(size=width).astype(jnp.bfloat16),
    }
    for name in layers
  }
  opt_state = (
    optax.ScaleByAdamState(
      count=np.int32(step), mu=params, nu=jax.tree.map(np.square, params)
    ),
    optax.EmptyState(),
  )
  params = {'params': {'NerfMLP_0': params}}
  return State(step=np.int32(step), params=params, opt_state=opt_state)


def assert_same(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    assert np.asarray(a).dtype == np.asarray(b).dtype
    np.testing.assert_array_equal(a, b)


def save_steps(folder, *steps, keep=100):
  for step in steps:
    checkpoints.save(folder, make_state(step), step, keep=keep)


class Heard(list):
  """Collects warnings."""

  def __call__(self, message):
    assert '\n' not in message
    self.append(message)


def names(folder):
  return sorted(os.listdir(folder))


def test_restore_returns_bitwise_what_was_saved(tmp_path):
  save_steps(tmp_path, 1, 20, 100)
  assert checkpoints.available_steps(tmp_path) == [1, 20, 100]
  assert checkpoints.latest(tmp_path) == 100
  state, manifest = checkpoints.restore(tmp_path, make_state(0))
  assert_same(state, make_state(100))
  assert manifest['step'] == 100
  state, manifest = checkpoints.restore(tmp_path, make_state(0), 20)
  assert_same(state, make_state(20))
  assert manifest['step'] == 20


def test_manifest_carries_extras_and_describes_the_arrays(tmp_path):
  extras = {'wall_time': 12.5, 'gin': 'Config.near = 2\n# ö'}
  path = checkpoints.save(tmp_path, make_state(7), 7, keep=1, manifest=extras)
  assert path == tmp_path / 'checkpoint_7'
  _, manifest = checkpoints.restore(tmp_path, make_state())
  assert manifest['run'] == extras
  assert manifest['num_bytes'] == path.stat().st_size
  assert manifest['arrays']['step'] == 'int32[]'
  kernel = 'params/params/NerfMLP_0/Dense_0/kernel'
  assert manifest['arrays'][kernel] == 'float32[3, 4]'
  assert manifest['arrays'][kernel.replace('kernel', 'bias')] == 'bfloat16[4]'
  assert manifest['versions']['flax'] == flax.__version__


def test_abstract_targets_and_relative_folders_work(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save_steps('runs/fox', 3)
  target = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, make_state()))
  state, _ = checkpoints.restore('runs/fox', target)
  assert_same(state, make_state(3))


def test_files_are_those_of_flax_in_both_directions(tmp_path):
  save_steps(tmp_path / 'ours', 5)
  newest = flax_checkpoints.latest_checkpoint(tmp_path / 'ours')
  assert pathlib.Path(newest).name == 'checkpoint_5'  # not the manifest
  assert_same(
    flax_checkpoints.restore_checkpoint(tmp_path / 'ours', make_state()),
    make_state(5),
  )
  with flax.config.temp_flip_flag('use_orbax_checkpointing', False):
    flax_checkpoints.save_checkpoint(tmp_path / 'flax', make_state(5), 5)
  ours = (tmp_path / 'ours' / 'checkpoint_5').read_bytes()
  assert ours == (tmp_path / 'flax' / 'checkpoint_5').read_bytes()
  state, manifest = checkpoints.restore(tmp_path / 'flax', make_state())
  assert_same(state, make_state(5))
  assert manifest == {'step': 5, 'run': {}}


def test_flax_orbax_folders_are_read_but_never_removed(tmp_path):
  params = {'params': {'NerfMLP_0': {'kernel': np.ones((3, 4), np.float32)}}}
  upstream = train_state.TrainState.create(
    apply_fn=None, params=params, tx=optax.adam(1e-3)
  )
  upstream = jax.device_get(upstream).replace(step=7)
  flax_checkpoints.save_checkpoint(tmp_path, upstream, 7)
  assert (tmp_path / 'checkpoint_7').is_dir()
  target = upstream.replace(step=np.int32(0))
  state, _ = checkpoints.restore(tmp_path, target)
  assert state.step == 7 and state.step.dtype == np.int32
  assert_same(state.params, params)
  checkpoints.save(tmp_path, state.replace(step=8), 8, keep=1)
  assert checkpoints.available_steps(tmp_path) == [7, 8]


def test_only_the_named_entries_are_read(tmp_path):
  save_steps(tmp_path, 9)
  target = {'params': make_state().params, 'mine': 'kept'}
  state, _ = checkpoints.restore(tmp_path, target, only=('params',))
  assert_same(state['params'], make_state(9).params)
  assert state['mine'] == 'kept'


def test_keep_leaves_the_newest_and_their_manifests(tmp_path):
  save_steps(tmp_path, 1, 2, 9, 10, 11, keep=2)
  assert names(tmp_path) == [
    'checkpoint_10',
    'checkpoint_11',
    'manifest_10.json',
    'manifest_11.json',
  ]


def test_saving_an_older_step_removes_nothing_newer_and_says_so(tmp_path):
  save_steps(tmp_path, 10, 20, 30)
  heard = Heard()
  checkpoints.save(tmp_path, make_state(15), 15, keep=1, warn=heard)
  assert checkpoints.available_steps(tmp_path) == [15, 20, 30]
  assert len(heard) == 1 and '20, 30' in heard[0]


def test_saving_an_equal_step_replaces_it(tmp_path):
  save_steps(tmp_path, 10, 20)
  changed = make_state(20, width=5)
  checkpoints.save(tmp_path, changed, 20, keep=2)
  state, _ = checkpoints.restore(tmp_path, make_state(0, width=5))
  assert_same(state, changed)
  assert checkpoints.available_steps(tmp_path) == [10, 20]


def test_a_checkpoint_is_named_by_the_step_it_holds(tmp_path):
  with pytest.raises(ValueError, match='step 3 is saved as step 5'):
    checkpoints.save(tmp_path, make_state(3), 5, keep=1)
  assert names(tmp_path) == []


def test_only_the_lead_process_writes(tmp_path):
  folder = tmp_path / 'run'
  checkpoints.save(folder, make_state(1), 1, keep=1, is_lead=False)
  assert not folder.exists()


def test_flax_global_settings_are_not_touched(tmp_path):
  before = flax.config.flax_use_orbax_checkpointing
  seen = []
  real = os.fsync

  def spy(descriptor):
    seen.append(flax.config.flax_use_orbax_checkpointing)
    real(descriptor)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(os, 'fsync', spy)
    save_steps(tmp_path, 1)
  assert seen and set(seen) == {before}


@pytest.mark.parametrize('kind', ['missing', 'empty', 'other', 'file'])
def test_no_checkpoint_is_an_error_that_names_folder_and_contents(
  tmp_path, kind
):
  folder = tmp_path / 'run'
  said = {'missing': 'does not exist', 'empty': 'holds nothing'}
  said |= {'other': 'config.gin, events.out', 'file': 'is a file'}
  if kind == 'file':
    folder.write_text('')
  elif kind != 'missing':
    folder.mkdir()
  if kind == 'other':
    (folder / 'config.gin').write_text('')
    (folder / 'events.out').write_text('')
  assert checkpoints.latest(folder) is None
  with pytest.raises(errors.CheckpointError) as info:
    checkpoints.restore(folder, make_state())
  assert str(folder) in str(info.value) and said[kind] in str(info.value)


def test_a_step_that_is_not_there_is_named_with_those_that_are(tmp_path):
  save_steps(tmp_path, 1, 2)
  with pytest.raises(errors.CheckpointError, match='No checkpoint_3.*_1.*_2'):
    checkpoints.restore(tmp_path, make_state(), 3)


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bit(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(data)


def remove_manifest_and_truncate(path):
  checkpoints.manifest_path(path.parent, 30).unlink()
  truncate(path)


def remove_manifest_and_write_noise(path):
  checkpoints.manifest_path(path.parent, 30).unlink()
  path.write_bytes(np.random.default_rng(0).bytes(500))


def break_manifest(path):
  checkpoints.manifest_path(path.parent, 30).write_text('{"step": 30')


DAMAGES = [
  truncate,
  flip_bit,
  remove_manifest_and_truncate,
  remove_manifest_and_write_noise,
  break_manifest,
]


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_newest_is_reported_and_the_one_before_is_used(
  tmp_path, damage
):
  save_steps(tmp_path, 10, 20, 30)
  damage(tmp_path / 'checkpoint_30')
  heard = Heard()
  state, manifest = checkpoints.restore(tmp_path, make_state(), warn=heard)
  assert_same(state, make_state(20))
  assert manifest['step'] == 20
  assert len(heard) == 1
  assert 'checkpoint_30' in heard[0] and 'Using checkpoint_20' in heard[0]
  with pytest.raises(errors.CheckpointError, match='checkpoint_30'):
    checkpoints.restore(tmp_path, make_state(), 30, warn=heard)


@pytest.mark.parametrize(
  'text',
  [
    '[' * 100_000,
    '{}',
    '[1]',
    'null',
    '{"num_bytes": 1, "sha256": "", "run": []}',
    '{"num_bytes": 1, "sha256": "", "run": {"train_seconds": "x"}}',
    '{"num_bytes": 1, "sha256": "", "run": {"train_seconds": NaN}}',
    '{"num_bytes": 1, "sha256": "", "run": {"train_seconds": -1}}',
    'x' * 2**20,
  ],
)
def test_a_manifest_that_is_none_is_damage_and_not_a_crash(tmp_path, text):
  save_steps(tmp_path, 10, 20)
  (tmp_path / 'manifest_20.json').write_text(text)
  heard = Heard()
  state, _ = checkpoints.restore(tmp_path, make_state(), warn=heard)
  assert state.step == 10 and len(heard) == 1


def test_a_manifest_of_gigabytes_is_not_read(tmp_path):
  save_steps(tmp_path, 10)
  with open(tmp_path / 'manifest_10.json', 'wb') as file:
    file.truncate(2**33)  # takes no room on the disk
  with pytest.raises(errors.CheckpointError, match='manifest .* damaged'):
    checkpoints.restore(tmp_path, make_state())


def test_nothing_but_damaged_checkpoints_is_an_error(tmp_path):
  save_steps(tmp_path, 10, 30)
  for step in (10, 30):
    flip_bit(tmp_path / f'checkpoint_{step}')
  with pytest.raises(errors.CheckpointError, match='_30.*checksum.*_10'):
    checkpoints.restore(tmp_path, make_state())


def test_the_default_warning_is_a_python_warning(tmp_path):
  save_steps(tmp_path, 10, 30)
  flip_bit(tmp_path / 'checkpoint_30')
  with pytest.warns(UserWarning, match='checksum is wrong'):
    checkpoints.restore(tmp_path, make_state())


def test_a_checkpoint_without_manifest_is_used_after_comparing_shapes(
  tmp_path,
):
  save_steps(tmp_path, 10)
  checkpoints.manifest_path(tmp_path, 10).unlink()
  state, _ = checkpoints.restore(tmp_path, make_state())
  assert_same(state, make_state(10))
  with pytest.raises(errors.CheckpointError, match='kernel'):
    checkpoints.restore(tmp_path, make_state(width=8))


def test_other_layers_are_listed_by_path(tmp_path):
  save_steps(tmp_path, 10)
  target = make_state(layers=('Dense_1', 'Dense_2'))
  with pytest.raises(errors.CheckpointError) as info:
    checkpoints.restore(tmp_path, target, only=('params',))
  message = str(info.value)
  assert str(tmp_path / 'checkpoint_10') in message
  prefix = 'params/params/NerfMLP_0/'
  assert f'{prefix}Dense_0/kernel is not in the model' in message
  assert f'{prefix}Dense_2/kernel is not in the file' in message
  assert 'Dense_1' not in message


@pytest.mark.parametrize('step', [None, 10])
def test_other_shapes_are_an_error_not_a_fallback(tmp_path, step):
  save_steps(tmp_path, 5, 10)
  with pytest.raises(errors.CheckpointError) as info:
    checkpoints.restore(tmp_path, make_state(width=8), step)
  assert (
    'kernel is float32[3, 4] in the file and float32[3, 8] in the model'
    in str(info.value)
  )
  assert 'and 2 more' in str(info.value)  # 12 arrays differ, 10 are named


def test_other_dtypes_are_an_error(tmp_path):
  save_steps(tmp_path, 10)
  target = make_state()
  layer = target.params['params']['NerfMLP_0']['Dense_0']
  layer['bias'] = layer['bias'].astype(np.float32)
  with pytest.raises(
    errors.CheckpointError, match=r'bias is bfloat16\[4\].*float32\[4\]'
  ):
    checkpoints.restore(tmp_path, target)


def test_python_numbers_match_arrays_of_their_kind_only(tmp_path):
  checkpoints.save(tmp_path, {'step': 3, 'lr': 0.5}, 3, keep=1)
  target = {'step': np.uint32(0), 'lr': np.float32(0)}
  state, _ = checkpoints.restore(tmp_path, target)
  assert state['step'].dtype == np.uint32 and state['lr'].dtype == np.float32
  with pytest.raises(errors.CheckpointError, match='lr is float'):
    checkpoints.restore(tmp_path, {'step': 0, 'lr': 1})
  with pytest.raises(errors.CheckpointError, match='step is int'):
    checkpoints.restore(tmp_path, {'step': np.zeros(2, int), 'lr': 1.0})


def test_bytes_that_ask_for_python_objects_are_only_data(tmp_path):
  """A pickled payload inside a checkpoint is never unpickled."""
  marker = tmp_path / 'executed'
  payload = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
  packed = serialization.msgpack_serialize({'step': 1, 'params': payload})
  run = tmp_path / 'run'
  run.mkdir()
  (run / 'checkpoint_1').write_bytes(packed)
  state, _ = checkpoints.restore(run, {'step': 0, 'params': b''})
  assert state['params'] == payload
  assert not marker.exists()


def fail_with(number):
  def raise_error(*args):
    raise OSError(number, os.strerror(number))

  return raise_error


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize('where', ['fsync', 'replace'])
def test_a_failed_write_leaves_the_previous_checkpoint_and_no_litter(
  tmp_path, monkeypatch, where, number
):
  save_steps(tmp_path, 10)
  before = names(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(durable.os, where, fail_with(number))
    with pytest.raises(errors.CheckpointError) as info:
      checkpoints.save(tmp_path, make_state(20), 20, keep=1)
  message = str(info.value)
  assert os.strerror(number) in message and '\n' not in message
  assert str(tmp_path / 'checkpoint_20') in message
  assert names(tmp_path) == before
  assert_same(checkpoints.restore(tmp_path, make_state())[0], make_state(10))


def test_a_write_that_the_system_refuses_half_way_is_undone(tmp_path):
  """The limit on file sizes stands for a full disk: write(2) itself fails."""
  save_steps(tmp_path, 10)
  before = names(tmp_path)
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
  try:
    with pytest.raises(errors.CheckpointError, match='Cannot write'):
      checkpoints.save(tmp_path, make_state(20, width=4000), 20, keep=1)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
  assert names(tmp_path) == before


def test_a_folder_below_a_file_is_one_line_that_names_it(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.CheckpointError, match='checkpoint_dir') as info:
    checkpoints.save(tmp_path / 'file' / 'run', make_state(1), 1, keep=1)
  assert '\n' not in str(info.value)


def test_an_old_checkpoint_that_cannot_be_removed_is_only_a_warning(
  tmp_path, monkeypatch
):
  save_steps(tmp_path, 10)
  real = pathlib.Path.unlink

  def unlink(self, missing_ok=False):
    if self.name == 'checkpoint_10':
      raise PermissionError(errno.EPERM, 'no')
    real(self, missing_ok=missing_ok)

  monkeypatch.setattr(pathlib.Path, 'unlink', unlink)
  heard = Heard()
  checkpoints.save(tmp_path, make_state(20), 20, keep=1, warn=heard)
  assert len(heard) == 1 and 'checkpoint_10' in heard[0]
  assert checkpoints.available_steps(tmp_path) == [10, 20]


@pytest.mark.parametrize('steps', [(20,), (10,)], ids=['new', 'same'])
def test_a_crash_between_any_two_system_calls_leaves_a_good_checkpoint(
  tmp_path, monkeypatch, steps
):
  """Stops the save before each file operation in turn; none is undone."""

  class Killed(BaseException):
    pass

  reached_end = False
  for crash_at in range(30):
    folder = tmp_path / str(crash_at)
    save_steps(folder, 10)
    calls = 0

    def step_or_die(real):
      def call(*args, **kwargs):
        nonlocal calls
        if calls == crash_at:  # noqa: B023
          raise Killed
        calls += 1
        return real(*args, **kwargs)

      return call

    new = make_state(steps[0]).replace(opt_state=make_state(99).opt_state)
    with monkeypatch.context() as patch:
      for owner, name in [
        (os, 'fsync'),
        (os, 'replace'),
        (os, 'unlink'),
        (pathlib.Path, 'unlink'),
      ]:
        patch.setattr(owner, name, step_or_die(getattr(owner, name)))
      try:
        checkpoints.save(folder, new, steps[0], keep=1)
        reached_end = True
      except Killed:
        pass
    # Any warning would be an error here: nothing may look damaged.
    state, _ = checkpoints.restore(folder, make_state())
    is_old = int(state.opt_state[0].count) == 10
    assert_same(state, make_state(10) if is_old else new)
    if reached_end:
      assert not is_old
      break
  assert reached_end and crash_at >= 6


KILLED_PROGRAM = """
import sys
import numpy as np
from multinerf.training import checkpoints
folder = sys.argv[1]
for step in range(1, 10**6):
  state = {'step': step, 'w': np.full((300, 1000), step, np.float32)}
  checkpoints.save(folder, state, step, keep=3)
  if step == 3:
    print('ready', flush=True)
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_saving_leaves_whole_checkpoints(tmp_path):
  target = {'step': 0, 'w': np.zeros((300, 1000), np.float32)}
  env = os.environ | {'PYTHONPATH': str(CHECKOUT)}
  for delay in (0.0, 0.005):
    process = subprocess.Popen(
      [sys.executable, '-c', KILLED_PROGRAM, tmp_path],
      stdout=subprocess.PIPE,
      env=env,
    )
    with process:
      assert process.stdout.readline() == b'ready\n'
      time.sleep(delay)
      process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    steps = checkpoints.available_steps(tmp_path)
    assert len(steps) >= 3
    for step in steps:
      state, _ = checkpoints.restore(tmp_path, target, step)
      assert state['step'] == step and (state['w'] == step).all()
    for name in names(tmp_path):
      (tmp_path / name).unlink()


def test_the_next_save_removes_what_a_killed_one_left(tmp_path):
  (tmp_path / '.tmp_multinerf_checkpoint_9').write_bytes(b'half')
  (tmp_path / '.tmp_of_somebody_else').write_bytes(b'')
  save_steps(tmp_path, 10)
  assert names(tmp_path) == [
    '.tmp_of_somebody_else',
    'checkpoint_10',
    'manifest_10.json',
  ]


def test_the_writer_saves_in_the_background_one_at_a_time(
  tmp_path, monkeypatch
):
  active, most, threads = 0, 0, set()
  real = durable.replace_pair

  def slow(*args):
    nonlocal active, most
    active += 1
    most = max(most, active)
    threads.add(threading.current_thread())
    time.sleep(0.02)
    real(*args)
    active -= 1

  monkeypatch.setattr(durable, 'replace_pair', slow)
  with saver.CheckpointWriter(tmp_path, keep=2) as writer:
    for step in (1, 2, 3):
      path = writer.save(make_state(step), step, manifest={'wall_time': step})
    assert path == tmp_path / 'checkpoint_3'
  assert most == 1 and threading.main_thread() not in threads
  assert checkpoints.available_steps(tmp_path) == [2, 3]
  state, manifest = checkpoints.restore(tmp_path, make_state())
  assert_same(state, make_state(3))
  assert manifest['run'] == {'wall_time': 3}


def test_save_returns_before_the_file_is_written(tmp_path, monkeypatch):
  go = threading.Event()
  real = durable.replace_pair

  def wait_first(*args):
    assert go.wait(10)
    real(*args)

  monkeypatch.setattr(durable, 'replace_pair', wait_first)
  with saver.CheckpointWriter(tmp_path, keep=2) as writer:
    path = writer.save(make_state(1), 1)
    assert not path.exists()
    go.set()
    writer.wait()
    assert path.exists()


@pytest.mark.parametrize('when', ['save', 'wait', 'close'])
def test_an_error_of_the_writer_is_raised_once_at_the_next_call(
  tmp_path, monkeypatch, when
):
  writer = saver.CheckpointWriter(tmp_path, keep=2)
  with monkeypatch.context() as patch:
    patch.setattr(durable.os, 'fsync', fail_with(errno.ENOSPC))
    writer.save(make_state(1), 1)
    with pytest.raises(errors.CheckpointError, match='No space left'):
      if when == 'save':
        writer.save(make_state(2), 2)
      else:
        getattr(writer, when)()
  if when != 'close':
    writer.save(make_state(3), 3)
    writer.close()
    assert checkpoints.available_steps(tmp_path) == [3]


def test_the_error_that_ended_the_block_is_shown_before_that_of_the_writer(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(durable.os, 'fsync', fail_with(errno.ENOSPC))
  heard = Heard()
  with pytest.raises(KeyError):
    with saver.CheckpointWriter(tmp_path, keep=2, warn=heard) as writer:
      writer.save(make_state(1), 1)
      raise KeyError
  assert len(heard) == 1 and 'No space left' in heard[0]


def test_the_writer_starts_no_thread_before_the_first_save(tmp_path):
  before = threading.active_count()
  with saver.CheckpointWriter(tmp_path, keep=2, is_lead=False) as writer:
    assert threading.active_count() == before
    writer.save(make_state(1), 1)
  assert names(tmp_path) == []
  assert threading.active_count() == before


def test_the_manifest_is_plain_json(tmp_path):
  save_steps(tmp_path, 4)
  text = (tmp_path / 'manifest_4.json').read_text()
  assert json.loads(text)['step'] == 4
