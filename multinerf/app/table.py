"""multinerf-table: results.json of many runs -> one table for a paper.

  multinerf-table /runs/base /runs/big --format=latex --metrics=psnr,ssim,lpips

RUNS are folders of runs, .../<experiment>/<scene>, or folders that hold some.
Rows are scenes, columns metrics; with several experiments each metric has a
column for every one of them, and the best is bold. A mean is shown where all
scenes of the table have a value. Of images at several sizes --by_scale shows
each size; --metrics=psnr_8x names one.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Sequence

from multinerf import errors
from multinerf.data import json_fields
from multinerf.evaluation import results

RESULTS = 'results.json'
_NOTHING = '-'
# What train.py put aside.
_ASIDE = ('collapsed_seed_', 'diverged_step_', 'restart_')
_MEAN = 'mean'
# How metrics are written; the others have three digits.
_TITLES = {'psnr': 'PSNR', 'ssim': 'SSIM', 'lpips': 'LPIPS', 'mae': 'MAE'}
_DIGITS = {'psnr': 2, 'normals_mae': 2, 'normals_pred_mae': 2}  # dB, degrees
_HIGHER_IS_BETTER = ('psnr', 'ssim')
_SCALE = re.compile(r'_\d+x$')  # what `results.scale_name` adds
# Folders of the released data and what papers call these scenes.
PUBLISHED_NAMES = {
  'gardenvase': 'garden',
  'flowerbed': 'flowers',
  'fulllivingroom': 'room',
  'kitchencounter': 'counter',
  'kitchenlego': 'kitchen',
  'officebonsai': 'bonsai',
  'helmet3': 'helmet',
  'musclecar': 'car',
  'phong_envmap': 'ball',
  'teapot2': 'teapot',
}


@dataclasses.dataclass(frozen=True)
class Run:
  """What a table needs of one evaluated run.

  Attributes:
    experiment, scene: The last two parts of the folder.
    step: Of the checkpoint.
    mean, mean_cc: Means over images by metric, without and with colour
      correction, and over those of each size (psnr_2x); metrics without a
      value are absent.
    test_names: The images measured.
    factor: How many times smaller than the originals, or None.
  """

  experiment: str
  scene: str
  step: int
  mean: dict[str, float]
  mean_cc: dict[str, float]
  test_names: tuple[str, ...]
  factor: object


@dataclasses.dataclass(frozen=True)
class Table:
  """Numbers by scene, metric and experiment.

  Attributes:
    scenes, metrics, experiments: Row and column names, in order.
    values: By (scene, metric, experiment); what is unknown is absent.
  """

  scenes: tuple[str, ...]
  metrics: tuple[str, ...]
  experiments: tuple[str, ...]
  values: dict[tuple[str, str, str], float]


def find_runs(paths: Sequence[str]) -> tuple[list[pathlib.Path], list[str]]:
  """Folders with a results.json at or up to two levels below each path.

  Returns:
    The folders, without repetition, in the order of `paths`, sorted within
    each; and notes on runs that were not evaluated yet.

  Raises:
    DataError: A path is no folder, or there is no result below it.
  """
  found, notes = [], []
  for name in paths:
    top = pathlib.Path(name).expanduser()
    if not top.is_dir():
      raise errors.DataError(f'{top} is not a folder of runs.')
    candidates = [top, *sorted(top.glob('*/')), *sorted(top.glob('*/*/'))]
    here = [path for path in candidates if (path / RESULTS).is_file()]
    if not here:
      raise errors.DataError(
        f'There is no {RESULTS} in {top} or in two levels of folders below '
        'it; run eval.py first.'
      )
    # Not resolved: a link has the name that the user gave it.
    found += [pathlib.Path(os.path.abspath(path)) for path in here]
    notes += [
      f'{path} has checkpoints but no {RESULTS}; run eval.py.'
      for path in candidates
      if path not in here
      and any(path.glob('checkpoint_*'))
      and not path.name.startswith(_ASIDE)
    ]
  return list(dict.fromkeys(found)), notes


def read_run(folder: pathlib.Path) -> Run:
  """Reads the results of a run.

  Raises:
    DataError: The file is broken; names it.
  """
  path = folder / RESULTS
  found = json_fields.read(path, hint='run eval.py')
  version = json_fields.need(found, 'format_version', int, path)
  if version != results.FORMAT_VERSION:
    raise errors.DataError(
      f'{path} has format {version}; this version of multinerf reads '
      f'{results.FORMAT_VERSION}. Run eval.py again.'
    )
  protocol = json_fields.need(found, 'protocol', dict, path)
  return Run(
    experiment=folder.parent.name,
    scene=folder.name,
    step=json_fields.need(found, 'step', int, path),
    mean=_means(found, 'mean', path),
    mean_cc=_means(found, 'mean_cc', path),
    test_names=tuple(
      map(str, json_fields.need(found, 'test_names', list, path))
    ),
    factor=protocol.get('factor'),
  )


def make_table(
  runs: Sequence[Run],
  metrics: Sequence[str],
  *,
  colour_corrected: bool = False,
  published_names: bool = False,
) -> tuple[Table, list[str]]:
  """Arranges runs; returns the table and notes on what does not fit together.

  Args:
    runs: At least one.
    metrics: Which, in order.
    colour_corrected: Use the metrics after colour correction.
    published_names: Call scenes as papers do (`PUBLISHED_NAMES`).

  Raises:
    DataError: A metric is unknown to every run, or two runs are the same
      scene of the same experiment.
  """
  cells: dict[tuple[str, str], Run] = {}
  for run in runs:
    scene = run.scene
    if published_names:
      scene = PUBLISHED_NAMES.get(scene, scene)
    if (scene, run.experiment) in cells:
      raise errors.DataError(
        f'Two of the runs are called {run.experiment}/{scene}; the last two '
        'parts of their folders must differ.'
      )
    cells[scene, run.experiment] = run
  values, known = {}, set()
  for (scene, experiment), run in cells.items():
    numbers = run.mean_cc if colour_corrected else run.mean
    known |= set(numbers)
    for metric in metrics:
      if metric in numbers:
        values[scene, metric, experiment] = numbers[metric]
  table = Table(
    scenes=tuple(dict.fromkeys(scene for scene, _ in cells)),
    metrics=tuple(metrics),
    experiments=tuple(dict.fromkeys(name for _, name in cells)),
    values=values,
  )
  absent = [m for m in metrics if m not in known]
  if len(absent) == len(metrics):
    raise errors.DataError(
      f'No run has the metric {absent[0]!r}; known: {", ".join(sorted(known))}.'
    )
  notes = [f'No run has a value of {m}.' for m in absent]
  return table, notes + _differences(table, cells)


def to_markdown(table: Table) -> str:
  """A Markdown table; arrows say which way is better."""
  one = len(table.experiments) == 1
  titles = ['scene']
  for metric in table.metrics:
    arrow = '↑' if _kind(metric) in _HIGHER_IS_BETTER else '↓'
    for experiment in table.experiments:
      title = f'{_title(metric)} {arrow}'
      titles.append(title if one else f'{experiment}: {title}')
  rows = [titles, ['---', *['---:'] * (len(titles) - 1)]]
  for scene, row in _rows(table):
    rows.append([scene, *(f'**{t}**' if best else t for t, best in row)])
  return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def to_latex(table: Table) -> str:
  """A tabular for LaTeX's package booktabs."""
  num = len(table.experiments)
  groups = ['']
  titles = ['scene']
  for metric in table.metrics:
    higher = _kind(metric) in _HIGHER_IS_BETTER
    arrow = r'$\uparrow$' if higher else r'$\downarrow$'
    title = f'{_tex(_title(metric))} {arrow}'
    groups.append(rf'\multicolumn{{{num}}}{{c}}{{{title}}}')
    titles += [title] if num == 1 else map(_tex, table.experiments)
  lines = [
    rf'\begin{{tabular}}{{l{"r" * (num * len(table.metrics))}}}',
    r'\toprule',
    *([' & '.join(groups) + r' \\'] if num > 1 else []),
    ' & '.join(titles) + r' \\',
    r'\midrule',
  ]
  for scene, row in _rows(table):
    if scene == _MEAN:
      lines.append(r'\midrule')
    cells = [rf'\textbf{{{t}}}' if best else t for t, best in row]
    lines.append(' & '.join([_tex(scene), *cells]) + r' \\')
  return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', ''])


