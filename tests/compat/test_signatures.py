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
from multinerf.compat.camp_zipnerf import utils as camp_utils
from multinerf.compat.multinerf import utils

SHARED = pathlib.Path(__file__).resolve().parents[3] / 'shared'
NAMESPACES = {
  'multinerf': signatures.MULTINERF,
  'camp_zipnerf': signatures.CAMP_ZIPNERF,
}
ALL = [
  (f'{namespace}.{module}', text)
  for namespace, modules in NAMESPACES.items()
  for module, texts in modules.items()
  for text in texts
]


def expected(text):
  """The signature that a piece of text describes."""
  name, arguments = text.split('(', 1)
  scope = {'jnp': jnp, 'np': np, 'onp': np, 'ProjectionType': ProjectionType}
  exec(f'def {name}({arguments}:\n  pass', scope)
  return name, inspect.signature(scope[name])


def same_default(a, b):
  if inspect.isfunction(b):  # a lambda: of one number
    return a(3.5) == b(3.5)
  if isinstance(a, float | int | np.number) and not isinstance(a, bool):
    return a == pytest.approx(b, rel=1e-6, abs=0)
  return a is b or a == b


@pytest.mark.parametrize(('module', 'text'), ALL)
def test_function_has_the_signature_of_upstream(module, text):
  name, want = expected(text)
  found = importlib.import_module(f'multinerf.compat.{module}')
  got = inspect.signature(getattr(found, name))
  assert list(got.parameters) == list(want.parameters)
  for parameter, model in zip(
    got.parameters.values(), want.parameters.values(), strict=True
  ):
    assert parameter.kind == model.kind, parameter
    assert same_default(parameter.default, model.default), parameter


@pytest.mark.parametrize(
  ('namespace', 'num_modules'), [('multinerf', 11), ('camp_zipnerf', 18)]
)
def test_the_list_is_that_of_the_specification(namespace, num_modules):
  path = SHARED / 'spec' / 'compat_api.md'
  if not path.exists():
    pytest.skip(f'{path} is only on the project machines')
  section = path.read_text().split(f'## {namespace} ')[1].split('\n## ')[0]
  listed = {}
  for line in section.splitlines():
    if match := re.match(r'\*\*(\w+)\*\*: (.*)', line):
      listed[match[1]] = re.findall(r'`([^`]+)`', match[2])
  assert len(listed) == num_modules
  unspecified = signatures.UNSPECIFIED if namespace == 'multinerf' else ()
  ours = NAMESPACES[namespace]
  assert {k: v for k, v in ours.items() if k not in unspecified} == listed


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
    (
      camp_utils.Rays,
      types.Rays,
      'origins directions viewdirs radii imageplane pixels lossmult near far '
      'cam_idx exposure_idx exposure_values device_idx',
    ),
    (camp_utils.Batch, types.Batch, 'rays rgb disps normals alphas masks'),
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
  assert set(parameters) == {f.name for f in dataclasses.fields(ours)}
  built = ours(*range(len(positional)))
  assert isinstance(built, base)
  assert [getattr(built, name) for name in positional] == [
    *range(len(positional))
  ]
  name = positional[1]
  assert getattr(built.replace(**{name: 7}), name) == 7
