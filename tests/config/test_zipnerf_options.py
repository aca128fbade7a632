"""What camp_zipnerf's gin files say about losses and optimisation."""

import jax.numpy as jnp
import optax
import pytest

from multinerf.cameras import poses
from multinerf.config import externals, gin_setup
from multinerf.ops import curves
from multinerf.training import schedules

# zipnerf/360.gin, as far as it concerns losses.
BINDINGS = """
  Config.spline_interlevel_params = {'mults': 0.01, 'blurs': (0.03, 0.003)}
  Config.distortion_loss_mult = 0.01
  Config.distortion_loss_target = 'tdist'
  Config.distortion_loss_curve_fn = (
      @math.power_ladder, {'p': -0.25, 'premult': 10000.})
  Config.param_regularizers = {
      'grid_0': (0.1, @jnp.mean, 2, 1),
      'grid_1': (0.1, @jnp.sum, 2, 1),
  }
  Config.lr_init_grid = 0.01
  Config.lr_final_grid = 1e-3
"""


def check(config):
  assert config.spline_interlevel_params == {
    'mults': 0.01,
    'blurs': (0.03, 0.003),
  }
  assert config.distortion_loss_target == 'tdist'
  curve_fn, kwargs = config.distortion_loss_curve_fn
  assert curve_fn is curves.power_ladder
  assert kwargs == {'p': -0.25, 'premult': 10000.0}
  assert config.param_regularizers == {
    'grid_0': (0.1, jnp.mean, 2.0, 1.0),
    'grid_1': (0.1, jnp.sum, 2.0, 1.0),
  }
  assert (config.lr_init_grid, config.lr_final_grid) == (0.01, 0.001)


def test_losses_of_the_preset_are_bound():
  check(gin_setup.load((), BINDINGS).config)


@pytest.mark.parametrize('text', ['config_str', 'operative_config_str'])
def test_what_a_run_saves_reproduces_them(text, tmp_path):
  first = gin_setup.load((), BINDINGS)
  path = tmp_path / 'config.gin'
  path.write_text(getattr(first, text))
  again = gin_setup.load(str(path))
  check(again.config)
  assert again.config == first.config
  assert getattr(again, text) == getattr(first, text)


@pytest.mark.parametrize(
  ('name', 'want'),
  [
    ('math.create_learning_rate_decay', schedules.create_learning_rate_decay),
    ('join_schedule_defs', schedules.join_schedule_defs),
    ('optax.linear_schedule', optax.linear_schedule),
  ],
)
def test_schedules_of_camp_zipnerf_can_be_referred_to(name, want):
  config = gin_setup.load((), f'Config.lr_schedule = @{name}').config
  assert config.lr_schedule is want


def test_a_schedule_may_be_made_of_schedules():
  binding = """
    Config.lr_schedule = @join_schedule_defs
    Config.lr_schedule_kwargs = {
        'schedule_defs': [
            (@optax.linear_schedule,
             {'init_value': 0., 'end_value': 1., 'transition_steps': 10}),
            (@math.create_learning_rate_decay,
             {'lr_init': 1., 'lr_final': 0.1, 'max_steps': 20}),
        ],
        'boundaries': [10],
    }
  """
  config = gin_setup.load((), binding).config
  schedule = schedules.make_schedule(
    schedules.ScheduleConfig(
      lr_schedule=config.lr_schedule,
      lr_schedule_kwargs=config.lr_schedule_kwargs,
    )
  )
  got = [float(schedule(step)) for step in (5, 10, 30)]
  assert got == pytest.approx([0.5, 1.0, 0.1])


def test_pose_transforms_of_camp_zipnerf_are_known():
  table = externals.table()
  for name in ('transform_poses_pca', 'transform_poses_focus'):
    assert table[f'camera_utils.{name}'] is getattr(poses, name)
