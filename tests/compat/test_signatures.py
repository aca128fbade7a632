"""The names, parameters and defaults that research code relies on."""

import dataclasses
import importlib
import inspect
import pathlib
import re

import compat_signatures as signatures
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import types
from multinerf.cameras.camera import ProjectionType
from multinerf.compat.multinerf import utils

SHARED = pathlib.Path(__file__).resolve().parents[3] / 'shared'
ALL = [
  (module, text)
  for module, texts in signatures.MULTINERF.items()
  for text in texts
]


def expected(text):
  """The signature that a piece of text describes."""
  name, arguments = text.split('(', 1)
  scope = {'jnp': jnp, 'np': np, 'ProjectionType': ProjectionType}
  exec(f'def {name}({arguments}:\n  pass', scope)
  return name, inspect.signature(scope[name])


def same_default(a, b):
  if isinstance(a, float | int | np.number) and not isinstance(a, bool):
    return a == pytest.approx(b, rel=1e-6, abs=0)
  return a is b or a == b


@pytest.mark.parametrize(('module', 'text'), ALL)
def test_function_has_the_signature_of_upstream(module, text):
  name, want = expected(text)
  found = importlib.import_module(f'multinerf.compat.multinerf.{module}')
  got = inspect.signature(getattr(found, name))
  assert list(got.parameters) == list(want.parameters)
  for parameter, model in zip(
    got.parameters.values(), want.parameters.values(), strict=True
  ):
    assert parameter.kind == model.kind, parameter
    assert same_default(parameter.default, model.default), parameter


def test_the_list_is_that_of_the_specification():
  path = SHARED / 'spec' / 'compat_api.md'
  if not path.exists():
    pytest.skip(f'{path} is only on the project machines')
  section = path.read_text().split('## multinerf ')[1].split('\n## ')[0]
  listed = {}
  for line in section.splitlines():
    if match := re.match(r'\*\*(\w+)\*\*: (.*)', line):
      listed[match[1]] = re.findall(r'`([^`]+)`', match[2])
  assert len(listed) == 11
  ours = dict(signatures.MULTINERF)
  for name in signatures.UNSPECIFIED:
    del ours[name]
  assert ours == listed


@pytest.mark.parametrize(
  ('ours', 'base', 'order'),
  [
    (
      utils.Pixels,
      types.Pixels,
      'pix_x_int pix_y_int lossmult near far cam_idx exposure_idx '
      'exposure_values',
    ),
    (
      utils.Rays,
      types.Rays,
      'origins directions viewdirs radii imageplane lossmult near far cam_idx '
      'exposure_idx exposure_values',
    ),
    (utils.Batch, types.Batch, 'rays rgb disps normals alphas'),
  ],
)
def test_structures_are_ours_with_the_positional_order_of_upstream(
  ours, base, order
):
  parameters = inspect.signature(ours).parameters
  positional = [
    name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD
  ]
  assert positional == order.split()
  # A field that `types` gains must be taken by the constructor, which
  # `replace` and tree operations use.
  assert set(parameters) == {f.name for f in dataclasses.fields(base)}
  built = ours(*range(len(positional)))
  assert isinstance(built, base)
  assert [getattr(built, name) for name in positional] == [
    *range(len(positional))
  ]
  name = positional[1]
  assert getattr(built.replace(**{name: 7}), name) == 7
