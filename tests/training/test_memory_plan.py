"""Programs are chosen to fit, in few compilations, and no smaller than need."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import pytest

from multinerf import errors
from multinerf.models import ChunkConfig, chunks
from multinerf.training import memory_plan

DEFAULT = ChunkConfig()
RAYS = 16384
ARGUMENTS, KEPT, EACH = (
  100,
  0.02,
  4.0,
)  # bytes: of all, per ray, per chunk's ray


@pytest.fixture(autouse=True)
def no_libraries(monkeypatch):
  """The programs below are of a few bytes."""
  monkeypatch.setattr(memory_plan, '_LIBRARIES', 0)


def analysed(arguments, results, temporaries):
  """A compiled program, as far as its analysis goes."""
  return types.SimpleNamespace(
    memory_analysis=lambda: types.SimpleNamespace(
      argument_size_in_bytes=arguments,
      output_size_in_bytes=arguments + results,
      alias_size_in_bytes=arguments,
      temp_size_in_bytes=temporaries,
    )
  )


class Compiler:
  """Compiles steps whose temporaries are those of the chunk, or of all rays."""

  def __init__(self, fails_beyond=None):
    self.tried = []
    self._fails_beyond = fails_beyond

  def __call__(self, cfg):
    self.tried.append(cfg)
    # Recomputing takes somewhat more than keeping.
    counted = 1.2 * (cfg.rays_at_once or RAYS) if cfg.remat else RAYS
    temporaries = int(KEPT * RAYS + EACH * counted)
    if self._fails_beyond and temporaries > self._fails_beyond:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: too much.')
    return analysed(ARGUMENTS, 5, temporaries)


def fit(limit, cfg=DEFAULT, compiler=None):
  compiler = compiler or Compiler()
  found = memory_plan.fit_step(compiler, cfg, RAYS, limit)
  return found, compiler.tried


def test_what_fits_is_left_as_it_was_configured():
  for cfg in (ChunkConfig(), ChunkConfig(7), ChunkConfig(9, remat=True)):
    found, tried = fit(10**6, cfg)
    assert found.choice == cfg and tried == [cfg]
    assert found.refused is None
  assert found.footprint.total == ARGUMENTS + 5 + int(KEPT * RAYS + 1.2 * 36)


@pytest.mark.parametrize('limit', [600, 1000, 3000, 10_000, 50_000])
@pytest.mark.parametrize(
  'cfg', [ChunkConfig(), ChunkConfig(4096), ChunkConfig(8192, remat=True)]
)
def test_a_chunk_is_chosen_that_fits_and_is_not_far_too_small(cfg, limit):
  found, tried = fit(limit, cfg)
  assert len(tried) <= 3 and tried[0] == cfg
  assert found.footprint.total <= limit
  if found.choice == cfg:
    return
  size = found.choice.rays_at_once
  assert found.choice.remat and size & (size - 1) == 0
  most = chunks.rays_at_once(RAYS, cfg.rays_at_once)
  assert size <= most
  assert found.refused > limit
  largest = (limit - ARGUMENTS - 5 - KEPT * RAYS) / (1.2 * EACH)
  assert size >= min(largest, most) / 8


def test_where_the_compiler_itself_runs_out_of_memory_chunks_are_tried():
  found, tried = fit(60_000, compiler=Compiler(fails_beyond=20_000))
  assert len(tried) == 2 and found.footprint.total < 20_000
  assert found.refused == 0


def test_what_never_fits_is_an_error_that_names_the_options():
  with pytest.raises(
    errors.OutOfMemoryError,
    match='Config.batch_size.*Config.memory_budget_gib',
  ):
    fit(ARGUMENTS + 50)


def test_other_errors_of_the_compiler_are_not_taken_for_memory():
  def broken(_):
    raise jax.errors.JaxRuntimeError('INTERNAL: broken')

  with pytest.raises(jax.errors.JaxRuntimeError, match='broken'):
    fit(10**6, compiler=broken)


@pytest.mark.parametrize('limit, want', [(10**6, 1000), (1500, 256), (300, 32)])
def test_a_render_chunk_is_shared_by_the_devices(limit, want):
  tried = []

  def compile_chunk(size):
    tried.append(size)
    return analysed(ARGUMENTS, 0, 10 * size // 4)

  found = memory_plan.fit_chunk(compile_chunk, 1000, 4, limit)
  assert found.choice == want and found.choice % 4 == 0
  assert found.footprint.total <= limit and len(tried) <= 2
  with pytest.raises(errors.OutOfMemoryError, match='render_chunk_size'):
    memory_plan.fit_chunk(compile_chunk, 1000, 4, ARGUMENTS)


def test_the_budget_is_what_is_wanted_or_nine_tenths_of_what_is_free():
  assert memory_plan.budget(2.0, 5, 7, 4) == 2 * 2**30
  assert memory_plan.budget(None, 1000, 7, 4) == 900
  assert memory_plan.budget(None, None, 4000, 4) == 900


def test_the_compiler_says_what_a_parallel_program_takes_on_each_device():
  x = jnp.ones((2, 64, 256))

  def fn(x):
    wide = jnp.sin(x @ jnp.ones((256, 4096)))
    return x + wide @ jnp.ones((4096, 256))

  program = jax.pmap(fn, donate_argnums=0).lower(x).compile()
  found = memory_plan.footprint(program)
  assert found.arguments == 64 * 256 * 4 and found.results == 0
  assert found.temporaries >= 64 * 4096 * 4


def test_exhausted_memory_is_one_line_with_advice():
  with pytest.raises(errors.OutOfMemoryError) as caught:
    with memory_plan.explained(lambda: 'Lower Config.x.'):
      # 2^50 bytes: more than any machine maps.
      jax.block_until_ready(jnp.zeros((2**25, 2**25), jnp.int8))
  text = str(caught.value)
  assert 'RESOURCE_EXHAUSTED' in text and text.endswith('. Lower Config.x.')
  assert '\n' not in text
  with pytest.raises(ValueError, match='else'):
    with memory_plan.explained(lambda: ''):
      raise ValueError('something else')


def test_choices_are_powers_of_two():
  values = [memory_plan.power_of_two(x) for x in (-3, 0.9, 1, 7.9, 8, 1000)]
  assert values == [0, 0, 1, 4, 8, 512]
  assert dataclasses.asdict(ChunkConfig()) == dict(
    rays_at_once=None, remat=False
  )
