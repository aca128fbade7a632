"""Measures a trained field on its held-out views: PSNR, SSIM, normals, depth.

  python eval.py --gin_configs=blender.gin \
    --data_dir=/data/chair --checkpoint_dir=/runs/chair

Runs from any directory. `--help` lists the flags and every `Config` option.
"""

import sys

from multinerf.app import eval as evaluate

if __name__ == '__main__':
  sys.exit(evaluate.main())
