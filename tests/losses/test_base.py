"""Which terms the options switch on."""

import jax.numpy as jnp
import pytest

from multinerf import errors, losses
from multinerf.losses import base


@pytest.fixture
def own_table(monkeypatch):
  """Registrations inside a test do not outlive it."""
  monkeypatch.setattr(
    base.REGULARIZERS, '_entries', dict(base.REGULARIZERS._entries)
  )


def test_all_published_losses_are_registered():
  assert losses.DATA_LOSSES.names() == (
    'cauchy',
    'charb',
    'geman-mcclure',
    'mse',
    'rawnerf',
    'robustnerf',
  )
  assert losses.REGULARIZERS.names() == (
    'depth',
    'distortion',
    'eikonal',
    'interlevel',
    'normal',
    'orientation',
    'param_regularizers',
    'predicted_normals',
    'spline_interlevel',
    'weight',
  )


@pytest.mark.parametrize(
  'options, want',
  [
    ({}, {'interlevel', 'distortion'}),
    ({'interlevel_loss_mult': 0.0}, {'distortion'}),
    ({'distortion_loss_mult': 0.0}, {'interlevel'}),
    (
      {'spline_interlevel_params': {'mults': 1}},
      {'spline_interlevel', 'distortion'},
    ),
    (
      {'orientation_loss_mult': 0.1},
      {'interlevel', 'distortion', 'orientation'},
    ),
    (
      {'orientation_coarse_loss_mult': 0.1},
      {'interlevel', 'distortion', 'orientation'},
    ),
    (
      {'predicted_normal_coarse_loss_mult': 0.1},
      {'interlevel', 'distortion', 'predicted_normals'},
    ),
    ({'depth_loss_mult': 0.1}, {'interlevel', 'distortion', 'depth'}),
    ({'normal_loss_mult': 0.1}, {'interlevel', 'distortion', 'normal'}),
    (
      {'weight_decay_mults': {'NerfMLP_0': 0.1}},
      {'interlevel', 'distortion', 'weight'},
    ),
  ],
)
def test_a_term_is_active_exactly_when_its_weight_is_positive(options, want):
  cfg = losses.LossConfig(**options)
  assert set(losses.active_regularizers(cfg)) == want


def test_a_new_term_gets_inputs_and_options(own_table):
  seen = []

  @losses.register_regularizer('mine', lambda cfg: cfg.charb_padding > 0.5)
  def mine(inputs, cfg):
    seen.append((inputs, cfg))
    return jnp.asarray(2.0)

  off = losses.LossConfig(charb_padding=0.1)
  on = losses.LossConfig(charb_padding=0.9)
  assert 'mine' not in losses.active_regularizers(off)
  terms = losses.active_regularizers(on)
  assert terms['mine']('inputs') == 2.0
  assert seen == [('inputs', on)]


def test_each_active_term_calls_its_own_function(own_table):
  # A closure over the loop variable would make all terms the last one.
  for i in range(3):
    losses.register_regularizer(f'term{i}', lambda cfg: True)(
      lambda inputs, cfg, i=i: i
    )
  terms = losses.active_regularizers(losses.LossConfig())
  assert [terms[f'term{i}'](None) for i in range(3)] == [0, 1, 2]


def test_a_taken_name_is_refused(own_table):
  with pytest.raises(errors.ConfigError, match='already registered'):
    losses.register_regularizer('distortion', lambda cfg: True)(max)
