"""Small scenes whose pixels are known by their colours, for sampler tests."""

import numpy as np
from scipy import stats

from multinerf.cameras import camera, projection
from multinerf.data import base


def make_scene(sizes, *, channels=4, extras=False):
  """Random images of (width, height); each pixel's colour is its identity."""
  num_pixels = sum(w * h for w, h in sizes)
  identity = np.arange(num_pixels, dtype=np.uint32)
  values = identity.view(np.uint8).reshape(-1, 4)[:, :channels]
  buffer = base.PixelBuffer.allocate(
    [w for w, _ in sizes], [h for _, h in sizes], channels, np.uint8
  )
  buffer.values[...] = values

  def extra(c):
    data = np.arange(num_pixels * c, dtype=np.float32).reshape(-1, c)
    return base.PixelBuffer(data, buffer.widths, buffer.heights, buffer.offsets)

  n = len(sizes)
  cameras = camera.make_cameras(
    projection.get_pixtocam(10.0, 4.0, 4.0),
    np.tile(np.eye(4), (n, 1, 1)),
    widths=[w for w, _ in sizes],
    heights=[h for _, h in sizes],
    near=2.0,
    far=6.0,
  )
  return base.Scene(
    name='toy',
    split='train',
    cameras=cameras,
    image_names=tuple(f'im_{i}.png' for i in range(n)),
    images=buffer,
    disps=extra(1) if extras else None,
    normals=extra(3) if extras else None,
    alphas=extra(1) if extras else None,
  )


def identities(batch):
  """Row of the flat pixel buffer that each colour was read from."""
  flat = np.ascontiguousarray(batch.rgb.reshape(-1, 4))
  return flat.view(np.uint32)[:, 0].astype(np.int64)


SIZES = [(7, 5), (5, 9), (6, 6)]


def valid_positions(sizes, patch, border):
  """All (image, left, top) a patch may have, by brute force."""
  found = []
  for i, (w, h) in enumerate(sizes):
    for top in range(h):
      for left in range(w):
        inside = min(left, top) >= border
        inside &= left + patch + border <= w and top + patch + border <= h
        if inside:
          found.append((i, left, top))
  return found


def draw(sampler, num_steps):
  """Corner positions of all patches, [num_steps, patches per batch, 3]."""
  found = []
  for step in range(num_steps):
    pixels = sampler.batch(step).pixels
    corner = pixels.cam_idx[..., 0], pixels.pix_x_int, pixels.pix_y_int
    if pixels.pix_x_int.ndim == 3:
      corner = [part[:, 0, 0] for part in corner]
    found.append(np.stack(corner, -1))
  return np.array(found)


def assert_uniform(positions, valid):
  """Chi-square test; also fails if anything but `valid` was drawn."""
  counts = dict.fromkeys(valid, 0)
  for position in positions.reshape(-1, 3).tolist():
    counts[tuple(position)] += 1
  # Seeds are fixed: a failure is a change of behaviour, not bad luck. The
  # limit rejects 1 in 1000 uniform samplers.
  assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def assert_uniform_per_image(positions, valid):
  """The same for batches [steps, patches, 3] of one image each."""
  image_of_step = positions[:, 0, 0]
  images, share = np.unique([i for i, _, _ in valid], return_counts=True)
  counts = [np.count_nonzero(image_of_step == i) for i in images]
  assert sum(counts) == len(positions)
  expected = share / share.sum() * len(positions)
  assert stats.chisquare(counts, expected).pvalue > 1e-3
  for i in images:
    within = [position for position in valid if position[0] == i]
    if len(within) > 1:
      assert_uniform(positions[image_of_step == i], within)
