"""Processes find each other, and tell each other what they must agree on."""

import json
import signal
import sys
import time
import types

import process_util
import pytest
import run_util

from multinerf import errors, parallel
from multinerf.parallel import processes

ADDRESS = '127.0.0.1:1'


def test_alone_everything_is_trivial():
  assert not parallel.is_distributed()
  assert parallel.on_lead(lambda: 3, 'x') == 3
  assert parallel.gather('a') == ['a']
  tree = {'a': [1, None]}
  assert parallel.broadcast(tree) is tree
  parallel.barrier('x')
  parallel.check_same('x', 'This')
  parallel.check_devices()
  parallel.initialize()
  parallel.initialize(
    parallel.ClusterConfig('127.0.0.1:1', num_processes=1, process_id=0)
  )
  assert not parallel.is_distributed()


@pytest.mark.parametrize(
  'config, message',
  [
    (dict(num_processes=2), 'coordinator_address and --process_id missing'),
    (dict(coordinator_address=ADDRESS), 'num_processes and --process_id'),
    (
      dict(coordinator_address=ADDRESS, num_processes=2, process_id=2),
      r'process_id = 2 must be in 0 .. 1',
    ),
    (
      dict(coordinator_address=ADDRESS, num_processes=-1, process_id=0),
      'num_processes = -1 must be at least 1',
    ),
    (dict(cluster='sulrm'), 'Cannot tell who trains together'),
  ],
)
def test_half_a_description_of_the_processes_is_refused(config, message):
  with pytest.raises(errors.ConfigError, match=message):
    parallel.initialize(parallel.ClusterConfig(**config))


def test_environment_fills_in_what_flags_do_not_say(monkeypatch):
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', ADDRESS)
  monkeypatch.setenv('JAX_NUM_PROCESSES', '4')
  monkeypatch.setenv('JAX_PROCESS_ID', '3')
  got = processes._with_environment(parallel.ClusterConfig(process_id=1))
  assert got == parallel.ClusterConfig(ADDRESS, 4, 1)
  monkeypatch.setenv('JAX_NUM_PROCESSES', 'four')
  with pytest.raises(errors.ConfigError, match="JAX_NUM_PROCESSES = 'four'"):
    parallel.initialize()


@pytest.mark.parametrize(
  'environ, several',
  [
    ({}, False),
    ({'SLURM_STEP_NUM_TASKS': '1'}, False),  # srun of one task, or a shell
    ({'SLURM_STEP_NUM_TASKS': '8'}, True),
    ({'OMPI_COMM_WORLD_SIZE': '2'}, True),
    ({'TPU_WORKER_HOSTNAMES': 'localhost'}, False),
    ({'TPU_WORKER_HOSTNAMES': 'a,b'}, True),
  ],
)
def test_a_scheduler_is_asked_only_if_it_started_several(environ, several):
  assert processes._scheduler_says_several(environ) == several


# Everything that needs a second process, in one pair of them: they are slow to
# start. Each writes what it saw as JSON.
TOGETHER = """
import json, sys, time
import jax, jax.numpy as jnp, numpy as np
from multinerf import errors, parallel

config = dict(a.removeprefix('--').split('=') for a in sys.argv[1:])
parallel.initialize(parallel.ClusterConfig(
  config['coordinator_address'],
  int(config['num_processes']),
  int(config['process_id']),
))
seen = {}
me, mine = parallel.process_index(), parallel.local_device_count()
seen['place'] = [me, parallel.process_count(), mine, parallel.device_count()]
seen['lead'] = parallel.is_lead()
seen['gather'] = parallel.gather({'me': me})
seen['on_lead'] = parallel.on_lead(lambda: ['from', me], 'a word')
def late():
  time.sleep(3)
  return 60

for name, call in {
  'refused': lambda: parallel.on_lead(refuse, 'a word'),
  'differs': lambda: parallel.check_same(f'text {me}', 'The text'),
  # The lead is late, but all make the same calls.
  'alone': lambda: parallel.barrier('a meeting', 0.2 if me else late()),
}.items():
  def refuse():
    raise errors.CheckpointError('nothing there')
  try:
    call()
  except errors.MultinerfError as error:
    seen[name] = [type(error).__name__, str(error)]

tree = {
  'zeros': np.full(3, -0.0, np.float32) if me == 0 else np.ones(3, np.float32),
  'nan': np.float32([np.nan, me]).view(np.uint32).view(np.float32),
  'half': np.full((2, 2), 1 + me, jnp.bfloat16),
  'step': np.int32(7 + me),
}
got = parallel.broadcast(tree)
seen['broadcast'] = {k: v.tobytes().hex() for k, v in got.items()}
seen['types'] = {k: [str(v.dtype), list(v.shape)] for k, v in got.items()}

def step(state, batch):
  index = parallel.ray_offset(batch.shape[0]) + jnp.arange(batch.shape[0])
  total = parallel.pmean(jnp.sum(batch))
  out = {'index': index, 'all': parallel.all_gather(batch), 'none': None}
  return state + total, parallel.all_devices(out)

state = parallel.replicate({'w': np.float32(1)})['w']
rows = np.arange(4 * parallel.process_count(), dtype=np.float32)
batch = parallel.to_devices(parallel.shard(rows[4 * me : 4 * me + 4]))
program = parallel.pmap_step(step, donate_state=True)
compiled = program.lower(state, batch).compile()
before = state
state, out = compiled(state, batch)
seen['donated'] = before.is_deleted()
seen['state'] = float(parallel.unreplicate(state))
seen['index'] = parallel.fetch(out['index']).tolist()
seen['all'] = parallel.fetch(out['all'])[:8].tolist()
shared = parallel.share(np.arange(3.0, dtype=np.float32))
seen['shared'] = float(
  parallel.unreplicate(
    parallel.pmap_step(lambda s, x: s + x.sum(), donate_state=False)(
      state, shared
    )
  )
)
seen['free'] = parallel.free_memory()

# Process 1 wants to stop after its third dispatch, 0 never does.
taken = 0
with parallel.StopTogether(lambda: me == 1 and taken >= 3) as stop:
  while taken < 200 and not stop():
    state, _ = compiled(state, batch)
    taken += 1
    time.sleep(0.05 * (me + 1))
parallel.wait(state)
seen['taken'] = taken
parallel.finish()
print(json.dumps(seen))
"""


