"""What came out: report.json, report.md and report.png."""

import dataclasses
import pathlib
from typing import Any

from multinerf.capture import drawing, files, photos, sfm, shrink
from multinerf.capture import model as model_lib
from multinerf.capture import settings as settings_lib

REPORT = 'report.json'
# Below this share of placed images something is wrong with the capture.
_MIN_PLACED = 0.5
# Beyond this many pixels (of images 1600 long) poses are not good enough.
_MAX_ERROR = 2.0
_SHOWN_NAMES = 20


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Everything that the report is made of.

  Attributes:
    source: The folder or video, as given.
    prepared: The images.
    matching: How they were compared.
    models: The model that is trained on first; others are of images that
      could not be joined to it.
    settings: The options.
    seconds: Step -> how long it took.
    versions: Package -> version.
  """

  source: str
  prepared: photos.Prepared
  matching: sfm.Matching
  models: tuple[model_lib.Model, ...]
  settings: settings_lib.Settings
  seconds: dict[str, float]
  versions: dict[str, str]

  @property
  def unregistered(self) -> list[str]:
    """Images without a pose in the first model."""
    placed = set(self.models[0].names)
    return [name for name in self.prepared.names if name not in placed]

  @property
  def headline(self) -> str:
    """The numbers in one line."""
    model = self.models[0]
    return (
      f'{len(model.names)} of {len(self.prepared.names)} images placed, '
      f'{len(model.xyz)} points, each seen by {model.mean_track_length:.1f} '
      f'images, reprojection error {model.mean_reprojection:.2f} pixels'
    )


def warnings(outcome: Outcome) -> list[str]:
  """What the user should look at before training, a line each."""
  found = []
  model, missing = outcome.models[0], outcome.unregistered
  total = len(outcome.prepared.names)
  if missing:
    names = ', '.join(missing[:_SHOWN_NAMES])
    more = len(missing) - _SHOWN_NAMES
    names += f' and {more} more' if more > 0 else ''
    few = len(model.names) < _MIN_PLACED * total
    found.append(
      f'{"Only " if few else ""}{len(model.names)} of {total} images were '
      f'placed; training leaves out {names}.'
      + (f' {sfm.ADVICE}' if few else '')
    )
  for i, other in enumerate(outcome.models[1:], start=1):
    found.append(
      f'{len(other.names)} images ({other.names[0]} ..) form a model of their '
      f'own, sparse/{i}: photographs that connect the two parts are missing.'
    )
  longer = max((max(x.width, x.height) for x in model.lenses), default=1)
  if model.mean_reprojection > _MAX_ERROR * max(longer / 1600, 1.0):
    found.append(
      f'The reprojection error of {model.mean_reprojection:.2f} pixels is '
      'large: moving things, rolling shutter, or another lens model '
      '(--camera_model).'
    )
  return found


def to_json(outcome: Outcome, fingerprint: str) -> dict[str, Any]:
  """The contents of report.json; docs/own_capture.md explains them."""
  model = outcome.models[0]
  return {
    'source': outcome.source,
    'fingerprint': fingerprint,
    'num_images': len(outcome.prepared.names),
    'num_registered': len(model.names),
    'unregistered': outcome.unregistered,
    'num_points': len(model.xyz),
    'mean_track_length': round(model.mean_track_length, 4),
    'mean_reprojection_error': round(model.mean_reprojection, 4),
    'observations': dict(
      zip(model.names, map(int, model.num_observations), strict=True)
    ),
    'cameras': [dataclasses.asdict(lens) for lens in model.lenses],
    'models': [
      {'images': len(m.names), 'points': len(m.xyz)} for m in outcome.models
    ],
    'matching': dataclasses.asdict(outcome.matching),
    'notes': list(outcome.prepared.notes),
    'warnings': warnings(outcome),
    'settings': dataclasses.asdict(outcome.settings)
    | {'factors': list(outcome.settings.factors)},
    'seconds': {k: round(v, 1) for k, v in outcome.seconds.items()},
    'versions': outcome.versions,
  }


def to_markdown(outcome: Outcome) -> str:
  """The contents of report.md."""
  model, matching = outcome.models[0], outcome.matching
  lines = [
    f'# {outcome.source}',
    '',
    f'{outcome.headline}.',
    '',
    '![Cameras and points](report.png)',
    '',
  ]
  notes = [f'**Warning:** {w}' for w in warnings(outcome)]
  notes += outcome.prepared.notes
  lines += [line for note in notes for line in (f'- {note}',)] + [''] * bool(
    notes
  )
  lines += ['| | |', '|---|---|']
  lines += [
    f'| Pairs of images compared ({matching.method}) | {matching.num_pairs} |',
    f'| Pairs that show the same scene | {matching.num_verified} |',
  ]
  for lens in model.lenses:
    params = ', '.join(f'{k} = {v:.5g}' for k, v in lens.params.items())
    lines.append(
      f'| {lens.model} camera, {lens.width}x{lens.height}, '
      f'{lens.num_images} images | {params} |'
    )
  lines += [
    f'| Seconds: {step} | {spent:.1f} |'
    for step, spent in outcome.seconds.items()
  ]
  weakest = sorted(
    zip(map(int, model.num_observations), model.names, strict=True)
  )[:5]
  lines += [
    '',
    'Images that see the fewest points, whose poses are weakest:',
    '',
  ]
  lines += [f'- {name}: {count}' for count, name in weakest]
  return '\n'.join(lines) + '\n'


def write(outcome: Outcome, scene: pathlib.Path, fingerprint: str) -> None:
  """Writes the picture and the two reports; report.json last."""
  picture = drawing.draw(outcome.models[0], outcome.headline)
  shrink.write_image(scene / 'report.png', picture)
  files.write_file(
    scene / 'report.md',
    lambda p: p.write_text(to_markdown(outcome), encoding='utf-8'),
  )
  files.write_json(scene / REPORT, to_json(outcome, fingerprint))
