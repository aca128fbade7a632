"""Named plug-ins: found by name, or an error that helps."""

import pytest

from multinerf import errors, registry


@pytest.fixture
def losses():
  table = registry.Registry('data loss', 'Config.data_loss_type')
  table.register('mse')(min)
  table.register('charb')(max)
  return table


def test_get_returns_the_registered_object_itself(losses):
  assert losses.get('mse') is min
  assert losses.get('charb') is max


def test_names_are_sorted_whatever_the_order_of_registration(losses):
  assert losses.names() == ('charb', 'mse')


def test_register_returns_its_argument_so_that_it_decorates(losses):
  def entry():
    return 3

  assert losses.register('new')(entry) is entry


def test_unknown_name_lists_choices_gin_key_and_nearest(losses):
  with pytest.raises(errors.ConfigError) as e:
    losses.get('Carb')
  text = str(e.value)
  assert "Unknown data loss 'Carb'" in text
  assert 'charb, mse' in text
  assert 'Config.data_loss_type' in text
  assert text.endswith("Did you mean 'charb'?")


def test_second_object_under_a_name_is_an_error(losses):
  with pytest.raises(errors.ConfigError, match="'mse' is already registered"):
    losses.register('mse')(max)
  assert losses.get('mse') is min


def test_registering_the_same_object_again_is_harmless(losses):
  losses.register('mse')(min)  # a module imported by gin a second time
  assert losses.names() == ('charb', 'mse')


def test_registries_do_not_share_entries(losses):
  assert registry.Registry('other', 'Config.other').names() == ()


@pytest.mark.parametrize(
  'name, want',
  [
    ('batchsize', " Did you mean 'batch_size'?"),
    ('BATCH_SIZE', " Did you mean 'batch_size'?"),
    ('zzz', ''),
  ],
)
def test_suggest_ignores_case_and_is_silent_about_strangers(name, want):
  assert registry.suggest(name, ['batch_size', 'factor']) == want
