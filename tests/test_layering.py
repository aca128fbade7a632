"""The house rules that a machine can check, read off the syntax trees.

docs/architecture.md explains the layers; CONTRIBUTING.md the other rules. The
second half plants one violation of each rule, so that the checker cannot rot.
"""

import ast
import collections
import pathlib
import re

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 70

LAYERS = {
  'types': 0,
  'errors': 0,
  'npy': 0,
  'registry': 0,
  'ops': 1,
  'parallel': 1,
  'cameras': 2,
  'models': 3,
  'losses': 3,
  'data': 3,
  'training': 4,
  'evaluation': 4,
  'config': 5,
  'capture': 4,
  'app': 6,
  'compat': 6,
}
SCRIPTS_LAYER = 7  # train.py, eval.py, render.py, scripts/, benchmarks/

DEVICE_CALLS = (
  r'jax\.(pmap|shard_map|distributed|sharding|process_\w+|host_\w+'
  r'|default_backend|devices|local_devices|device_count|local_device_count'
  r'|device_put_replicated|device_put_sharded'
  r'|experimental\.(multihost_utils|shard_map|mesh_utils)'
  r'|lax\.(psum\w*|pmean|pmax|pmin|ppermute|pshuffle|pswapaxes|axis_index'
  r'|axis_size|all_gather|all_to_all))|flax\.jax_utils'
)
# Methods and properties of arrays and devices, whatever the variable is called.
DEVICE_ATTRIBUTES = (
  'addressable_data',
  'addressable_shards',
  'memory_stats',
)
# (full dotted name, where it may be used, why nowhere else).
NAME_RULES = tuple(
  (re.compile(rf'({name})(\.|$)'), re.compile(where), why)
  for name, where, why in [
    ('gin', r'multinerf/config/', 'gin is for config/ only'),
    (r'flax\.linen', r'multinerf/models/', 'linen is for models/ only'),
    (
      r'tensorboardX|tensorboard|flax\.metrics',
      r'multinerf/training/writer\.py',
      'TensorBoard is for training/writer.py only',
    ),
    (DEVICE_CALLS, r'multinerf/parallel/', 'belongs to parallel/'),
    (
      r'os\.sched_[gs]etaffinity',
      r'multinerf/parallel/cores\.py',
      'not there on macOS; use parallel.available_cores and on_cores',
    ),
    (
      r'numpy\.random\.(?!(Generator|BitGenerator|Philox|PCG64'
      r'|SeedSequence|default_rng)(\.|$))\w+|random\.\w+',
      r'$^',
      'hidden random state; use np.random.default_rng',
    ),
    (
      r'builtins\.print',
      r'multinerf/training/console\.py|multinerf/app/',
      'print is for training/console.py and app/ only',
    ),
    (
      r'tensorflow|torch|cv2|shared|internal|camp_zipnerf',
      r'$^',
      'not a dependency of this package',
    ),
  ]
)


