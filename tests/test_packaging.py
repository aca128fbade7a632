"""What gets installed: the wheel's contents, metadata and entry points."""

import email
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import setuptools

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = ['train.py', 'eval.py', 'render.py']


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
  """The wheel of this checkout, built without network or build isolation."""
  if tuple(map(int, setuptools.__version__.split('.')[:2])) < (70, 1):
    pytest.skip(
      f'setuptools {setuptools.__version__} cannot build a wheel by itself; '
      'install multinerf[test], which asks for 70.1'
    )
  # A copy, because building writes build/ and *.egg-info beside setup.py.
  source = tmp_path_factory.mktemp('source')
  for name in ['multinerf', 'gin_configs']:
    shutil.copytree(
      CHECKOUT / name,
      source / name,
      ignore=shutil.ignore_patterns('__pycache__'),
    )
  for name in ['setup.py', 'pyproject.toml', 'README.md', 'LICENSE']:
    shutil.copy(CHECKOUT / name, source)
  subprocess.run(
    [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-index']
    + ['--no-deps', '--no-build-isolation', '-w', source / 'out', source],
    check=True,
    cwd='/',
  )
  (path,) = (source / 'out').glob('*.whl')
  return zipfile.ZipFile(path)


@pytest.fixture(scope='module')
def metadata(wheel):
  """The wheel's METADATA, as a message with repeatable headers."""
  (name,) = [n for n in wheel.namelist() if n.endswith('.dist-info/METADATA')]
  return email.message_from_bytes(wheel.read(name))


def test_wheel_holds_every_module_and_every_gin_file(wheel):
  want = {
    p.relative_to(CHECKOUT).as_posix()
    for p in (CHECKOUT / 'multinerf').rglob('*.py')
  }
  presets = [p.name for p in (CHECKOUT / 'gin_configs').glob('*.gin')]
  assert presets
  want |= {f'multinerf/gin_configs/{name}' for name in presets}
  got = {n for n in wheel.namelist() if '.dist-info/' not in n}
  assert got == want


def test_requirements_have_lower_bounds_only_and_no_second_framework(metadata):
  requirements = metadata.get_all('Requires-Dist')
  core = [r for r in requirements if 'extra ==' not in r]
  for requirement in core:
    assert re.fullmatch(r'[A-Za-z-]+>=[\d.]+', requirement), requirement
  names = {re.split(r'[\[>;= ]', r)[0].lower() for r in requirements}
  assert names >= {'jax', 'flax', 'optax', 'gin-config', 'numpy', 'imageio'}
  banned = {'tensorflow', 'torch', 'opencv-python', 'opencv-python-headless'}
  assert not names & banned


def test_metadata_names_python_licence_and_extras(wheel, metadata):
  assert metadata['Requires-Python'] == '>=3.11'
  assert 'Apache-2.0' in (metadata['License'], metadata['License-Expression'])
  extras = set(metadata.get_all('Provides-Extra'))
  assert extras >= {'cuda12', 'cuda13', 'tpu', 'video', 'test'}
  assert any(n.endswith('LICENSE') for n in wheel.namelist())


def test_entry_points_name_functions_that_exist_in_the_wheel(wheel):
  (name,) = [n for n in wheel.namelist() if n.endswith('/entry_points.txt')]
  entries = dict(
    re.findall(r'^(\S+) = (\S+)$', wheel.read(name).decode(), re.MULTILINE)
  )
  programs = ('train', 'eval', 'render', 'check', 'table')
  assert set(entries) >= {f'multinerf-{x}' for x in programs}
  for target in entries.values():
    module, function = target.split(':')
    source = wheel.read(module.replace('.', '/') + '.py').decode()
    assert re.search(rf'^def {function}\(', source, re.MULTILINE), target


@pytest.mark.slow
@pytest.mark.parametrize('how', ['checkout', 'wheel'])
def test_a_preset_is_found_by_bare_name_from_any_directory(
  wheel, tmp_path, how
):
  if how == 'wheel':
    wheel.extractall(tmp_path / 'site')
    command = ['-m', 'multinerf.app.train']
    path, where = tmp_path / 'site', tmp_path / 'elsewhere'
  else:
    command = [CHECKOUT / 'train.py']
    path, where = '', tmp_path / 'elsewhere'
  where.mkdir()
  # An empty scene folder: the run must get past the gin file and stop at the
  # data, naming the folder.
  (tmp_path / 'scene').mkdir()
  run = subprocess.run(
    [sys.executable, *command, '--gin_configs=blender.gin']
    + [f"--gin_bindings=Config.data_dir = '{tmp_path}/scene'"]
    + [f"--gin_bindings=Config.checkpoint_dir = '{tmp_path}/run'"],
    cwd=where,
    env={'PYTHONPATH': str(path), 'JAX_PLATFORMS': 'cpu', 'HOME': str(where)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert run.returncode != 0
  assert 'transforms_train.json' in run.stderr, run.stderr
  assert 'Traceback' not in run.stderr, run.stderr


def test_scripts_are_thin():
  for name in SCRIPTS:
    assert len((CHECKOUT / name).read_text().splitlines()) <= 30, name


@pytest.mark.parametrize('name', ['quickstart.sh', 'test.sh'])
def test_shell_scripts_parse_and_stop_at_the_first_error(name):
  path = CHECKOUT / 'scripts' / name
  subprocess.run(['bash', '-n', path], check=True)
  assert 'set -euo pipefail' in path.read_text()


def test_ci_runs_the_documented_test_command_and_nothing_else():
  lines = (CHECKOUT / '.ci' / 'run').read_text().splitlines()
  commands = [x for x in lines if x and x[0] != '#' and x[:4] != 'set ']
  assert len(commands) == 1 and 'scripts/test.sh' in commands[0]
  assert (CHECKOUT / '.ci' / 'run').stat().st_mode & 0o111


@pytest.fixture
def bare_checkout(tmp_path) -> pathlib.Path:
  """A copy of the scripts alone, with no .venv beside them."""
  shutil.copytree(CHECKOUT / 'scripts', tmp_path / 'checkout' / 'scripts')
  return tmp_path / 'checkout'


def run_with_fake_python(checkout: pathlib.Path, fake: str):
  """Runs test.sh with nothing on PATH but coreutils and `fake` as python3."""
  tools = checkout / 'bin'
  tools.mkdir()
  for tool in ['dirname', 'bash']:
    (tools / tool).symlink_to(shutil.which(tool))
  (tools / 'python3').write_text(f'#!{shutil.which("bash")}\n{fake}\n')
  (tools / 'python3').chmod(0o755)
  return subprocess.run(
    ['bash', checkout / 'scripts' / 'test.sh'],
    cwd='/',
    env={'PATH': str(tools)},
    capture_output=True,
    text=True,
  )


def test_an_old_python_is_refused_with_the_version_found(bare_checkout):
  run = run_with_fake_python(
    bare_checkout,
    '[[ "$1" == --version ]] && { echo Python 3.9.2; exit; }; exit 1',
  )
  assert run.returncode == 1
  assert 'needs Python 3.11 or newer' in run.stderr
  assert 'Found: Python 3.9.2' in run.stderr


def test_a_python_without_venv_is_refused_with_the_package_to_install(
  bare_checkout,
):
  run = run_with_fake_python(
    bare_checkout, '[[ "$2" == *version_info* ]] && exit 0; exit 1'
  )
  assert run.returncode == 1
  assert 'python3 has no venv module' in run.stderr
  assert 'apt install python3-venv' in run.stderr
