"""What a user's own module looks like: a data set in upstream's form."""

import numpy as np

from multinerf.compat.multinerf import camera_utils, datasets, utils

SIZE, NUM = 8, 5


def colours(split):
  """Images [NUM, SIZE, SIZE, 3] in [0, 1] that tell every pixel apart."""
  gen = np.random.default_rng({'train': 0, 'test': 1}[split])
  return gen.uniform(size=(NUM, SIZE, SIZE, 3))


@datasets.register('ring')
class MyDataset(datasets.Dataset):
  """Five cameras on a ring that look at the origin."""

  def _load_renderings(self, config):
    self.images = colours(self.split.value)
    angles = np.linspace(0, 2 * np.pi, NUM, endpoint=False)
    centers = 4 * np.stack(
      [np.cos(angles), np.sin(angles), np.full(NUM, 0.3)], -1
    )
    up = np.array([0.0, 0.0, 1.0])
    self.camtoworlds = np.stack(
      [camera_utils.viewmatrix(c, up, c) for c in centers]
    )
    self.focal = 10.0 / max(config.factor, 1)
    self.height, self.width = self.images.shape[1:3]
    self.pixtocams = camera_utils.get_pixtocam(
      self.focal, self.width, self.height
    )
    if self.split == utils.DataSplit.TRAIN and self._load_disps:
      self.disp_images = self.images[..., 0]
