"""Quaternions and rigid motions against scipy's rotations and exponentials."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.transform import Rotation

from multinerf.ops import quaternion, rigid_body

# Half turns, tiny ones and nothing among them.
VECTORS = np.array(
  [
    [0, 0, 0],
    [1e-20, 0, 0],
    [1e-6, -2e-6, 0],
    [0.05, 0.1, 0.02],
    [0.3, 0.4, 0.1],
    [0, 1.0, -2.0],
    [0, 0, np.pi - 1e-3],
    [-1.8, 1.6, 1.9],
  ]
)
BATCH = jnp.asarray(VECTORS.reshape(2, 4, 3), jnp.float32)
MATRICES = Rotation.from_rotvec(VECTORS).as_matrix().reshape(2, 4, 3, 3)


def close(got, want, atol=3e-6):
  np.testing.assert_allclose(got, want, atol=atol, rtol=0)


def same_rotations(q, vectors, atol=3e-6):
  want = Rotation.from_rotvec(vectors).as_quat().reshape(q.shape)
  agree = np.abs(np.sum(np.asarray(q) * want, axis=-1))
  close(np.linalg.norm(q, axis=-1), 1.0)
  close(agree, 1.0, atol)


def test_rotation_vectors_matrices_and_quaternions_are_those_of_scipy():
  @jax.jit
  def convert(v, m):
    q = quaternion.from_axis_angle(v)
    back = quaternion.to_axis_angle(q)
    from_m = quaternion.from_rotation_matrix(m)
    return q, back, quaternion.to_rotation_matrix(q), from_m

  q, back, matrices, from_m = convert(BATCH, jnp.asarray(MATRICES, jnp.float32))
  same_rotations(q, VECTORS)
  same_rotations(from_m, VECTORS)
  close(back, BATCH)
  close(matrices, MATRICES)
  # Quaternions of any length stand for rotations of the same matrix.
  long = jax.jit(quaternion.to_rotation_matrix)(3.0 * q)
  close(long, MATRICES)


@pytest.mark.slow
@pytest.mark.parametrize('axis', range(3))
def test_half_turns_have_quaternions(axis):
  m = -np.eye(3, dtype=np.float32)
  m[axis, axis] = 1
  q = jax.jit(quaternion.from_rotation_matrix)(jnp.asarray(m))
  close(q, np.eye(4)[axis])


@pytest.mark.slow
def test_products_and_inverses_compose_rotations():
  a, b = (Rotation.from_rotvec(VECTORS[k]) for k in (slice(0, 4), slice(4, 8)))
  q1, q2 = (jnp.asarray(r.as_quat(), jnp.float32) for r in (a, b))
  v = jnp.float32([[0.3, -1.0, 2.0]])

  @jax.jit
  def combine(q1, q2, v):
    both = quaternion.multiply(q1, q2)
    undone = quaternion.multiply(quaternion.inverse(2.0 * q1), 2.0 * q1)
    return both, undone, quaternion.rotate(q1, v), quaternion.normalize(q1 * 4)

  both, undone, turned, unit = combine(q1, q2, v)
  agree = np.abs(np.sum(np.asarray(both) * (a * b).as_quat(), -1))
  close(agree, 1.0)
  close(undone, np.tile(quaternion.identity(), (4, 1)))
  close(turned, a.apply(np.asarray(v)[0]), 1e-5)
  close(unit, q1)
  i, j, k, one = jnp.eye(4)
  close(quaternion.multiply(i, j), k)
  close(quaternion.multiply(k, k), -one)
  close(quaternion.conjugate(i + one), one - i)


@pytest.mark.slow
def test_exponential_and_logarithm_of_quaternions_are_inverse():
  gen = np.random.default_rng(0)
  q = jnp.asarray(gen.normal(size=(5, 4)), jnp.float32)
  back = jax.jit(lambda q: quaternion.exp(quaternion.log(q)))(q)
  close(back, q, 1e-5)
  # Series of the exponential, with Hamilton's product as a 4x4 matrix.
  x, y, z, w = np.asarray(q[0], np.float64) / 2
  left = np.array(
    [[w, -z, y, x], [z, w, -x, y], [-y, x, w, z], [-x, -y, -z, w]]
  )
  want = scipy.linalg.expm(left)[:, 3]
  close(jax.jit(quaternion.exp)(q[0] / 2), want, 1e-5)
  pure = jax.jit(quaternion.exp)(q[1, :3])
  close(pure, jax.jit(quaternion.exp)(q[1].at[3].set(0.0)))


def test_exponentials_of_rotations_are_those_of_matrices():
  exp, log = jax.jit(rigid_body.exp_so3), jax.jit(rigid_body.log_so3)
  got = exp(BATCH)
  close(got, MATRICES)
  close(log(got), BATCH, 3e-4)  # near a half turn the angle is ill determined
  skewed = jax.jit(rigid_body.skew)(BATCH[1, 1])
  close(scipy.linalg.expm(np.asarray(skewed, np.float64)), MATRICES[1, 1])
  close(rigid_body.unskew(skewed), BATCH[1, 1])
  close(skewed @ BATCH[0, 3], np.cross(BATCH[1, 1], BATCH[0, 3]))


@pytest.mark.slow
def test_exponentials_of_screws_are_those_of_matrices():
  gen = np.random.default_rng(1)
  screws = np.concatenate([VECTORS, gen.normal(size=(8, 3))], -1)
  got = jax.jit(rigid_body.exp_se3)(jnp.asarray(screws, jnp.float32))
  for screw, transform in zip(screws, got, strict=True):
    x, y, z, *v = screw
    algebra = np.zeros((4, 4))
    algebra[:3] = np.array([[0, -z, y, 0], [z, 0, -x, 0], [-y, x, 0, 0]])
    algebra[:3, 3] = v
    close(transform, scipy.linalg.expm(algebra), 1e-5)
  close(jax.jit(rigid_body.log_se3)(got), screws, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
  'fn',
  [rigid_body.exp_so3, lambda w: rigid_body.log_so3(rigid_body.exp_so3(w))],
)
def test_gradients_at_and_near_no_rotation_are_right(fn):
  jac, at = jax.jit(jax.jacfwd(fn)), jax.jit(lambda v: fn(jnp.float32(v)))
  for v in np.float32([[0, 0, 0], [1e-6, 0, 0], [0.4, 0.2, -0.1]]):
    got = jac(jnp.asarray(v))
    step = 1e-3
    want = np.stack(
      [(at(v + d) - at(v - d)) / (2 * step) for d in step * np.eye(3)], -1
    )
    close(got, want, 1e-3)  # differences in float32


@pytest.mark.slow
def test_similarities_are_taken_apart():
  s = jnp.float32([[0.5, 2.0, 1.0, 7.0], [1e-3, 3.0, 1.0, 1.0]])
  transform = jax.jit(rigid_body.rts_to_sim3)(
    jnp.asarray(MATRICES, jnp.float32), BATCH, s
  )
  r, t, scale = jax.jit(rigid_body.sim3_to_rts)(transform)
  close(r, MATRICES)
  close(t, BATCH)
  np.testing.assert_allclose(scale, s, rtol=1e-6)
  close(transform[0, 1, :3, :3], 2.0 * MATRICES[0, 1])
  close(transform[..., 3, :], np.broadcast_to([0, 0, 0, 1], (2, 4, 4)))


@pytest.mark.slow
def test_six_numbers_make_a_rotation_whatever_they_are():
  matrices = jnp.asarray(MATRICES, jnp.float32)
  six = rigid_body.ortho6d_from_rotation_matrix(matrices)
  back = jax.jit(rigid_body.rotation_matrix_from_ortho6d)
  close(back(six), MATRICES)
  rough = back(jnp.float32([2.0, 0, 0, 1.0, 3.0, 0.0]))
  close(rough, np.eye(3))


@pytest.mark.slow
def test_distance_of_rotations_is_the_angle_between_them():
  a = Rotation.from_rotvec(VECTORS)
  for degrees in (0.0, 0.01, 30.0, 179.9):
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0, 0.8]))
    got = jax.jit(rigid_body.rotation_distance)(
      jnp.asarray(a.as_matrix(), jnp.float32),
      jnp.asarray((a * turn).as_matrix(), jnp.float32),
    )
    # Entries with errors of 6e-8 are angles with errors of 4e-6 degrees; near
    # a half turn the cosine of the half angle is small, and its root amplifies.
    np.testing.assert_allclose(
      got, degrees, atol=1e-4 if degrees < 90 else 0.05
    )
