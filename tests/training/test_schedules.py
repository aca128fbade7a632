"""Learning rates: reference vectors, end points, choice by name or function."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from multinerf import errors
from multinerf.training import schedules

CFG = schedules.ScheduleConfig(
  lr_init=1e-2, lr_final=1e-4, max_steps=1000, lr_delay_steps=100
)


def rates(cfg, steps):
  schedule = schedules.make_schedule(cfg)
  return np.asarray(jax.vmap(schedule)(jnp.asarray(steps)))


@pytest.mark.parametrize('case', ['c0', 'c1', 'c2', 'c3', 'c4'])
def test_log_lerp_matches_the_reference(golden, case):
  data = golden('math').case('learning_rate_decay', case)
  # Upstream's function has no delay by default; its Config has one.
  options = {'lr_delay_steps': 0, **json.loads(str(data['params']))}
  got = rates(schedules.ScheduleConfig(**options), data['in_step'])
  np.testing.assert_allclose(got, data['out'], rtol=1e-5)


def test_log_lerp_runs_from_the_delayed_start_to_the_end_and_stays():
  got = rates(CFG, [0, 100, 500, 1000, 1001, 10**7])
  middle = np.sqrt(CFG.lr_init * CFG.lr_final)  # half way on a log scale
  want = [
    CFG.lr_init * CFG.lr_delay_mult,
    CFG.lr_init * (CFG.lr_final / CFG.lr_init) ** 0.1,
    middle,
    *[CFG.lr_final] * 3,
  ]
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_log_lerp_without_delay_starts_at_lr_init():
  cfg = schedules.ScheduleConfig(lr_init=0.5, lr_delay_steps=0)
  np.testing.assert_allclose(rates(cfg, [0]), [0.5], rtol=1e-6)


def test_warmup_cosine_has_its_peak_after_the_warm_up():
  cfg = schedules.ScheduleConfig(
    **{**vars(CFG), 'lr_schedule': 'warmup_cosine'}
  )
  got = rates(cfg, [0, 50, 100, 550, 1000, 2000])
  # Half of the cosine is the mean of its ends.
  half = (CFG.lr_init + CFG.lr_final) / 2
  want = [1e-4, 0.5 * (1e-4 + 1e-2), 1e-2, half, 1e-4, 1e-4]
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_piecewise_reaches_lr_final_in_three_equal_factors():
  cfg = schedules.ScheduleConfig(**{**vars(CFG), 'lr_schedule': 'piecewise'})
  got = rates(cfg, [0, 499, 501, 751, 901, 1000])
  factor = 100 ** (1 / 3)
  want = 1e-2 / np.array([1, 1, factor, factor**2, 100, 100])
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_piecewise_takes_boundaries_from_the_options():
  cfg = schedules.ScheduleConfig(
    lr_init=1.0,
    lr_schedule='piecewise',
    lr_schedule_kwargs={'boundaries': {10: 0.5, 20: 0.1}},
  )
  np.testing.assert_allclose(rates(cfg, [0, 15, 25]), [1, 0.5, 0.05], rtol=1e-6)


def test_an_optax_function_is_called_with_the_options():
  cfg = schedules.ScheduleConfig(
    lr_schedule=optax.linear_schedule,
    lr_schedule_kwargs=dict(init_value=1.0, end_value=0.0, transition_steps=10),
  )
  np.testing.assert_allclose(rates(cfg, [0, 5, 10, 20]), [1, 0.5, 0, 0])


def test_wrong_options_of_a_function_name_the_gin_key():
  cfg = schedules.ScheduleConfig(
    lr_schedule=optax.linear_schedule, lr_schedule_kwargs={'init_valu': 1.0}
  )
  with pytest.raises(errors.ConfigError, match='lr_schedule_kwargs') as e:
    schedules.make_schedule(cfg)
  assert 'init_valu' in str(e.value)


def test_an_unknown_name_lists_the_known_ones():
  cfg = schedules.ScheduleConfig(lr_schedule='cosine')
  with pytest.raises(errors.ConfigError) as e:
    schedules.make_schedule(cfg)
  assert 'log_lerp, piecewise, warmup_cosine' in str(e.value)
  assert 'Config.lr_schedule' in str(e.value)


@pytest.mark.parametrize('name', ['log_lerp', 'warmup_cosine', 'piecewise'])
def test_rates_are_positive_and_bounded_over_all_of_training(name):
  cfg = schedules.ScheduleConfig(**{**vars(CFG), 'lr_schedule': name})
  got = rates(cfg, np.arange(1001))
  assert np.all(got > 0) and np.all(got <= CFG.lr_init * (1 + 1e-6))
  after = got[CFG.lr_delay_steps :]
  assert np.all(np.diff(after) <= 1e-9)  # down only, once it is up


def test_the_decay_of_camp_zipnerf_is_ours_with_its_arguments_filled_in():
  arguments = dict(
    lr_init=1e-3, lr_final=1e-4, max_steps=100, lr_delay_steps=20
  )
  decay = schedules.create_learning_rate_decay(**arguments, lr_delay_mult=1e-8)
  cfg = schedules.ScheduleConfig(**arguments, lr_delay_mult=1e-8)
  steps = np.arange(0, 130, 13)
  np.testing.assert_allclose(
    [decay(step) for step in steps], rates(cfg, steps), rtol=1e-5
  )
  chosen = schedules.ScheduleConfig(
    lr_schedule=schedules.create_learning_rate_decay,
    lr_schedule_kwargs=arguments,
  )
  assert schedules.make_schedule(chosen)(100) == pytest.approx(1e-4)
  with pytest.raises(errors.ConfigError, match='lr_inti'):
    schedules.make_schedule(
      dataclasses.replace(chosen, lr_schedule_kwargs={'lr_inti': 1})
    )


def test_joined_schedules_count_from_their_own_beginning():
  linear = optax.linear_schedule
  joined = schedules.join_schedule_defs(
    [
      (linear, dict(init_value=32, end_value=256, transition_steps=2500)),
      (linear, dict(init_value=256, end_value=8192, transition_steps=20000)),
    ],
    [2500],
  )
  steps = [0, 1250, 2500, 12500, 22500, 30000]
  want = [32, 144, 256, 4224, 8192, 8192]
  np.testing.assert_allclose([joined(s) for s in steps], want, rtol=1e-6)
  with pytest.raises(errors.ConfigError, match='1 boundaries'):
    schedules.join_schedule_defs([(linear, {}), (linear, {})], [1, 2])