@pytest.fixture(scope='module')
def together(tmp_path_factory):
  script = tmp_path_factory.mktemp('script') / 'together.py'
  script.write_text(TOGETHER)
  done = process_util.run(
    script, [], num_devices=2, PYTHONPATH=str(run_util.CHECKOUT)
  )
  for process in done:
    assert process.returncode == 0, process.stderr
  lines = [process.stdout.splitlines()[-1] for process in done]
  return [json.loads(line) for line in lines]


@pytest.mark.parametrize('process_id', [0, 1])
@pytest.mark.parametrize('all_fail', [True, False])
def test_of_those_that_fail_together_the_lead_leaves_last(
  process_id, all_fail, monkeypatch
):
  done = []

  def barrier(name, timeout):
    done.append('waits')
    if not all_fail:
      raise errors.ProcessError('Nobody came.')

  place = types.SimpleNamespace(process_id=process_id)
  monkeypatch.setattr(processes, 'is_distributed', lambda: True)
  monkeypatch.setattr(processes, 'connection', lambda: place)
  monkeypatch.setattr(processes, 'barrier', barrier)
  monkeypatch.setattr(processes.time, 'sleep', lambda _: done.append('sleeps'))
  monkeypatch.setattr(processes.os, '_exit', sys.exit)
  with pytest.raises(SystemExit, match='7'):
    processes.leave(7)
  last = all_fail and process_id == 0
  assert done == ['waits', *['sleeps'] * last]


def test_processes_know_their_place(together):
  assert [seen['place'] for seen in together] == [[0, 2, 2, 4], [1, 2, 2, 4]]
  assert [seen['lead'] for seen in together] == [True, False]


def test_values_reach_all_processes(together):
  for seen in together:
    assert seen['gather'] == [{'me': 0}, {'me': 1}]
    assert seen['on_lead'] == ['from', 0]
    assert seen['free'] is None


def test_what_the_lead_refuses_is_refused_everywhere(together):
  for seen in together:
    assert seen['refused'] == ['CheckpointError', 'nothing there']
    assert seen['differs'][0] == 'ConfigError'
    assert 'The text of process 1 differs' in seen['differs'][1]


def test_a_barrier_gives_up_in_time(together):
  assert 'alone' not in together[0]
  kind, text = together[1]['alone']
  assert kind == 'ProcessError'
  assert "did not come to 'a meeting' in time" in text


def test_arrays_of_the_lead_arrive_bit_for_bit(together):
  assert together[0]['broadcast'] == together[1]['broadcast']
  got = together[1]['broadcast']
  assert got['zeros'] == '00000080' * 3  # sums would have lost the sign
  assert got['step'] == '07000000'
  assert got['half'] == '803f' * 4
  assert together[1]['types']['half'] == ['bfloat16', [2, 2]]
  assert together[1]['types']['step'] == ['int32', []]


def test_devices_of_two_processes_work_as_four_of_one(together):
  for seen in together:
    assert seen['donated']
    assert seen['state'] == 1 + 28 / 4
    assert seen['shared'] == seen['state'] + 3
    assert seen['index'] == list(range(8))
    assert seen['all'] == list(range(8))


def test_all_processes_stop_after_the_same_step(together):
  first, second = (seen['taken'] for seen in together)
  assert first == second
  assert 3 <= first < 200


WAIT = """
import os, sys, time
import jax.numpy as jnp, numpy as np
from multinerf.app import cli
from multinerf import parallel

def program(setup):
  cli.prepare_devices(setup)
  add = parallel.pmap_step(parallel.pmean, donate_state=False)
  x = parallel.replicate(np.float32(1))
  for i in range(100000):
    x = add(x)
    parallel.wait(x)
    if i == 3 and parallel.process_index() == int(os.environ['DIES']):
      print('dies', time.time(), flush=True)
      exec(os.environ['HOW'])

sys.exit(cli.main(program, scope='train', doc=''))
"""


@pytest.mark.slow
@pytest.mark.parametrize('dies', [0, 1])
@pytest.mark.parametrize(
  'how, status',
  [
    ('os.kill(os.getpid(), 9)', -signal.SIGKILL),
    ('raise RuntimeError("a bug")', 70),
    ('from multinerf import errors; raise errors.DataError("bad")', 1),
  ],
)
def test_when_one_process_ends_the_others_do_within_a_minute(
  tmp_path, dies, how, status
):
  script = tmp_path / 'wait.py'
  script.write_text(WAIT)
  lines = process_util.commands([script], 2)
  with process_util.started(
    lines, 1, PYTHONPATH=str(run_util.CHECKOUT), DIES=str(dies), HOW=how
  ) as running:
    victim = process_util.finished(running[dies])
    other = process_util.finished(running[1 - dies])
    ended = time.time()
  assert victim.returncode == status, victim.stderr
  # The runtime's abort, or what our own exit makes of its error.
  assert other.returncode in (-signal.SIGABRT, 70), other.stderr
  (line,) = [x for x in victim.stdout.splitlines() if x.startswith('dies')]
  assert ended - float(line.split()[1]) < 60
