"""Which images are compared."""

import numpy as np
import pytest

from multinerf.capture import pairs


def as_set(found):
  """Pairs as a set; they must be different from each other, i < j."""
  listed = [tuple(map(int, p)) for p in found]
  assert len(set(listed)) == len(listed)
  assert all(i < j for i, j in listed)
  return set(listed)


@pytest.mark.parametrize(
  ('num', 'ordered', 'want'),
  [
    (2, False, 'exhaustive'),
    (200, False, 'exhaustive'),
    (201, False, 'similar'),
    (50, True, 'exhaustive'),
    (51, True, 'sequential'),
  ],
)
def test_matching_follows_from_count_and_kind(num, ordered, want):
  assert pairs.choose('auto', num, ordered=ordered) == want
  assert pairs.choose('similar', num, ordered=ordered) == 'similar'


@pytest.mark.parametrize(('num', 'overlap'), [(2, 1), (40, 3), (7, 100)])
def test_sequential_pairs_are_neighbours_and_powers_of_two(num, overlap):
  want = {
    (i, j)
    for i in range(num)
    for j in range(i + 1, num)
    if j - i <= overlap or (j - i) & (j - i - 1) == 0
  }
  assert as_set(pairs.sequential(num, overlap)) == want


def test_similar_pairs_are_nearest_neighbours_either_way():
  gen = np.random.default_rng(0)
  vectors = gen.normal(size=(15, 4))
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  want = set()
  for i in range(15):
    others = sorted(
      (j for j in range(15) if abs(i - j) >= 3),
      key=lambda j, i=i: -(vectors[i] @ vectors[j]),
    )
    want |= {(min(i, j), max(i, j)) for j in others[:2]}
  assert as_set(pairs.similar(vectors, 2, min_gap=3)) == want


@pytest.mark.parametrize('num', [2, 3])
def test_similar_pairs_of_few_images_are_all(num):
  vectors = np.eye(num)
  got = as_set(pairs.similar(vectors, 10))
  assert got == {(i, j) for i in range(num) for j in range(i + 1, num)}
  assert len(pairs.similar(vectors, 10, min_gap=num)) == 0


def test_blocks_reorder_pairs_and_keep_images_together():
  found = np.stack(np.triu_indices(64, 1), axis=1)
  blocked = pairs.by_blocks(found, side=16)
  assert as_set(blocked) == as_set(found)
  seen = [len(np.unique(blocked[i : i + 64])) for i in range(0, 2016, 64)]
  assert np.mean(seen) < 30  # of 64; in the given order it is 62


def test_images_with_common_features_are_nearest(num_places=6):
  # Three images of each place see its 40 features with noise, and 20 others.
  gen = np.random.default_rng(3)
  places = gen.integers(0, 256, (num_places, 40, 128))
  descriptors = []
  for i in range(3 * num_places):
    seen = places[i % num_places] + gen.normal(size=(40, 128)) * 5
    clutter = gen.integers(0, 256, (20, 128))
    both = np.concatenate([seen, clutter])
    descriptors.append(np.clip(both, 0, 255).astype(np.uint8))
  vectors = pairs.describe(descriptors)
  # Unit vectors up to float32.
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
  got = as_set(pairs.similar(vectors, 2))
  want = {
    (i, j)
    for i in range(3 * num_places)
    for j in range(i + 1, 3 * num_places)
    if (j - i) % num_places == 0
  }
  assert got == want
  np.testing.assert_array_equal(vectors, pairs.describe(descriptors))


def test_images_without_features_get_a_zero_vector():
  some = np.random.default_rng(0).integers(0, 256, (30, 128), dtype=np.uint8)
  vectors = pairs.describe([some, some[:0]])
  assert np.isfinite(vectors).all() and not vectors[1].any()
  assert pairs.describe([some[:0], some[:0]]).shape[0] == 2
