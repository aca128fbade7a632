"""Trains a radiance field, or resumes one, as its gin files say.

  python train.py --gin_configs=blender.gin \
    --data_dir=/data/chair --checkpoint_dir=/runs/chair

Runs from any directory. `--help` lists the flags and every `Config` option.
"""

import sys

from multinerf.app import train

if __name__ == '__main__':
  sys.exit(train.main())
