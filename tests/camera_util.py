"""Cameras for tests of paths."""

import numpy as np

from multinerf.cameras import poses as poses_lib


def ring(n=10, radius=(2.0, 1.5), center=(0.4, -0.3), seed=0):
  """Cameras on a noisy ellipse that look at its centre, z up."""
  gen = np.random.default_rng(seed)
  angle = np.arange(n) * 2 * np.pi / n
  target = np.array([*center, 0.0])
  out = []
  for a in angle:
    offset = np.array([radius[0] * np.cos(a), radius[1] * np.sin(a), 0.5])
    position = target + offset + 0.05 * gen.normal(size=3)
    up = np.array([0.0, 0, 1])
    out.append(poses_lib.viewmatrix(position - target, up, position))
  return np.stack(out)


def assert_rigid(poses):
  """Every pose is a rotation and a position."""
  rotations = poses[:, :, :3]
  np.testing.assert_allclose(
    np.swapaxes(rotations, -1, -2) @ rotations,
    np.broadcast_to(np.eye(3), rotations.shape),
    atol=1e-9,  # float64 rounding
  )
  np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-9)