FORMATS = {'markdown': to_markdown, 'latex': to_latex}


def main(argv: Sequence[str] | None = None) -> int:
  """Console entry point; returns the exit status."""
  args = _parser().parse_args(list(sys.argv if argv is None else argv)[1:])
  try:
    folders, notes = find_runs(args.runs)
    runs = [read_run(folder) for folder in folders]
    metrics = [name.strip() for name in args.metrics.split(',')]
    expanded = _with_scales(runs, metrics)
    if args.by_scale:
      metrics = expanded
    elif len(expanded) > len(metrics):
      notes.append('Images are of several sizes; --by_scale shows each.')
    table, more = make_table(
      runs,
      metrics,
      colour_corrected=args.cc,
      published_names=args.published_names,
    )
    text = FORMATS[args.format](table)
    for note in notes + more:
      print(f'note: {note}', file=sys.stderr)
    if args.out is None:
      print(text, end='')
    else:
      results.write_text(args.out, text)
  except (errors.MultinerfError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='multinerf-table',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('runs', nargs='+', metavar='RUNS', help='Folders.')
  parser.add_argument('--format', choices=sorted(FORMATS), default='markdown')
  parser.add_argument(
    '--metrics',
    default='psnr,ssim,lpips',
    help='Comma-separated names as in results.json (default: %(default)s).',
  )
  parser.add_argument(
    '--cc', action='store_true', help='Metrics after colour correction.'
  )
  parser.add_argument(
    '--by_scale', action='store_true', help='Also each size of the images.'
  )
  parser.add_argument(
    '--published_names',
    action='store_true',
    help='Call scenes as papers do: gardenvase is garden.',
  )
  parser.add_argument('--out', help='File to write; default: print.')
  return parser


def _kind(metric: str) -> str:
  """The metric without the size it is of: psnr for psnr_2x."""
  return _SCALE.sub('', metric)


def _title(metric: str) -> str:
  kind = _kind(metric)
  return _TITLES.get(kind, kind) + metric[len(kind) :].replace('_', ' ')


def _with_scales(runs: Sequence[Run], metrics: Sequence[str]) -> list[str]:
  """The metrics, each followed by its means over every size, large to small."""
  known = {name for run in runs for name in (*run.mean, *run.mean_cc)}
  out = []
  for metric in metrics:
    sizes = [n for n in known if n != metric and _kind(n) == metric]
    out += [metric, *sorted(sizes, key=lambda name: (len(name), name))]
  return list(dict.fromkeys(out))


def _means(found: dict, key: str, path: pathlib.Path) -> dict[str, float]:
  """Means over all images and over those of each size (psnr_2x)."""
  numbers = _numbers(found, key, path)
  by_scale = f'{key}_by_scale'
  if by_scale not in found:  # written before there were sizes
    return numbers
  for scale in json_fields.need(found, by_scale, dict, path):
    if not scale.isdecimal():
      raise errors.DataError(f'{path}: {by_scale} has the scale {scale!r}.')
    for name, value in _numbers(found[by_scale], scale, path).items():
      numbers[results.scale_name(name, int(scale))] = value
  return numbers


def _numbers(found: dict, key: str, path: pathlib.Path) -> dict[str, float]:
  """The numbers of an object in a file; nulls are left out."""
  values = json_fields.need(found, key, dict, path)
  numbers = {
    name: json_fields.number(values, name, f'{path}, {key}') for name in values
  }
  return {name: value for name, value in numbers.items() if value is not None}


def _differences(table: Table, cells: dict[tuple[str, str], Run]) -> list[str]:
  """What speaks against comparing the runs."""
  notes = []
  steps = sorted({run.step for run in cells.values()})
  if len(steps) > 1:
    notes.append(f'The runs have different steps: {steps}.')
  for scene in table.scenes:
    runs = [cells[scene, e] for e in table.experiments if (scene, e) in cells]
    if len({run.factor for run in runs}) > 1:
      notes.append(f'The runs of {scene} have different Config.factor.')
    if len({run.test_names for run in runs}) > 1:
      notes.append(f'The runs of {scene} measure different test images.')
    missing = [e for e in table.experiments if (scene, e) not in cells]
    notes += [f'There is no {e}/{scene}.' for e in missing]
  return notes


def _rows(table: Table) -> list[tuple[str, list[tuple[str, bool]]]]:
  """Scenes and the mean: each cell's text, and whether it is the best."""
  values = dict(table.values)
  for metric in table.metrics:
    for experiment in table.experiments:
      keys = [(scene, metric, experiment) for scene in table.scenes]
      if all(key in values for key in keys):
        total = sum(values[key] for key in keys)
        values[_MEAN, metric, experiment] = total / len(keys)
  rows = []
  for scene in (*table.scenes, *([_MEAN] if len(table.scenes) > 1 else [])):
    row = []
    for metric in table.metrics:
      # Rounded as they are shown: equal numbers are equally good.
      shown = [
        None if v is None else f'{v:.{_DIGITS.get(_kind(metric), 3)}f}'
        for v in (values.get((scene, metric, e)) for e in table.experiments)
      ]
      present = [float(t) for t in shown if t is not None]
      pick = max if _kind(metric) in _HIGHER_IS_BETTER else min
      best = pick(present) if len(present) > 1 else None
      row += [
        (_NOTHING, False) if t is None else (t, float(t) == best) for t in shown
      ]
    rows.append((scene, row))
  return rows


def _tex(text: str) -> str:
  """Escapes what LaTeX would read as markup."""
  for character in '&%$#_{}':
    text = text.replace(character, f'\\{character}')
  return text


if __name__ == '__main__':
  sys.exit(main())
