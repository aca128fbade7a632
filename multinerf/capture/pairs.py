"""Which pairs of images are compared.

All pairs cost n^2. For many images there are two cheaper ways: neighbours in
time (videos), and neighbours in looks. The latter needs no downloaded
vocabulary: one is learned from the features of these very images.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, Num

from multinerf.capture import settings

_NUM_WORDS = 64
_NUM_ITERATIONS = 10
_SAMPLES_PER_IMAGE = 1000
_TRAINING_SAMPLES = 20_000
# Besides their neighbours in time, the frames of a video are compared with so
# many that look alike, so that a path that returns to a place is closed.
NUM_LOOP_FRAMES = 5


def choose(method: str, num_images: int, *, ordered: bool) -> str:
  """Settles 'auto'.

  Args:
    method: One of `settings.MATCHINGS`; all but 'auto' are returned.
    num_images: How many images there are.
    ordered: Whether names follow the path of the camera (a video).

  Returns:
    'exhaustive' up to `settings.EXHAUSTIVE_LIMIT` photographs (for a video,
    up to a quarter of that: neighbours in time are as good), else
    'sequential' for a video and 'similar' for photographs.
  """
  if method != 'auto':
    return method
  limit = settings.EXHAUSTIVE_LIMIT // (4 if ordered else 1)
  if num_images <= limit:
    return 'exhaustive'
  return 'sequential' if ordered else 'similar'


def sequential(num_images: int, overlap: int) -> Int[np.ndarray, 'm 2']:
  """Pairs i < j that are at most `overlap` apart, or by a power of two.

  The powers of two tie distant parts of a path together at little cost.
  """
  gaps = set(range(1, overlap + 1))
  gaps |= {2**k for k in range(num_images.bit_length())}
  found = [
    (i, i + gap) for gap in sorted(gaps) for i in range(num_images - gap)
  ]
  return np.array(found, np.int64).reshape(-1, 2)


def similar(
  vectors: Float[np.ndarray, 'n d'], num: int, *, min_gap: int = 1
) -> Int[np.ndarray, 'm 2']:
  """Pairs i < j where one is among the `num` nearest of the other.

  Args:
    vectors: One unit vector per image; nearest is largest inner product.
    num: Neighbours of each image; fewer if there are not so many images.
    min_gap: Images whose indices are closer than this are no neighbours.
  """
  count = len(vectors)
  index = np.arange(count)
  alike = vectors @ vectors.T
  alike[np.abs(index[:, None] - index[None]) < max(min_gap, 1)] = -np.inf
  nearest = np.argsort(-alike, axis=1, kind='stable')[:, :num]
  first = np.repeat(index, nearest.shape[1])
  pairs = np.stack([first, nearest.ravel()], axis=1)
  return union(pairs[np.isfinite(alike[pairs[:, 0], pairs[:, 1]])])


def union(*pair_lists: Int[np.ndarray, '_ 2']) -> Int[np.ndarray, 'm 2']:
  """All pairs as i < j, each once, sorted."""
  pairs = np.sort(np.concatenate(pair_lists), axis=1)
  return np.unique(pairs, axis=0)


def by_blocks(
  pairs: Int[np.ndarray, 'm 2'], side: int = 16
) -> Int[np.ndarray, 'm 2']:
  """Reorders pairs so that consecutive ones are of few different images.

  The features of an image are then read from disk a few times instead of once
  per pair.
  """
  order = np.lexsort((*(pairs % side).T, *(pairs // side).T))
  return pairs[order]


def describe(
  descriptors: Sequence[Num[np.ndarray, '_ d']], seed: int = 0
) -> Float32[np.ndarray, 'n e']:
  """One unit vector per image, close where images share features.

  Vector of locally aggregated descriptors (VLAD; Jegou et al. 2010,
  doi:10.1109/CVPR.2010.5540039) with the intra-normalisation of Arandjelovic
  and Zisserman 2013 (doi:10.1109/CVPR.2013.207): per visual word the sum of
  what its features differ from it, each sum of unit length.

  Args:
    descriptors: Per image, its local descriptors; may be empty.
    seed: Which features are sampled.

  Returns:
    Unit vectors; zero for an image without features.
  """
  gen = np.random.default_rng(seed)
  samples = [_sample(np.asarray(d), gen) for d in descriptors]
  pool = np.concatenate(samples)
  if not len(pool):
    return np.zeros((len(samples), 1), np.float32)
  if len(pool) > _TRAINING_SAMPLES:
    pool = pool[gen.choice(len(pool), _TRAINING_SAMPLES, replace=False)]
  words = _cluster(pool, gen)
  return np.stack([_aggregate(s, words) for s in samples])


def _sample(values: np.ndarray, gen: np.random.Generator) -> np.ndarray:
  """At most _SAMPLES_PER_IMAGE rows, each of unit length."""
  if len(values) > _SAMPLES_PER_IMAGE:
    values = values[gen.choice(len(values), _SAMPLES_PER_IMAGE, replace=False)]
  values = values.astype(np.float32)
  length = np.linalg.norm(values, axis=1, keepdims=True)
  return values / np.maximum(length, np.finfo(np.float32).tiny)


def _cluster(pool: np.ndarray, gen: np.random.Generator) -> np.ndarray:
  """Centres of k-means (Lloyd's iterations from random rows)."""
  num_words = min(_NUM_WORDS, len(pool))
  words = pool[gen.choice(len(pool), num_words, replace=False)]
  for _ in range(_NUM_ITERATIONS):
    label = _nearest(pool, words)
    count = np.bincount(label, minlength=num_words)
    total = np.zeros_like(words)
    np.add.at(total, label, pool)
    kept = count > 0  # an empty cluster stays where it is
    words[kept] = total[kept] / count[kept, None]
  return words


def _nearest(x: np.ndarray, words: np.ndarray) -> np.ndarray:
  """Index of the word closest to each row."""
  return np.argmin((words**2).sum(1) - 2 * x @ words.T, axis=1)


def _aggregate(values: np.ndarray, words: np.ndarray) -> np.ndarray:
  """The VLAD vector of one image."""
  label = _nearest(values, words)
  total = np.zeros_like(words)
  np.add.at(total, label, values - words[label])
  length = np.linalg.norm(total, axis=1, keepdims=True)
  total /= np.maximum(length, np.finfo(np.float32).tiny)
  used = np.count_nonzero(length)
  return total.ravel() / np.sqrt(max(used, 1)).astype(np.float32)
