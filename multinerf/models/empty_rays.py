"""Rendering without the last level where the ones before it see nothing.

Most rays of an image of an object hit nothing, and the proposals know: their
weights sum to nearly 0. Such rays get what the proposals say, the background;
the others are packed together, and the last level, which is most of the work,
is evaluated pack by pack until there are none left.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import types
from multinerf.models import model as model_lib

# The last pack is half empty on average, and every pack costs some overhead.
_PACKS = 16


class Proposals(model_lib.Model):
  """All levels of a model but the last."""

  def _plan(self):
    return super()._plan()[:-1]

  def _appearance(self, rays, zero_glo):
    return None  # of the last level


class LastLevel(model_lib.Model):
  """The last level of a model, resampled from the proposals of `start`.

  Attributes:
    start: (sdist, weights) of the level before it.
  """

  start: Any = None

  def _plan(self):
    return super()._plan()[-1:]

  def _first_interval(self, rays, train_frac):
    return self.start

  def _dilation(self, level_idx, prod_num_samples, train_frac):
    # As if the levels before had been there.
    before = self.num_levels - 1
    return super()._dilation(before, self.num_prop_samples**before, train_frac)


def num_levels(model: model_lib.Model) -> int:
  """How many sampling levels a model has."""
  if model.sampling_strategy is not None:
    return len(model.sampling_strategy)
  return model.num_levels


def render(
  model: model_lib.Model,
  params: types.Params,
  rays: types.Rays,
  *,
  below: float,
  train_frac: Float[Array, ''] | float = 1.0,
) -> types.Rendering:
  """Renders rays as the model does, leaving out its last level for empty ones.

  Args:
    model: A model of at least two levels.
    params: Its variables.
    rays: A flat list of n rays.
    below: A ray is empty if its opacity by the proposals is below this; their
      opacity is what the colour is wrong by at most, as far as the proposals
      are right. 0: none is.
    train_frac: Progress of training.

  Returns:
    Deterministic, with all extras and the zero appearance code. Extras that
    only the last level has are 0 for empty rays.
  """
  fields = {
    field.name: getattr(model, field.name)
    for field in dataclasses.fields(model_lib.Model)
    if field.name not in ('parent', 'name')
  }
  options = {
    'train_frac': train_frac,
    'compute_extras': True,
    'zero_glo': True,
  }
  coarse, levels = Proposals(**fields).apply(params, None, rays, **options)
  start = (levels[-1].sdist, levels[-1].weights)
  acc = coarse[-1].acc

  def last_level(rows):
    some, begin = jax.tree.map(lambda x: x[rows], (rays, start))
    last = LastLevel(**fields, start=begin)
    return last.apply(params, None, some, **options)[0][-1]

  n = acc.shape[0]
  pack = -(-n // _PACKS)
  live = acc >= below
  order = jnp.argsort(~live, stable=True)
  # Filled up with rays that do not exist: reading gives the last one, and what
  # is written to them is dropped.
  order = jnp.pad(order, (0, _PACKS * pack - n), constant_values=n)

  def fill(state):
    k, image = state
    rows = jax.lax.dynamic_slice_in_dim(order, k * pack, pack)
    found = last_level(jnp.minimum(rows, n - 1))
    write = lambda whole, part: whole.at[rows].set(part, mode='drop')
    return k + 1, jax.tree.map(write, image, found)

  shapes = jax.eval_shape(last_level, order[:pack])
  has_colour = levels[-1].field.rgb is not None
  image = _as_background(coarse[-1], shapes, n)
  if not has_colour:
    # A proposal's rendering has no colour, or that of black things.
    image = image.replace(rgb=jnp.full_like(image.rgb, model.background))
  count = jnp.sum(live)
  return jax.lax.while_loop(lambda s: s[0] * pack < count, fill, (0, image))[1]


def _as_background(coarse, shapes, n) -> types.Rendering:
  """What the proposals say, in the form of the last level's rendering."""

  def like(name):
    shape, value = getattr(shapes, name), getattr(coarse, name)
    if shape is None:
      return None
    if value is None:
      return jnp.zeros((n, *shape.shape[1:]), shape.dtype)
    return value.astype(shape.dtype)

  return types.Rendering(
    **{field.name: like(field.name) for field in dataclasses.fields(coarse)}
  )
