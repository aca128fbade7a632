"""A tiny scene and renderings of it, for all evaluation tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from multinerf import types
from multinerf.cameras import camera, projection
from multinerf.data import base

WIDTH, HEIGHT = 20, 16


@pytest.fixture(scope='session')
def make_rendering():
  """Returns a function: fields as arrays -> a rendering of numpy arrays."""

  def make(**fields) -> types.Rendering:
    device = types.Rendering(
      **{k: jnp.asarray(v, jnp.float32) for k, v in fields.items()}
    )
    return jax.tree.map(np.asarray, device)

  return make


@pytest.fixture(scope='session')
def full_rendering(make_rendering):
  """Returns a function: (seed, rgb or None) -> rendering with every field."""

  def make(seed: int, rgb=None) -> types.Rendering:
    gen = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH)
    depth = np.sort(gen.uniform(1, 4, (3, *shape)), axis=0)
    unit = gen.normal(size=(2, *shape, 3))
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    return make_rendering(
      rgb=gen.uniform(size=(*shape, 3)) if rgb is None else rgb,
      acc=gen.uniform(size=shape),
      distance_mean=depth[1] + 0.01,
      distance_percentile_5=depth[0],
      distance_median=depth[1],
      distance_percentile_95=depth[2],
      normals=unit[0],
      normals_pred=unit[1],
      roughness=gen.uniform(size=(*shape, 1)),
    )

  return make


@pytest.fixture(scope='session')
def make_scene():
  """Returns a function: number of views -> scene with all kinds of truth.

  The cameras stand on a ring of radius 4 at height 2 and look at the origin.
  """

  def make(num: int = 3, **changes) -> base.Scene:
    gen = np.random.default_rng(7)
    angle = np.arange(num) * 2 * np.pi / num
    position = np.stack([4 * np.cos(angle), 4 * np.sin(angle), angle * 0 + 2])
    position = position.T
    back = position / np.linalg.norm(position, axis=-1, keepdims=True)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    up = np.cross(back, right)
    poses = np.stack([right, up, back, position], axis=-1)
    cameras = camera.make_cameras(
      projection.get_pixtocam(25.0, WIDTH, HEIGHT),
      poses,
      widths=WIDTH,
      heights=HEIGHT,
      near=2.0,
      far=6.0,
    )

    def truth(draw, channels, dtype):
      shape = (HEIGHT, WIDTH, channels)
      return base.PixelBuffer.from_images(
        [draw(shape).astype(dtype) for _ in range(num)]
      )

    fields = dict(
      name='toy',
      split='test',
      cameras=cameras,
      image_names=tuple(f'view_{i}.png' for i in range(num)),
      images=truth(lambda s: gen.integers(0, 256, s), 3, np.uint8),
      disps=truth(lambda s: gen.uniform(0.1, 0.5, s), 1, np.float32),
      normals=truth(lambda s: gen.normal(size=s), 3, np.float32),
      alphas=truth(lambda s: gen.uniform(size=s), 1, np.float32),
    )
    return base.Scene(**(fields | changes))

  return make
