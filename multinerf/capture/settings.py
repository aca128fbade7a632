"""The options of `multinerf-process`, checked once."""

import dataclasses

from multinerf import errors

CAMERA_MODELS = (
  'SIMPLE_PINHOLE',
  'PINHOLE',
  'SIMPLE_RADIAL',
  'RADIAL',
  'OPENCV',
  'OPENCV_FISHEYE',
)
CAMERA_MODES = ('auto', 'single', 'per_image')
MATCHINGS = ('auto', 'exhaustive', 'sequential', 'similar')
# Most pairs that `auto` matches all: 200 images make 19900 of them.
EXHAUSTIVE_LIMIT = 200
# (option, least value, greatest value).
_RANGES = (
  ('num_frames', 2, 100_000),
  ('max_image_size', 64, 100_000),
  ('max_num_features', 128, 1_000_000),
  ('overlap', 1, 1000),
  ('num_similar', 1, 10_000),
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """What a user may choose.

  Attributes:
    num_frames: Frames taken from a video, at least 2; all if it has fewer.
    max_image_size: Features are found on images whose longer side is at most
      this many pixels; the images themselves keep their size.
    max_num_features: At most so many features of an image.
    camera_model: COLMAP's name of the lens model, one of CAMERA_MODELS.
    camera_mode: Which images share intrinsics: 'auto': those of equal size
      and equal EXIF camera and focal length; 'single': all; 'per_image': none.
    matching: Which pairs of images are compared, one of MATCHINGS; see
      `pairs.choose`.
    overlap: Sequential matching compares each image with so many next ones.
    num_similar: Similarity matching compares each image with so many others.
    factors: Smaller copies to make, each side divided by these.
    num_threads: -1: as many as there are cores.
    seed: Of COLMAP's random choices, >= 0.
    keep_database: Whether COLMAP's database stays in the result.

  Raises:
    ConfigError: A value is not one of those allowed.
  """

  num_frames: int = 200
  max_image_size: int = 1600
  max_num_features: int = 8192
  camera_model: str = 'OPENCV'
  camera_mode: str = 'auto'
  matching: str = 'auto'
  overlap: int = 10
  num_similar: int = 30
  factors: tuple[int, ...] = (2, 4, 8)
  num_threads: int = -1
  seed: int = 0
  keep_database: bool = False

  def __post_init__(self):
    for name, known in (
      ('camera_model', CAMERA_MODELS),
      ('camera_mode', CAMERA_MODES),
      ('matching', MATCHINGS),
    ):
      if getattr(self, name) not in known:
        raise errors.ConfigError(
          f'--{name}={getattr(self, name)} is not one of {", ".join(known)}.'
        )
    for name, least, greatest in _RANGES:
      if not least <= getattr(self, name) <= greatest:
        raise errors.ConfigError(
          f'--{name}={getattr(self, name)} is not in {least} .. {greatest}.'
        )
    if self.num_threads < 1 and self.num_threads != -1:
      raise errors.ConfigError(
        f'--num_threads={self.num_threads} is neither -1 (all cores) nor >= 1.'
      )
    if not 0 <= self.seed < 2**31:
      raise errors.ConfigError(f'--seed={self.seed} is not in 0 .. 2^31 - 1.')
    if any(not 2 <= f <= 64 for f in self.factors):
      raise errors.ConfigError(
        f'--factors={",".join(map(str, self.factors))}: each must be in 2 .. 64.'
      )
