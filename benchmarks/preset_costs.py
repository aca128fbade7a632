"""Parameters and matrix products of presets, counted without running them.

  python benchmarks/preset_costs.py 360.gin blender_256.gin ...

See `multinerf.app.bench.work.count` for what is counted.
"""

import sys

from multinerf.app.bench import work


def main(argv: list[str]) -> int:
  """Prints a line for each preset."""
  print(f'{"preset":24s} {"parameters":>11s} {"forward":>8s} {"training":>8s}')
  for name in argv[1:]:
    num, forward, training = work.costs(name)
    print(f'{name:24s} {num:11,d} {forward:8.1f} {training:8.1f}')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv))
