"""Finds .gin files: in the working directory, beside others, among presets.

Presets resolve from any working directory, in a checkout as well as in an
installed package, also under the paths that MultiNeRF's scripts and files use
(`configs/360.gin`, and one that exists only inside Google), and camp_zipnerf's
(`configs/zipnerf/360.gin`).
"""

import pathlib

from multinerf import errors, registry

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]

# Folders that users' commands and old files put before the name of a preset.
_OLD_FOLDERS = (
  'experimental/users/barron/mipnerf360/configs/',
  'configs/',
  'gin_configs/',
)


# camp_zipnerf's names for what is called otherwise here.
_OLD_NAMES = {
  'configs/zipnerf/360.gin': 'zipnerf_360.gin',
  'configs/zipnerf/360_aglo128.gin': 'zipnerf_360_aglo128.gin',
  'configs/zipnerf/blender.gin': 'zipnerf_blender.gin',
  'configs/zipnerf/use_multiscale.gin': 'multiscale.gin',
}


def find_gin_configs(package: pathlib.Path = _PACKAGE) -> pathlib.Path:
  """Returns the folder of the presets.

  Args:
    package: The folder of the multinerf package. Installed, the presets lie
      inside it; in a checkout, next to it.

  Raises:
    ConfigError: There are none: the installation is incomplete.
  """
  choices = (package / 'gin_configs', package.parent / 'gin_configs')
  for folder in choices:
    if any(folder.glob('*.gin')):
      return folder
  raise errors.ConfigError(
    f'No presets in {choices[0]} or {choices[1]}; reinstall multinerf.'
  )


def resolve(name: str, beside: pathlib.Path | None = None) -> pathlib.Path:
  """Returns the path of a .gin file.

  Args:
    name: As given to --gin_configs or `include`.
    beside: Folder of the including file, searched first.

  Raises:
    ConfigError: Not found; says where was searched and the nearest preset.
  """
  presets = find_gin_configs()
  folders = [pathlib.Path.cwd(), presets]
  if beside is not None:
    folders.insert(0, beside)
  candidates = [folder / pathlib.Path(name).expanduser() for folder in folders]
  for prefix in _OLD_FOLDERS:
    if name.startswith(prefix):
      candidates.append(presets / name.removeprefix(prefix))
  if name in _OLD_NAMES:
    candidates.append(presets / _OLD_NAMES[name])
  for path in candidates:
    if path.is_file():
      return path.resolve()
  known = [p.name for p in presets.glob('*.gin')]
  searched = ', '.join(dict.fromkeys(str(f) for f in folders))
  raise errors.ConfigError(
    f'No gin file {name!r}; searched {searched}. Presets: '
    f'{", ".join(sorted(known))}.'
    f'{registry.suggest(pathlib.Path(name).name, known)}'
  )


def read(path: pathlib.Path) -> str:
  """Returns the text of a .gin file.

  Raises:
    ConfigError: It cannot be read, or is no UTF-8 text.
  """
  try:
    return path.read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as e:
    raise errors.ConfigError(f'Cannot read gin file {path}: {e}') from e
