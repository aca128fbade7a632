"""The data that travels between layers, and the letters it is written in.

The table of letters, the same everywhere in the package (shapes lead with any
batch shape, written `*batch`; n counts intervals or samples along one ray):

| letter | meaning | shape |
|---|---|---|
| `t` (`tdist`) | metric interval endpoints, in units of the length of `directions` | [..., n+1] |
| `s` (`sdist`) | the same, normalised to [0, 1] by the ray warp | [..., n+1] |
| `w` (`weights`) | probability that the ray ends in each interval, sum <= 1 | [..., n] |
| `p` | probability density over `t` or `s`, w / (t[1:] - t[:-1]) | [..., n] |
| `means`, `covs` | Gaussians that stand for the intervals' frusta | [..., n, 3], [..., n, 3, 3] |
| `o`, `d`, `viewdirs` | ray origin, direction (not normalised), unit direction | [..., 3] |
| `key`, `keys` | a JAX random key, one per ray; consumed, never reused | [...] |
| `camtoworld` | camera-to-world pose, OpenGL axes (x right, y up, z backwards) | [..., 3, 4] |
| `pixtocam` | inverse intrinsic matrix, OpenCV axes (x right, y down, z forwards) | [..., 3, 3] |

Scalars attached to a ray keep a trailing axis of 1, as in the MultiNeRF code
whose field names these are (`internal/utils.py`, google-research/multinerf).
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import flax.struct
from jaxtyping import Array, Float, Int, Num, UInt

# The fields of the structures below are annotated `Any`: `jax.tree.map` fills
# them with whatever it likes (shapes, shardings, host arrays, None). Functions
# that take their arrays apart carry the checked shape annotations.
Params = Mapping[str, Any]  # a linen parameter tree


@flax.struct.dataclass
class Pixels:
  """Which pixels of which cameras to cast rays through.

  This, with 8-bit colours, is all that crosses from host to device for a
  training step; rays are made there (`cameras.projection.cast_ray_batch`).

  Attributes:
    pix_x_int: [...] integer column, x to the right.
    pix_y_int: [...] integer row, y downwards.
    cam_idx: [..., 1] index into the leading axis of `Cameras`.
    lossmult: [..., 1] or [..., 3] weight >= 0 in the data loss.
    near, far: [..., 1] ray parameter bounds.
    exposure_idx: [..., 1] index of the exposure setting (RawNeRF).
    exposure_values: [..., 1] relative exposure > 0.

  The last five are None where the camera's own value is meant (`Cameras`).
  """

  pix_x_int: Any
  pix_y_int: Any
  cam_idx: Any
  lossmult: Any = None
  near: Any = None
  far: Any = None
  exposure_idx: Any = None
  exposure_values: Any = None


@flax.struct.dataclass
class Rays:
  """Rays in world space (or in NDC), ready for the model.

  Attributes:
    origins: [..., 3] camera centres (or NDC near-plane points).
    directions: [..., 3], not normalised: t is depth along the optical axis.
    viewdirs: [..., 3] unit directions in world space, also under NDC.
    radii: [..., 1] cone radius at unit t.
    imageplane: [..., 2] position on the plane z = -1 of the camera.
    lossmult: [..., 1] or [..., 3] weight in the data loss; None means 1.
    near, far: [..., 1] bounds of t.
    cam_idx: [..., 1] int, which camera.
    exposure_idx, exposure_values: [..., 1] or None, see `Pixels`.
  """

  origins: Any
  directions: Any
  viewdirs: Any
  radii: Any
  imageplane: Any
  near: Any
  far: Any
  cam_idx: Any
  lossmult: Any = None
  exposure_idx: Any = None
  exposure_values: Any = None


@flax.struct.dataclass
class Batch:
  """Pixels to train on, with what the images hold there.

  Attributes:
    pixels: Where the values were taken; rays are cast from it in the step.
    rays: Rays that the loader has already cast, instead of `pixels`.
    rgb: [..., C] as stored: uint8, uint16 or float32 in [0, 1], C = 3 or 4;
      `ops.color.decode_rgb` turns it into float RGB over white.
    disps: [...] float32 true disparity, or None.
    normals: [..., 3] float32 true world-space normals, or None.
    alphas: [...] float32 true opacity, or None.
    depths: [...] float32 measured ray parameter t, or None.
    depth_weights: [...] float32 trust in `depths` >= 0, 0 where unknown; None
      with `depths`.
  """

  pixels: Any = None
  rays: Any = None
  rgb: Any = None
  disps: Any = None
  normals: Any = None
  alphas: Any = None
  depths: Any = None
  depth_weights: Any = None


@flax.struct.dataclass
class FieldOutput:
  """What a field (an MLP, a grid) says about each sample.

  Attributes:
    density: [..., n] volume density sigma >= 0, 1 / world unit.
    rgb: [..., n, 3] colour, or None where a proposal has none.
    raw_grad_density: [..., n, 3] gradient of the raw density, or None.
    grad_pred: [..., n, 3] the network's own guess of it, or None.
    normals: [..., n, 3] unit vectors against the density gradient, or None.
    normals_pred: [..., n, 3] predicted unit normals, or None.
    roughness: [..., n, 1] Ref-NeRF's inverse concentration, or None.
  """

  density: Any
  rgb: Any = None
  raw_grad_density: Any = None
  grad_pred: Any = None
  normals: Any = None
  normals_pred: Any = None
  roughness: Any = None


@flax.struct.dataclass
class Level:
  """One sampling level of a batch of rays, for losses and ray plots.

  Attributes:
    sdist, tdist: [..., n+1] endpoints, normalised and metric.
    weights: [..., n] termination probabilities.
    field: The field's output at the n intervals.
  """

  sdist: Any
  tdist: Any
  weights: Any
  field: Any


@flax.struct.dataclass
class Rendering:
  """Per-ray results of one level. `None` where not asked for.

  Attributes:
    rgb: [..., 3] composited colour over the background; None at levels of
      Zip-NeRF that have no colours.
    acc: [...] total weight in [0, 1].
    distance_mean: [...] geometric mean of t, clipped to the ray's bounds.
    distance_percentile_5, distance_median, distance_percentile_95: [...]
      percentiles of the ray's termination distance t.
    normals, normals_pred: [..., 3] composited, not re-normalised.
    roughness: [..., 1] composited.
  """

  rgb: Any
  acc: Any = None
  distance_mean: Any = None
  distance_percentile_5: Any = None
  distance_median: Any = None
  distance_percentile_95: Any = None
  normals: Any = None
  normals_pred: Any = None
  roughness: Any = None


@runtime_checkable
class Field(Protocol):
  """What a sampling level asks about the points on its rays."""

  def __call__(
    self,
    keys: Array | None,
    samples: Any,
    *,
    viewdirs: Float[Array, '*batch 3'] | None = None,
    imageplane: Float[Array, '*batch 2'] | None = None,
    glo_vec: Float[Array, '*batch g'] | None = None,
  ) -> FieldOutput:
    """Evaluates the field.

    Args:
      keys: One key per ray; None: no noise.
      samples: `ops.frustum.Samples`: `.means` [..., n, 3], `.covs`, ...
      viewdirs: Unit view directions.
      imageplane: Positions on the image plane.
      glo_vec: Appearance codes.
    """
    ...


__all__ = [
  'Array',
  'Batch',
  'Field',
  'FieldOutput',
  'Float',
  'Int',
  'Level',
  'Num',
  'Params',
  'Pixels',
  'Rays',
  'Rendering',
  'UInt',
]
