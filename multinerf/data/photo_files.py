"""Which files hold the images and the masks of posed photographs."""

import functools
import pathlib
from collections.abc import Iterable

from multinerf import errors
from multinerf.data import base, photo_set

_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff')


def require_files(files: Iterable[pathlib.Path], folder: pathlib.Path):
  """Raises if files are missing: how many, and the first few names."""
  files = list(files)
  missing = [f for f in files if not f.is_file()]
  if missing:
    names = photo_set.listed(relative(f, folder) for f in missing)
    raise errors.DataError(
      f'{len(missing)} of {len(files)} posed images are missing below '
      f'{folder}: {names}. Complete the folder (gin: Config.data_dir).'
    )


def relative(file: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """The path below `folder`, or the path itself."""
  return file.relative_to(folder) if file.is_relative_to(folder) else file


def list_images(folder: pathlib.Path) -> list[pathlib.Path]:
  """All files below `folder` that are images by name, sorted; none hidden."""
  return sorted(
    p
    for p in folder.rglob('*')
    if p.suffix.lower() in _SUFFIXES
    and not p.name.startswith('.')
    and p.is_file()
  )


def smaller_files(
  photos: photo_set.Photographs, factor: int
) -> tuple[tuple[pathlib.Path, ...], tuple[str, ...]] | None:
  """Files of `images_<factor>` by stem; None where there is no such folder.

  Where both folders hold as many images and share no stem, they are paired by
  their places in the sorted listings: multinerf pairs all scenes so, and
  nerf_llff_data has images/IMG_4026.JPG and images_4/image000.png.

  Returns:
    The files, and what the user should hear about them.

  Raises:
    DataError: The folder lacks some, or which one is meant is not clear.
  """
  parts = [relative(f, photos.folder).parts for f in photos.files]
  small = [photos.folder / f'{p[0]}_{factor}' for p in parts]
  if min(map(len, parts)) < 2 or not any(s.is_dir() for s in set(small)):
    return None

  @functools.cache
  def by_stem(folder):
    found: dict[pathlib.Path, list[pathlib.Path]] = {}
    for file in list_images(folder):
      stem = file.relative_to(folder).with_suffix('')
      found.setdefault(stem, []).append(file)
    return found

  stems = [pathlib.Path(*p[1:]).with_suffix('') for p in parts]
  shared = len(set(zip(small, stems, strict=True))) < len(stems)
  placed, notes = _by_place(photos, parts, factor)
  files, missing = [], []
  for folder, stem, name in zip(small, stems, photos.files, strict=True):
    if name in placed:
      files.append(placed[name])
      continue
    candidates = by_stem(folder).get(stem, [])
    same = [c for c in candidates if c.suffix == name.suffix]
    if same or (len(candidates) == 1 and not shared):
      files.append((same or candidates)[0])
    elif candidates:
      raise errors.DataError(
        f'{relative(name, photos.folder)} matches several smaller images or '
        f'shares one: {photo_set.listed(c.name for c in candidates)} in '
        f'{folder}; keep one extension.'
      )
    else:
      missing.append(stem)
  if missing:
    raise errors.DataError(
      f'{small[0]} lacks {len(missing)} of {len(photos)} images: '
      f'{photo_set.listed(missing)}. Complete it, or remove it and images are '
      'averaged down in memory (gin: Config.factor).'
    )
  return tuple(files), notes


def _by_place(photos, parts, factor):
  """What pairs by place there are, all folders together; and notes on them."""
  posed: dict[str, list[pathlib.Path]] = {}
  for file, (top, *_) in zip(photos.files, parts, strict=True):
    posed.setdefault(top, []).append(file)
  placed, notes = {}, ()
  for top, files in posed.items():
    folder = photos.folder / f'{top}_{factor}'
    pairs = _paired_by_place(files, photos.folder / top, folder)
    if pairs:
      placed |= pairs
      notes += (
        f'No image in {folder} is called like one of full size: the '
        f'{len(pairs)} images of both folders are paired by their places in '
        'the sorted listings.',
      )
  return placed, notes


def _paired_by_place(
  posed: list[pathlib.Path], full: pathlib.Path, small: pathlib.Path
) -> dict[pathlib.Path, pathlib.Path]:
  """Files below `full` to those below `small`; empty where stems say more.

  All images of the full-size folder count, with a pose or without: a place
  among the posed ones alone would be another.
  """
  if not small.is_dir():
    return {}
  large, reduced = list_images(full), list_images(small)
  if len(large) != len(reduced):
    return {}
  stem = lambda file, folder: file.relative_to(folder).with_suffix('')
  known = {stem(f, full) for f in (*large, *posed)}
  if not known.isdisjoint(stem(f, small) for f in reduced):
    return {}
  return dict(zip(large, reduced, strict=True))


def find_masks(
  cfg: base.DataConfig, photos: photo_set.Photographs
) -> tuple[pathlib.Path | None, ...]:
  """`<image>.png` or `<stem>.png` in Config.mask_dir, by path below it.

  Returns:
    The mask of each photograph, None where it has none.

  Raises:
    DataError: There are masks, but none of them fits any image; or the folder
      that the option names is not there.
  """
  if not cfg.mask_dir:
    return (None,) * len(photos)
  folder = photos.folder / cfg.mask_dir
  if not folder.is_dir():
    # Most scenes have no masks: only a name that was asked for must exist.
    if cfg.mask_dir != base.DataConfig.mask_dir:
      raise errors.DataError(
        f'There is no folder of masks {folder}; give its name below '
        f'{photos.folder}, or None to train on all pixels '
        '(gin: Config.mask_dir).'
      )
    return (None,) * len(photos)
  files = []
  for name, file in zip(photos.names, photos.files, strict=True):
    below = pathlib.Path(*relative(file, photos.folder).parts[1:])
    candidates = [
      folder / path
      for stem in (pathlib.Path(name), below)
      for path in (f'{stem}.png', stem.with_suffix('.png'))
      if stem.name
    ]
    files.append(next((c for c in candidates if c.is_file()), None))
  if not any(files) and list_images(folder):
    raise errors.DataError(
      f'None of the masks in {folder} is called like an image '
      f'({photos.names[0]}.png); rename them, or ignore them with '
      'Config.mask_dir = None.'
    )
  return tuple(files)