class Module:
  """One source file of the tree under check."""

  def __init__(self, root: pathlib.Path, path: pathlib.Path):
    self.path = path.relative_to(root).as_posix()
    self.source = path.read_text(encoding='utf-8')
    self.tree = ast.parse(self.source)
    parts = path.relative_to(root).with_suffix('').parts
    self.is_package = parts[-1] == '__init__'
    self.name = '.'.join(parts[:-1] if self.is_package else parts)
    self.in_package = parts[0] == 'multinerf'

  @property
  def unit(self) -> str:
    """First name below multinerf: 'ops' for multinerf.ops.coord."""
    return (self.name.split('.') + [''])[1]

  @property
  def layer(self) -> int | None:
    """Layer number; None for a package nobody gave a layer."""
    return LAYERS.get(self.unit) if self.in_package else SCRIPTS_LAYER

  def absolute(self, node: ast.ImportFrom) -> str:
    """The module a `from` import names, relative ones resolved."""
    if not node.level:
      return node.module or ''
    parts = self.name.split('.') + (['__init__'] if self.is_package else [])
    return '.'.join(parts[: -node.level] + [node.module or '']).rstrip('.')

  def imports(self, known: set[str]) -> list[tuple[str, int]]:
    """(module of ours, line) for every import, at any depth."""
    found = []
    for node in ast.walk(self.tree):
      if isinstance(node, ast.Import):
        found += [(a.name, node.lineno) for a in node.names]
      elif isinstance(node, ast.ImportFrom):
        base = self.absolute(node)
        for alias in node.names:
          full = f'{base}.{alias.name}'
          found.append((full if full in known else base, node.lineno))
    return [(n, i) for n, i in found if n.split('.')[0] == 'multinerf']

  def used_names(self) -> list[tuple[str, int]]:
    """(full dotted name, line) of everything imported, and of its attributes.

    Import aliases are undone: after `import numpy as np`, `np.random.seed`
    counts as `numpy.random.seed`.
    """
    aliases, used = {'print': 'builtins.print'}, []
    for node in ast.walk(self.tree):
      if isinstance(node, ast.Import):
        for a in node.names:
          aliases[a.asname or a.name.split('.')[0]] = (
            a.name if a.asname else a.name.split('.')[0]
          )
          used.append((a.name, node.lineno))
      elif isinstance(node, ast.ImportFrom):
        for a in node.names:
          full = f'{self.absolute(node)}.{a.name}'
          aliases[a.asname or a.name] = full
          used.append((full, node.lineno))
    for node in ast.walk(self.tree):
      if isinstance(node, ast.Attribute | ast.Name):
        names = _chain(node)
        if names and names[0] in aliases:
          used.append(('.'.join([aliases[names[0]], *names[1:]]), node.lineno))
    return used


def _chain(node: ast.AST) -> list[str]:
  """['a', 'b', 'c'] for the expression a.b.c; [] for anything else."""
  names = []
  while isinstance(node, ast.Attribute):
    names.append(node.attr)
    node = node.value
  return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def find_modules(root: pathlib.Path) -> list[Module]:
  """All sources the rules hold for: the package and the scripts."""
  folders = ['multinerf', 'benchmarks', 'scripts']
  paths = [p for name in folders for p in (root / name).rglob('*.py')]
  paths += [p for p in root.glob('*.py') if p.name != 'setup.py']
  return [Module(root, p) for p in sorted(paths)]


def check_layers(modules: list[Module]) -> list[str]:
  """Imports that go up, sideways, or through the public facade."""
  known = {m.name: m for m in modules}
  bad = []
  for m in modules:
    facade = m.name == 'multinerf'
    if m.layer is None and not facade:
      bad.append(f'{m.path}: no layer for {m.unit!r}; add it to LAYERS')
      continue
    for target, line in m.imports(set(known)):
      where = f'{m.path}:{line}: imports {target}'
      if target not in known:
        bad.append(f'{where}, which does not exist')
      elif target == 'multinerf' and m.in_package and not facade:
        bad.append(f'{where}; only users import the public facade')
      elif facade or known[target].layer is None or m.layer == SCRIPTS_LAYER:
        continue
      elif known[target].layer > m.layer:
        bad.append(f'{where}, a higher layer')
      elif known[target].layer == m.layer and not (
        known[target].unit == m.unit or m.layer == 0
      ):
        bad.append(f'{where}, a sibling of the same layer')
  return bad


def check_cycles(modules: list[Module]) -> list[str]:
  """Import cycles, each named once; and imports hidden inside functions."""
  known = {m.name for m in modules}
  graph = {m.name: sorted({t for t, _ in m.imports(known)}) for m in modules}
  bad, state = [], collections.defaultdict(int)  # 0 new, 1 open, 2 done

  def visit(name: str, trail: list[str]):
    if state[name] == 1:
      loop = trail[trail.index(name) :] + [name]
      bad.append('import cycle: ' + ' -> '.join(loop))
    elif not state[name]:
      state[name] = 1
      for target in graph.get(name, ()):
        visit(target, [*trail, name])
      state[name] = 2

  for m in modules:
    visit(m.name, [])
    for function in ast.walk(m.tree):
      if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        for node in ast.walk(function):
          names = []
          if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
          elif isinstance(node, ast.ImportFrom):
            names = [m.absolute(node)]
          if any(n.split('.')[0] == 'multinerf' for n in names):
            bad.append(f'{m.path}:{node.lineno}: import inside a function')
  return bad


