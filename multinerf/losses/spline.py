"""Zip-NeRF's anti-aliased interlevel loss (arXiv:2304.06706, section 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from multinerf import errors, registry, types
from multinerf.losses import base
from multinerf.ops import numerics, resampling

EPS = float(jnp.finfo(jnp.float32).eps)
_OPTION = 'Config.spline_interlevel_params'
_NAMES = ('mults', 'blurs')


@base.register_regularizer(
  'spline_interlevel', lambda cfg: cfg.spline_interlevel_params is not None
)
@base.per_ray
def spline_interlevel(
  inputs: base.LossInputs, cfg: base.LossConfig
) -> Float[Array, '']:
  """Proposals must cover the last level's weights, blurred.

  For each proposal level (s', w'): the last level's density along s, convolved
  with a box of half width `blurs`, has weights v in the intervals of s';
  `mults` times the mean of max(0, v - w')^2 / (w' + eps). Unlike `interlevel`
  it is smooth in where the samples lie. Gradients reach the proposals only.

  Raises:
    ConfigError: `spline_interlevel_params` does not fit the model's levels.
  """
  *proposals, last = inputs.levels
  params = cfg.spline_interlevel_params or {}
  mults, blurs = parse_params(params, len(proposals))
  total = jnp.zeros(())
  for level, mult, blur in zip(proposals, mults, blurs, strict=True):
    if mult > 0:
      total += mult * jnp.mean(excess(last, level, blur))
  return total


def excess(
  last: types.Level,
  proposal: types.Level,
  blur: float | None,
  eps: float = EPS,
) -> Float[Array, '... n']:
  """max(0, v - w')^2 / (w' + eps) in each interval of a proposal level.

  Args:
    last: The level to cover; gets no gradient.
    proposal: Gets the gradient; its w' are what is penalised.
    blur: Half width of the box in normalised distance, >= 0; None: per interval
      of `last` the geometric mean of the widths of the proposal's there.
    eps: What a proposal without weight divides by.
  """
  s, w = jax.lax.stop_gradient((last.sdist, last.weights))
  halfwidth = mean_width(s, proposal.sdist) if blur is None else blur
  target = resampling.blur_and_resample_weights(proposal.sdist, s, w, halfwidth)
  missing = jnp.maximum(0, target - proposal.weights)
  return missing**2 / (proposal.weights + eps)


def mean_width(
  s: Float[Array, '*batch edges'], s_prop: Float[Array, '*batch knots']
) -> Float[Array, '*batch n']:
  """How wide the intervals of s_prop are where those of s lie; no gradient.

  Args:
    s: Endpoints of the intervals to average over.
    s_prop: Endpoints of the intervals to measure; the outermost count as
      reaching as far as s does.

  Returns:
    exp of the mean of log(width), by overlap; 1 for empty intervals of s.
  """
  s, s_prop = jax.lax.stop_gradient((s, s_prop))
  log_width = jnp.log(jnp.maximum(jnp.diff(s_prop), numerics.TINY))
  first = jnp.minimum(s_prop[..., :1], s[..., :1])
  end = jnp.maximum(s_prop[..., -1:], s[..., -1:])
  reaching = jnp.concatenate([first, s_prop[..., 1:-1], end], axis=-1)
  return jnp.exp(
    resampling.resample(s, reaching, log_width, use_avg=True, eps=numerics.TINY)
  )


def parse_params(
  params: Mapping[str, Any], num_proposals: int
) -> tuple[list[float], list[float | None]]:
  """Returns the mults and blurs of `num_proposals` levels, coarsest first.

  Args:
    params: 'mults' and, if blurs are not None, 'blurs': a value, or a sequence
      of one for each proposal level.
    num_proposals: How many levels come before the last.

  Raises:
    ConfigError: An unknown or missing name, another length, a negative number.
  """
  for name in params:
    if name not in _NAMES:
      raise errors.ConfigError(
        f'{_OPTION} has no entry {name!r}; known: {", ".join(_NAMES)}.'
        f'{registry.suggest(name, _NAMES)}'
      )
  if params.get('mults') is None:
    raise errors.ConfigError(
      f"{_OPTION} needs 'mults', e.g. {{'mults': 0.01, 'blurs': 0.03}}; got "
      f'{dict(params)}.'
    )
  mults, blurs = (
    _per_level(name, params.get(name), num_proposals) for name in _NAMES
  )
  if None in mults:
    raise errors.ConfigError(f"{_OPTION}['mults'] cannot have None; use 0.")
  return mults, blurs


def _per_level(name, value, num_proposals):
  """One value for each proposal level."""
  is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
  values = list(value) if is_sequence else [value] * num_proposals
  if len(values) != num_proposals:
    raise errors.ConfigError(
      f'{_OPTION}[{name!r}] = {value!r} has {len(values)} entries, but the '
      f'model has {num_proposals} proposal levels (all but the last).'
    )
  for v in values:
    if v is not None and not (isinstance(v, int | float) and v >= 0):
      raise errors.ConfigError(
        f'{_OPTION}[{name!r}] must be numbers >= 0; got {value!r}.'
      )
  return values
