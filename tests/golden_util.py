"""Comparison with the reference vectors, values and gradients.

The vectors are numbers computed by google-research/multinerf (commit 5b4d4f6)
and stored as `<function>/<case>/<key>` arrays; shared/golden/README.md lists
the keys. `check_case` replays one case:

  @pytest.mark.parametrize('case', ['c0', 'c1'])
  def test_weight_to_pdf_matches_the_reference(golden, case):
    golden_util.check_case(
        golden('stepfun'), 'weight_to_pdf', case, stepfun.weight_to_pdf)

It calls `fn(*args, **params)`: the stored inputs in their stored order, which
is the positional order of the upstream function, and the stored keyword
arguments (those that start with an underscore describe how the vectors were
made and are left out). Where our signature differs, wrap ours in a lambda, or
pass `args` (names, in order) or `params`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# How far the reference itself moves between versions of JAX, for most
# functions (shared/golden/README.md, last section).
RTOL = 1e-4
ATOL = 1e-5


def objective(out: Any) -> jax.Array:
  """The scalar whose gradients are stored: sum over floating output leaves.

  S = sum_leaf sum_i leaf.ravel()[i] cos(i), with i starting at 0 in every leaf
  and i in float32; integer leaves and None contribute nothing.
  """
  total = jnp.zeros((), jnp.float32)
  for leaf in jax.tree.leaves(out):
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
      weights = jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32))
      total = total + jnp.sum(leaf.ravel() * weights)
  return total


def case_params(data: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Keyword arguments of a case, without those about how it was recorded."""
  if 'params' not in data:
    return {}
  params = json.loads(str(data['params']))
  return {k: v for k, v in params.items() if not k.startswith('_')}


def case_args(data: Mapping[str, np.ndarray]) -> list[str]:
  """Names of the stored inputs, in positional order."""
  return [k[len('in_') :] for k in data if k.startswith('in_')]


def named_outputs(out: Any, prefix: str = 'out') -> dict[str, Any]:
  """Leaves of an output under the names the golden files use for them.

  A single array is `out`; items of a tuple or list are `out_0`, `out_1`, ...;
  values of a dict `out_<key>`; nested containers join these with `_`. None is
  left out.
  """
  if out is None:
    return {}
  if isinstance(out, Mapping):
    items = list(out.items())
  elif isinstance(out, tuple | list):
    items = list(enumerate(out))
  else:
    return {prefix: out}
  named = {}
  for key, value in items:
    named.update(named_outputs(value, f'{prefix}_{key}'))
  return named


def check_case(
  golden: Any,
  function: str,
  case: str,
  fn: Callable[..., Any],
  args: Sequence[str] | None = None,
  out_keys: Sequence[str] | None = None,
  rtol: float = RTOL,
  atol: float = ATOL,
  grads: bool = True,
  *,
  params: Mapping[str, Any] | None = None,
  grad_rtol: float | None = None,
  grad_atol: float | None = None,
  jit: bool = False,
) -> None:
  """Asserts that `fn` reproduces a case: outputs and stored gradients.

  Args:
    golden: A `Golden` file, what the fixture `golden('<file>')` returns.
    function: Name of the upstream function in the file.
    case: Name of the case.
    fn: Our function, called as `fn(*inputs, **params)`. Its output must hold
      every floating leaf of the upstream output in the same order, or the
      objective of the gradients is another one.
    args: Names of the inputs to pass, in order; None takes all as stored.
    out_keys: Stored outputs to compare, e.g. ('out_0',); None compares all of
      them and insists that none is missing.
    rtol, atol: Tolerances of the outputs. NaN equals NaN, inf equals inf.
    grads: Whether to compare the stored `grad_<argument>`s.
    params: Keyword arguments in place of the stored ones.
    grad_rtol, grad_atol: Tolerances of the gradients; None takes rtol, atol.
    jit: Whether to compile value and gradients as one function, for a `fn` in
      pure jnp: several times faster than operation by operation.

  Raises:
    AssertionError: Something differs, or the case holds nothing to compare.
  """
  data = golden.case(function, case)
  assert data, f'no case {function}/{case} in the golden file'
  names = list(case_args(data) if args is None else args)
  kwargs = dict(case_params(data) if params is None else params)
  inputs = [jnp.asarray(data[f'in_{name}']) for name in names]

  wrt = tuple(i for i, n in enumerate(names) if grads and f'grad_{n}' in data)

  def run(*arrays):
    out = fn(*arrays, **kwargs)
    return objective(out), out

  evaluate = jax.value_and_grad(run, argnums=wrt, has_aux=True) if wrt else run
  if jit:
    evaluate = jax.jit(evaluate)
  if wrt:
    (_, out), found = evaluate(*inputs)
  elif jit:
    (_, out), found = evaluate(*inputs), ()
  else:
    out, found = fn(*inputs, **kwargs), ()

  got = named_outputs(out)
  stored = [k for k in data if k == 'out' or k.startswith('out_')]
  compared = list(stored if out_keys is None else out_keys)
  assert compared, f'{function}/{case} stores no output'
  for key in compared:
    assert key in got, f'{function}/{case}: no output {key} in {sorted(got)}'
    np.testing.assert_allclose(
      got[key],
      data[key],
      rtol=rtol,
      atol=atol,
      err_msg=f'{function}/{case}/{key}',
    )

  for i, grad in zip(wrt, found, strict=True):
    np.testing.assert_allclose(
      grad,
      data[f'grad_{names[i]}'],
      rtol=rtol if grad_rtol is None else grad_rtol,
      atol=atol if grad_atol is None else grad_atol,
      err_msg=f'{function}/{case}/grad_{names[i]}',
    )
