"""bench.json as a Markdown page."""

from collections.abc import Iterable, Mapping
from typing import Any

_NOTHING = '-'
_NOTES = """\
Rates are medians. **Utilisation** is effective: rays/s times the reference's
MFLOP per ray over the float32 matmul peak of the same cores, measured in the
same process before and after every round; `busy` is the same by processor time
instead of the clock, which other processes disturb less (CPU only); `best` is
the best round over the best peak. MFLOP marked * are counted in our own program
(matrix products only), because the reference's were not measured.
"""


def markdown(found: Mapping[str, Any]) -> str:
  """The page of one measurement, as text that ends in a newline."""
  presets = found['presets']
  good = {k: v for k, v in presets.items() if 'error' not in v}
  parts = [f'# multinerf-bench, {found["date"]}\n', _machine(found), _NOTES]
  if good:
    parts += [
      '## Training\n',
      _table(_TRAINING, good),
      '## Rendering\n',
      _table(_RENDERING, {k: v for k, v in good.items() if 'rendering' in v}),
      '## Around it\n',
      _table(_AROUND, good),
    ]
  scaling = {k: v['scaling'] for k, v in good.items() if v.get('scaling')}
  if scaling:
    parts += ['## Scaling\n', _scaling(scaling)]
  bad = {k: v['error'] for k, v in presets.items() if 'error' in v}
  if bad:
    lines = [f'- `{name}`: {error}' for name, error in bad.items()]
    parts += ['## Not measured\n', '\n'.join(lines) + '\n']
  return '\n'.join(parts)


def _machine(found: Mapping[str, Any]) -> str:
  machine = found['machine']
  sizes = machine['matmul_float32_gflops_by_size']
  rows = [
    ('devices', machine['devices']),
    ('processor', f'{machine["processor"]}, {machine["num_cores"]} cores used'),
    ('memory', f'{machine["memory_bytes"] / 2**30:.0f} GiB'),
    *(
      (f'matmul, {kind}', f'{rate:,.0f} GFLOP/s')
      for kind, rate in machine['matmul_gflops'].items()
    ),
    (
      'float32 by size',
      ', '.join(f'{n}: {rate:,.0f}' for n, rate in sizes.items()),
    ),
    ('copy', f'{machine["copy_gb_per_s"]:.1f} GB/s read and written'),
    ('load average', f'{machine["load_average"]:.1f} at the start'),
    (
      'versions',
      ', '.join(f'{k} {v}' for k, v in found['versions'].items() if v),
    ),
    ('command', f'`{found["command"]}`'),
  ]
  return _grid(('machine', ''), rows)


def _training(v):
  return v['training']


def _rendering(v):
  return v['rendering']


def _work(part):
  star = '' if part['source'].startswith('measured') else ' *'
  return f'{part["mflop_per_ray"]:,.4g}{star}'


def _percent(part, name):
  return f'{100 * part[name]:.0f} %' if name in part else _NOTHING


def _seconds(v, name):
  return f'{v[name]:.3g} s' if name in v else _NOTHING


def _megabytes(value):
  return f'{value / 1e6:,.0f} MB' if value is not None else _NOTHING


def _rate_columns(part):
  """Columns that training and rendering share."""
  return (
    ('rays/s', lambda v: f'{part(v)["rays_per_s"]:,.0f}'),
    ('best', lambda v: f'{part(v)["rays_per_s_best"]:,.0f}'),
    ('MFLOP/ray', lambda v: _work(part(v))),
    ('utilisation', lambda v: _percent(part(v), 'utilisation')),
    ('busy', lambda v: _percent(part(v), 'utilisation_busy')),
    ('best', lambda v: _percent(part(v), 'utilisation_of_best')),
    ('of bfloat16', lambda v: _percent(part(v), 'utilisation_bfloat16')),
  )


_TRAINING = (
  ('rays per step', lambda v: f'{v["batch_size"]:,}'),
  *_rate_columns(_training),
)
_RENDERING = (
  ('view', lambda v: f'{v["rendering"]["side"]}x{v["rendering"]["side"]}'),
  *_rate_columns(_rendering),
  ('first view', lambda v: _seconds(v['rendering'], 'first_view_s')),
)
_AROUND = (
  ('parameters', lambda v: f'{v["num_params"]:,}'),
  ('start', lambda v: _seconds(v, 'start_s')),
  ('compilation, cold', lambda v: _seconds(v, 'compile_cold_s')),
  ('warm', lambda v: _seconds(v, 'compile_warm_s')),
  (
    'host batch',
    lambda v: (
      f'{1e3 * v["host_batch_s"]:.2f} ms, '
      f'{100 * v["host_share_of_step"]:.2f} % of a step'
      if 'host_batch_s' in v
      else _NOTHING
    ),
  ),
  ('checkpoint saved', lambda v: _seconds(v, 'checkpoint_save_s')),
  ('restored', lambda v: _seconds(v, 'checkpoint_restore_s')),
  ('size', lambda v: _megabytes(v.get('checkpoint_bytes'))),
  ('peak memory, host', lambda v: _megabytes(v['peak_rss_bytes'])),
  ('device', lambda v: _megabytes(v['device_peak_bytes'])),
)


def _table(columns, presets: Mapping[str, Any]) -> str:
  """A row per preset."""
  header = ('preset', *(title for title, _ in columns))
  rows = [
    (f'`{name}`', *(cell(value) for _, cell in columns))
    for name, value in presets.items()
  ]
  return _grid(header, rows)


def _scaling(scaling: Mapping[str, Any]) -> str:
  """Training rates by number of devices, relative to the first."""
  rows = []
  for name, points in scaling.items():
    one = points[0]
    for point in points:
      times = point['rays_per_s'] / one['rays_per_s']
      rows.append(
        (
          f'`{name}`',
          str(point['num_devices']),
          f'{point["batch_size"]:,}',
          f'{point["rays_per_s"]:,.0f}',
          f'{times:.2f}',
          f'{100 * point["utilisation"]:.0f} %',
        )
      )
  header = (
    'preset', 'devices', 'rays per step', 'rays/s', 'times', 'utilisation',
  )  # fmt: skip
  return _grid(header, rows)


def _grid(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
  """A Markdown table."""
  lines = [header, ['---'] * len(tuple(header)), *rows]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)