def check_names(modules: list[Module]) -> list[str]:
  """Names used outside the one place they are allowed in."""
  bad = []
  for m in modules:
    if not m.in_package:
      continue
    for name, line in m.used_names():
      for pattern, where, why in NAME_RULES:
        if pattern.match(name) and not where.match(m.path):
          bad.append(f'{m.path}:{line}: {name}: {why}')
    for node in ast.walk(m.tree):
      if (
        isinstance(node, ast.Attribute)
        and node.attr in DEVICE_ATTRIBUTES
        and m.unit != 'parallel'
      ):
        where = f'{m.path}:{node.lineno}'
        bad.append(f'{where}: .{node.attr}: belongs to parallel/')
    for i, text in enumerate(m.source.splitlines(), 1):
      if re.search(r'\.\./shared|\bshared/(spec|golden|data|design)', text):
        bad.append(f'{m.path}:{i}: names the workshop folder shared/')
  return bad


def check_size_and_docstrings(modules: list[Module]) -> list[str]:
  """Long files, long functions, public definitions without a docstring."""
  bad = []
  for m in modules:
    lines = len(m.source.splitlines())
    if lines > MAX_FILE_LINES:
      bad.append(f'{m.path}: {lines} lines, more than {MAX_FILE_LINES}')
    if m.tree.body and not ast.get_docstring(m.tree):
      bad.append(f'{m.path}: no module docstring')
    for node in ast.walk(m.tree):
      if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        length = node.end_lineno - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
          bad.append(
            f'{m.path}:{node.lineno}: {node.name} has {length} lines, more'
            f' than {MAX_FUNCTION_LINES}'
          )
    for node in _public_definitions(m.tree):
      if not ast.get_docstring(node):
        bad.append(f'{m.path}:{node.lineno}: {node.name} has no docstring')
  return bad


def _public_definitions(tree: ast.Module) -> list[ast.AST]:
  """Public functions and classes, and the public methods of the latter."""
  kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
  found = []
  for node in tree.body:
    if isinstance(node, kinds) and not node.name.startswith('_'):
      found.append(node)
      if isinstance(node, ast.ClassDef):
        found += [n for n in node.body if isinstance(n, kinds)]
  # linen's `setup` is a hook with one meaning, like a dunder method.
  return [n for n in found if n.name[0] != '_' and n.name != 'setup']


CHECKS = [check_layers, check_cycles, check_names, check_size_and_docstrings]


@pytest.mark.parametrize('check', CHECKS, ids=lambda c: c.__name__)
def test_the_package_keeps_the_house_rules(check):
  modules = find_modules(CHECKOUT)
  assert {m.unit for m in modules} >= set(LAYERS), 'a layer has no code'
  bad = check(modules)
  assert not bad, '\n'.join(bad)


