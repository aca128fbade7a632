"""Renders a trained field: test views or a camera path, as images and video.

  python render.py --gin_configs=blender.gin \
    --data_dir=/data/chair --checkpoint_dir=/runs/chair \
    --gin_bindings="Config.render_path = True"

Runs from any directory. `--help` lists the flags and every `Config` option.
"""

import sys

from multinerf.app import render

if __name__ == '__main__':
  sys.exit(render.main())
