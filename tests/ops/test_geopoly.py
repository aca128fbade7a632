"""Tests of geopoly."""

import golden_util
import numpy as np
import pytest

from multinerf import errors
from multinerf.ops import geopoly

SHAPES = ['tetrahedron', 'octahedron', 'icosahedron']


@pytest.mark.parametrize('shape', ['icosahedron', 'octahedron'])
@pytest.mark.parametrize('parts', [1, 2, 3, 4])
@pytest.mark.parametrize('unique', [0, 1])
def test_basis_matches_the_reference_in_order_and_sign(
  golden, shape, parts, unique
):
  data = golden('geopoly').case('generate_basis', f'{shape}_{parts}_rs{unique}')
  got = geopoly.generate_basis(**golden_util.case_params(data))
  # Both are float64; trained weights depend on the order of the columns.
  np.testing.assert_allclose(got, data['out'], rtol=0, atol=1e-12)


@pytest.mark.parametrize('parts', [1, 2, 3, 5])
def test_tesselation_weights_match_the_reference(golden, parts):
  data = golden('geopoly').case('compute_tesselation_weights', f'v{parts}')
  got = geopoly.compute_tesselation_weights(parts)
  np.testing.assert_allclose(got, data['out'], rtol=0, atol=1e-15)


@pytest.mark.parametrize('case', ['ab', 'aa'])
def test_squared_distances_match_the_reference(golden, case):
  data = golden('geopoly').case('compute_sq_dist', case)
  args = [data[f'in_{name}'] for name in golden_util.case_args(data)]
  # The reference expands |a-b|^2 and so loses digits; float64.
  np.testing.assert_allclose(
    geopoly.compute_sq_dist(*args), data['out'], rtol=1e-10, atol=1e-12
  )


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('parts', [1, 2, 3])
def test_vectors_are_distinct_unit_and_without_opposites(shape, parts):
  basis = geopoly.generate_basis(shape, parts)
  np.testing.assert_allclose(np.linalg.norm(basis, axis=-1), 1, atol=1e-12)
  cosines = basis @ basis.T - 2 * np.eye(len(basis))
  assert np.abs(cosines[~np.eye(len(basis), dtype=bool)]).max() < 1 - 1e-3


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('parts', [1, 2, 3])
def test_all_corners_follow_eulers_formula(shape, parts):
  # V - E + F = 2 with F = faces * v^2 triangles and 2 E = 3 F.
  faces = {'tetrahedron': 4, 'octahedron': 8, 'icosahedron': 20}[shape]
  basis = geopoly.generate_basis(shape, parts, remove_symmetries=False)
  assert len(basis) == 2 + faces * parts**2 // 2


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('parts', [1, 2])
def test_directions_are_isotropic(shape, parts):
  # sum p p^T is a multiple of I by symmetry, so the projected variances of any
  # isotropic Gaussian are equal and those of any Gaussian sum to n/3 trace.
  basis = geopoly.generate_basis(shape, parts)
  want = len(basis) / 3 * np.eye(3)
  np.testing.assert_allclose(basis.T @ basis, want, atol=1e-12)


def test_tetrahedron_itself_keeps_all_four_corners():
  assert geopoly.generate_basis('tetrahedron', 1).shape == (4, 3)


def test_preset_of_mip_nerf_360_has_21_directions():
  assert geopoly.generate_basis('icosahedron', 2).shape == (21, 3)


def test_unknown_shape_names_the_known_ones():
  with pytest.raises(errors.ConfigError, match='icosahedron.*basis_shape'):
    geopoly.generate_basis('cube', 1)


def test_zero_parts_are_refused():
  with pytest.raises(errors.ConfigError, match='basis_subdivisions'):
    geopoly.generate_basis('octahedron', 0)