PLANTED = [
  # path, source, what the report says
  ('app/a.py', 'import os; os.sched_getaffinity(0)', 'not there on macOS'),
  ('ops/a.py', 'from multinerf.cameras import pose', 'a higher layer'),
  ('ops/a.py', 'import multinerf.cameras.pose as p', 'a higher layer'),
  ('losses/a.py', 'from multinerf.models import net', 'a sibling'),
  ('losses/a.py', 'from ..models import net', 'a sibling'),
  ('ops/a.py', 'from multinerf import parallel', 'a sibling'),
  ('ops/a.py', 'from multinerf import Trainer', 'public facade'),
  ('ops/a.py', 'from multinerf.nowhere import x', 'does not exist'),
  ('viewer/a.py', '', "no layer for 'viewer'"),
  ('ops/coord.py', 'from multinerf.ops import stepfun', 'import cycle: '),
  ('app/a.py', 'def _f():\n  import multinerf.types', 'inside a function'),
  ('app/a.py', 'def _f():\n  from .. import types', 'inside a function'),
  ('models/a.py', 'import gin', 'gin is for'),
  ('losses/a.py', 'from flax import linen as nn', 'linen is for'),
  ('losses/a.py', 'import flax\nx = flax.linen.Dense', 'linen is for'),
  ('evaluation/a.py', 'import tensorboardX', 'TensorBoard is for'),
  ('training/a.py', 'import jax\nf = jax.pmap(abs)', 'jax.pmap: belongs'),
  ('training/a.py', 'from jax import lax\nx = lax.psum', 'jax.lax.psum: b'),
  ('app/a.py', 'from jax.lax import pmean as m', 'jax.lax.pmean: belongs'),
  ('app/a.py', 'import jax as j\nn = j.devices()', 'jax.devices: belongs'),
  ('data/a.py', 'import jax\ni = jax.process_index()', 'process_index: b'),
  ('data/a.py', 'import jax\ni = jax.local_device_count()', 'device_count'),
  ('app/a.py', 'import jax\nb = jax.default_backend()', 'default_backend: b'),
  ('app/a.py', 'def _f(x):\n  return x.memory_stats()', '.memory_stats: be'),
  ('app/a.py', 'def _f(x):\n  return x[0].addressable_shards', 'shards: be'),
  ('data/a.py', 'import numpy as np\nnp.random.seed(0)', 'random state'),
  ('data/a.py', 'from numpy import random as r\nr.rand()', 'random state'),
  ('data/a.py', 'import random\nrandom.random()', 'random state'),
  ('data/a.py', 'print(1)', 'print is for'),
  ('data/a.py', 'say = print', 'print is for'),
  ('data/a.py', 'from shared import golden', 'not a dependency'),
  ('data/a.py', "P = '../shared/data'", 'workshop folder'),
  ('data/a.py', 'def f():\n  return 1', 'f has no docstring'),
  ('data/a.py', 'class C:\n  """C."""\n  def f(self): ...', 'f has no doc'),
  ('data/a.py', 'x = 1', 'no module docstring'),
  ('data/a.py', '"""D."""\n' * 401, '401 lines'),
  ('data/a.py', 'def _f():\n' + '  x = 1\n' * 70, '_f has 71 lines'),
]


def plant(root: pathlib.Path, path: str, source: str) -> list[Module]:
  """A small clean package in `root` with one more file in it."""
  files = {
    '__init__.py': '"""Facade."""\nfrom multinerf.app import api as Trainer',
    'types.py': '"""T."""\nfrom multinerf import errors as _',
    'errors.py': '',
    'parallel/devices.py': '"""P."""\nimport jax\nN = jax.device_count',
    'ops/stepfun.py': '"""S."""\nfrom multinerf.ops import coord as _',
    'ops/coord.py': '"""C."""\nimport numpy as np\nG = np.random.default_rng',
    'cameras/pose.py': '"""P."""\nfrom multinerf.ops import stepfun as _',
    'models/net.py': '"""N."""\nimport flax.linen as nn\nM = nn.Module',
    'losses/base.py': '',
    'data/base.py': '',
    'training/writer.py': '"""W."""\nimport tensorboardX as _',
    'training/console.py': '"""C."""\nprint(1)',
    'evaluation/base.py': '',
    'config/base.py': '"""C."""\nimport gin as _',
    'app/api.py': '"""A."""\nfrom multinerf.training import writer as _',
  }
  for name, text in {**files, path: source}.items():
    file = root / 'multinerf' / name
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / '__init__.py').touch()
    file.write_text(text, encoding='utf-8')
  return find_modules(root)


def test_the_architecture_page_has_every_package_in_its_table():
  page = (CHECKOUT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
  named = re.findall(r'^\| `(\w+)` \|', page, re.MULTILINE)
  assert sorted(named) == sorted(LAYERS)
  # And in the picture.
  (picture,) = re.findall(r'```\n(L7 .*?)```', page, re.DOTALL)
  assert set(LAYERS) <= set(re.findall(r'\w+', picture))


def test_checks_accept_a_clean_package(tmp_path):
  modules = plant(tmp_path, 'ops/a.py', '"""A."""\nimport numpy as _')
  assert [line for check in CHECKS for line in check(modules)] == []


@pytest.mark.parametrize(('path', 'source', 'message'), PLANTED)
def test_checks_catch_a_planted_violation(tmp_path, path, source, message):
  modules = plant(tmp_path, path, source)
  found = [line for check in CHECKS for line in check(modules)]
  assert any(message in line for line in found), found


def test_long_file_of_one_docstring_is_measured_in_lines_not_statements(
  tmp_path,
):
  at_limit = plant(tmp_path, 'data/a.py', '"""A."""\n' + '#\n' * 399)
  assert check_size_and_docstrings(at_limit) == []
