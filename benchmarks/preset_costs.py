"""Parameters and matrix products of presets, counted without running them.

  python benchmarks/preset_costs.py 360.gin blender_256.gin ...

See `multinerf.app.bench.work.count` for what is counted.
"""

import argparse

from multinerf.app.bench import work


def main() -> None:
  """Prints a line for each preset."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('presets', nargs='+')
  args = parser.parse_args()
  print(f'{"preset":24s} {"parameters":>11s} {"forward":>8s} {"training":>8s}')
  for name in args.presets:
    num, forward, training = work.costs(name)
    print(f'{name:24s} {num:11,d} {forward:8.1f} {training:8.1f}')


if __name__ == '__main__':
  main()
