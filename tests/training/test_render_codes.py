"""Views are rendered with the zero code, whatever the images' codes are."""

import jax
import jax.numpy as jnp
import model_util
import numpy as np
import pytest

from multinerf import parallel, types
from multinerf.cameras import camera, projection
from multinerf.training import step


def scene():
  """Three cameras in one place, and the same pixel of each."""
  pose = np.eye(4, dtype=np.float32)[:3]
  pose[2, 3] = 4
  cameras = camera.make_cameras(
    projection.get_pixtocam(20.0, 8, 8),
    np.stack([pose] * 3),
    widths=8,
    heights=8,
    near=2.0,
    far=6.0,
  )
  pixels = types.Pixels(
    pix_x_int=np.full(3, 4, np.int32),
    pix_y_int=np.full(3, 3, np.int32),
    cam_idx=np.arange(3, dtype=np.int32)[:, None],
  )
  return cameras, pixels


@pytest.mark.slow  # compiles three programs for ten seconds
def test_test_views_are_rendered_with_the_zero_code():
  net = model_util.model(num_glo_features=2, num_glo_embeddings=3)
  cameras, pixels = scene()
  params = jax.device_get(model_util.init(net, model_util.rays(2)))
  fn = jax.pmap(
    step.make_render_step(net),
    axis_name=parallel.AXIS,
    devices=jax.devices()[:1],
  )
  frac = np.ones(1, np.float32)
  lead = lambda tree: jax.tree.map(lambda x: np.asarray(x)[None], tree)

  def render(codes):
    tree = {'params': {**params['params'], 'Embed_0': {'embedding': codes}}}
    return np.asarray(fn(lead(tree), lead(pixels), lead(cameras), frac).rgb[0])

  codes = params['params']['Embed_0']['embedding']
  want = render(np.zeros_like(codes))
  np.testing.assert_array_equal(render(codes), want)
  np.testing.assert_array_equal(want, np.broadcast_to(want[:1], want.shape))
  # The codes would show: training uses them.
  rays = projection.cast_ray_batch(cameras, pixels)
  own, _ = jax.jit(lambda p, r: net.apply(p, None, r, zero_glo=False))(
    params, rays
  )
  assert np.ptp(jnp.asarray(own[-1].rgb), axis=0).max() > 1e-4
