"""Directions spread evenly over the sphere: tessellated regular polyhedra.

The columns of these bases are what encodings project points on; weights of a
trained network refer to them by position, so order and sign are part of the
file format (they equal those of google-research/multinerf's `geopoly.py`).
"""

import numpy as np
from jaxtyping import Float, Int

from multinerf import errors


def compute_sq_dist(
  mat0: Float[np.ndarray, 'd n'],
  mat1: Float[np.ndarray, 'd m'] | None = None,
) -> Float[np.ndarray, 'n m']:
  """Squared distances between columns of `mat0` and `mat1` (or itself)."""
  mat1 = mat0 if mat1 is None else mat1
  return np.sum((mat0[:, :, None] - mat1[:, None, :]) ** 2, axis=0)


def compute_tesselation_weights(v: int) -> Float[np.ndarray, 'n 3']:
  """Barycentric coordinates of the points that cut each edge in v parts.

  Args:
    v: Number of parts, at least 1; there are (v+1)(v+2)/2 points.

  Raises:
    ConfigError: v < 1.
  """
  if v < 1:
    raise errors.ConfigError(
      f'A triangle cannot be cut in {v} parts; at least 1 is needed '
      '(gin: NerfMLP.basis_subdivisions).'
    )
  rows = [(i, j, v - i - j) for i in range(v + 1) for j in range(v + 1 - i)]
  return np.array(rows, np.float64) / v


def tesselate_geodesic(
  base_verts: Float[np.ndarray, 'b 3'],
  base_faces: Int[np.ndarray, 'f 3'],
  v: int,
  eps: float = 1e-4,
) -> Float[np.ndarray, 'n 3']:
  """Cuts every face into v*v triangles and pushes the corners on the sphere.

  Args:
    base_verts: Unit vectors.
    base_faces: Triples of rows of base_verts.
    v: Parts per edge.
    eps: Points closer than sqrt(eps) are one point; the first one stays.

  Returns:
    Distinct unit vectors, in order of first appearance, face by face.
  """
  weights = compute_tesselation_weights(v)
  verts = np.concatenate([weights @ base_verts[face] for face in base_faces])
  verts /= np.linalg.norm(verts, axis=-1, keepdims=True)
  first_same = np.argmax(compute_sq_dist(verts.T) <= eps, axis=-1)
  return verts[np.unique(first_same)]


def _tetrahedron() -> tuple[np.ndarray, np.ndarray]:
  """Vertices, one on an axis, and faces."""
  a, b, c = np.sqrt(8) / 3, np.sqrt(2) / 3, np.sqrt(2 / 3)
  z = -1 / 3
  verts = np.array([(z, 0, a), (z, c, -b), (z, -c, -b), (1, 0, 0)])
  return verts, np.array([(0, 1, 2), (0, 2, 3), (0, 1, 3), (1, 2, 3)])


def _octahedron() -> tuple[np.ndarray, np.ndarray]:
  """Vertices -x, x, -y, y, -z, z, and one face per octant."""
  verts = np.repeat(np.eye(3), 2, axis=0) * np.tile([-1, 1], 3)[:, None]
  faces = ['024', '125', '034', '134', '025', '124', '035', '135']
  return verts, np.array([[int(i) for i in face] for face in faces])


def _icosahedron() -> tuple[np.ndarray, np.ndarray]:
  """Corners of three golden rectangles, and the classic table of faces."""
  # Numbering and order of faces are those of the OpenGL Programming Guide
  # ("red book", ch. 2, x and z exchanged), as in the reference.
  a, b = np.sqrt([(5 + np.sqrt(5)) / 10, (5 - np.sqrt(5)) / 10])
  verts = [
    (a, 0, -b), (a, 0, b), (-a, 0, -b), (-a, 0, b),
    (b, a, 0), (-b, a, 0), (b, -a, 0), (-b, -a, 0),
    (0, b, a), (0, b, -a), (0, -b, a), (0, -b, -a),
  ]  # fmt: skip
  faces = [
    (0, 4, 1), (0, 9, 4), (9, 5, 4), (4, 5, 8), (4, 8, 1),
    (8, 10, 1), (8, 3, 10), (5, 3, 8), (5, 2, 3), (2, 7, 3),
    (7, 10, 3), (7, 6, 10), (7, 11, 6), (11, 0, 6), (0, 1, 6),
    (6, 1, 10), (9, 0, 11), (9, 11, 2), (9, 2, 5), (7, 2, 11),
  ]  # fmt: skip
  return np.array(verts), np.array(faces)


_SHAPES = {
  'tetrahedron': _tetrahedron,
  'octahedron': _octahedron,
  'icosahedron': _icosahedron,
}


def generate_basis(
  base_shape: str,
  angular_tesselation: int,
  remove_symmetries: bool = True,
  eps: float = 1e-4,
) -> Float[np.ndarray, 'n 3']:
  """Unit vectors at the corners of a tessellated regular polyhedron.

  Args:
    base_shape: 'tetrahedron', 'octahedron' or 'icosahedron'.
    angular_tesselation: Number of parts each edge is cut into, at least 1.
    remove_symmetries: Keep only the first of each pair of opposite vectors:
      projecting on both would make redundant features. Every corner of the
      tetrahedron itself stays, none has an opposite.
    eps: Squared distance below which vectors are equal.

  Returns:
    Directions as *rows*; encodings use the transpose. float64. For the presets
    of mip-NeRF 360, ('icosahedron', 2), there are 21.

  Raises:
    ConfigError: Unknown shape or a tessellation below 1.
  """
  if base_shape not in _SHAPES:
    raise errors.ConfigError(
      f'base_shape {base_shape!r} not supported; known: '
      f'{", ".join(_SHAPES)} (gin: NerfMLP.basis_shape, PropMLP.basis_shape).'
    )
  verts, faces = _SHAPES[base_shape]()
  verts = tesselate_geodesic(verts, faces, angular_tesselation, eps)
  if remove_symmetries:
    opposite = compute_sq_dist(verts.T, -verts.T) < eps
    verts = verts[~np.any(np.tril(opposite, -1), axis=-1)]
  return verts
