"""What the experiments on the embedded scene share: small, short trainings."""

import pathlib
import time

import numpy as np

from multinerf import Trainer, errors, parallel
from multinerf.config import gin_setup, views
from multinerf.data import base, images
from multinerf.training import stats

FIELD = str(pathlib.Path(__file__).with_name('small.gin'))
# Images of 64x64 show nothing finer than a grid of 64^3 cells.
SMALL = (
  'Config.synthetic_resolution = 64',
  'Config.batch_size = 1024',
  'Config.max_steps = 1000',
  'prop/HashEncoding.max_grid_size = 32',
  'prop/HashEncoding.scale_supersample = 1.',
  'nerf/HashEncoding.max_grid_size = 64',
)
_SHOWN = ('psnr', 'acc', 'loss_threshold', 'is_inlier_loss', 'mask')


def load(bindings):
  """(set-up, training views, test views) of small.gin and bindings."""
  setup = gin_setup.load([FIELD], bindings)
  cfg = views.view(setup.config, base.DataConfig)
  scenes = [base.load_scene(cfg, split) for split in ('train', 'test')]
  return setup, *scenes


def spread(count, num):
  """`num` of the numbers below `count`, evenly spread."""
  return np.arange(num) * count // num


def take_views(scene, keep):
  """The views of these numbers, as a scene."""
  return base.Scene(
    name=scene.name,
    split=scene.split,
    cameras=scene.cameras.take(keep),
    image_names=tuple(scene.image_names[i] for i in keep),
    images=base.PixelBuffer.from_images([scene.images.image(i) for i in keep]),
    scales=scene.scales and tuple(scene.scales[i] for i in keep),
  )


def prepare_devices(config):
  """One virtual device per core, as the programs have; call it once."""
  parallel.configure_cpu_devices(config.batch_size, config.patch_size)
  parallel.enable_compilation_cache(config.compilation_cache_dir)


def train(setup, scene, log=lambda message: None):
  """Returns a trainer that has taken all its steps.

  Raises:
    TrainingDivergedError: The field died at the start.
  """
  trainer = Trainer(setup.config, scene, setup.build_model())
  last, start, now = setup.config.max_steps, time.monotonic(), {}
  for step in range(1, last + 1):
    packed = trainer.step()
    if step % 100 == 0 or step == last:
      table = stats.unpack([packed])
      now = {n: round(float(table[n][0]), 4) for n in _SHOWN if n in table}
      log(f'  {step:5d} {time.monotonic() - start:5.0f} s {now}')
  if now['acc'] < 1e-3:
    raise errors.TrainingDivergedError('The field died; take another seed.')
  return trainer


def write_grid(path, rows, factor=2):
  """Writes rows of images [H, W, 3] in [0, 1], every pixel enlarged."""
  path.parent.mkdir(parents=True, exist_ok=True)
  lines = []
  for row in rows:
    gap = np.ones((len(row[0]), 2, 3))
    parts = [part for image in row for part in (image, gap)]
    lines += [np.concatenate(parts[:-1], axis=1)]
    lines += [np.ones_like(lines[-1][:2])]
  grid = np.clip(np.concatenate(lines[:-1]), 0, 1)
  grid = grid.repeat(factor, axis=0).repeat(factor, axis=1)
  images.write_png(path, np.uint8(np.round(255 * grid)))
