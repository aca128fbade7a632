"""Options of `Config` that concern evaluation and rendering, by topic.

See `options_train` for where names and defaults come from.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp

from multinerf.config.option import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalOptions:
  """Evaluation."""

  eval_only_once: bool = option(
    True,
    'Evaluate the newest checkpoint and exit; False: wait for new ones and '
    'also write TensorBoard files.',
  )
  eval_checkpoint_wait_timeout_sec: float = option(
    math.inf,
    'Give up after waiting this many seconds for a checkpoint; gin has no '
    'inf, write 1e999. New here.',
    ge=0,
  )
  eval_save_output: bool = option(True, 'Write images and metric files.')
  eval_save_ray_data: bool = option(
    False, 'Write ray_data_*.txt for the showcase images.'
  )
  eval_render_interval: int = option(
    1, 'Write every N-th image; 0 for none. Metrics cover all.', ge=0
  )
  eval_dataset_limit: int = option(
    2**31 - 1, 'Use only the first N test images.', ge=1
  )
  eval_quantize_metrics: bool = option(
    True, 'Round predictions to 8 bits before metrics.'
  )
  eval_crop_borders: int = option(
    0, 'Pixels to crop on each side before metrics.', ge=0
  )
  eval_raw_affine_cc: bool = option(
    False,
    'Colour-corrected metrics fit one affine map per channel instead of a '
    'quadratic one.',
  )
  num_showcase_images: int = option(
    5, 'Test images shown in TensorBoard (eval_only_once = False).', ge=0
  )
  deterministic_showcase: bool = option(True, 'Show the same images each time.')
  vis_num_rays: int = option(
    16,
    'Rays of each showcase image in ray plots and ray_data_*.txt; 0: none.',
    ge=0,
  )
  vis_decimate: int = option(
    0, 'Keep every N-th pixel of TensorBoard images, if over 1.', ge=0
  )
  lpips_weights: str | None = option(
    None, 'File with LPIPS weights; None: no LPIPS. New here.'
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderOptions:
  """Rendering and videos."""

  render_dir: str | None = option(
    None, 'Folder for renderings; None: <checkpoint_dir>/render.'
  )
  render_chunk_size: int = option(
    16384, 'Rays per forward pass over all devices.', ge=1
  )
  render_compute_dtype: Literal['', 'float32', 'bfloat16'] = option(
    '',
    'Arithmetic of the dense layers when rendering; empty: as in training. '
    'New here.',
  )
  render_empty_below: float = option(
    0.0,
    'Rays whose opacity by the proposals is below this show the background '
    'without being rendered by the last level; 0: none. New here.',
    ge=0,
    le=1,
  )
  render_rgb_only: bool = option(
    False,
    'Render colours alone, without distances, opacity and normals. New here.',
  )
  render_path: bool = option(
    False, 'Render along a camera path instead of at the test cameras.'
  )
  render_path_frames: int = option(120, 'Frames of the automatic path.', ge=1)
  render_path_file: str | None = option(
    None, '.npy file of [n, 3, 4] camera-to-world poses: the path to use.'
  )
  z_variation: float = option(
    0.0,
    'Height change along an ellipse path, relative to the heights of '
    'the cameras.',
  )
  z_phase: float = option(0.0, 'Phase of that change, in turns.')
  rad_mult_min: float = option(
    1.0,
    'An ellipse path breathes: its radii are multiplied by numbers from this '
    "to rad_mult_max, a quarter of a turn after the start. camp_zipnerf's.",
    gt=0,
  )
  rad_mult_max: float = option(1.0, "See rad_mult_min. camp_zipnerf's.", gt=0)
  render_rotate_xaxis: float = option(
    0.0,
    'Degrees by which the cameras of an ellipse path look up from its centre. '
    "camp_zipnerf's.",
  )
  render_rotate_yaxis: float = option(
    0.0, "Degrees by which they look to the right of it. camp_zipnerf's."
  )
  lock_up: bool = option(
    False,
    'Keep the cameras of an ellipse path upright, instead of aimed at its '
    "centre. camp_zipnerf's.",
  )
  render_resolution: tuple[int, int] | None = option(
    None, 'Width and height in pixels; None: those of the data.', gt=0
  )
  render_focal: float | None = option(
    None, 'Focal length in pixels; None: that of the data.', gt=0
  )
  render_camtype: Literal['perspective', 'fisheye', 'pano'] | None = option(
    None, 'Camera model; None: that of the data.'
  )
  render_spherical: bool = option(False, 'Has no effect.')
  render_video_fps: int = option(60, 'Frames per second.', ge=1)
  render_video_crf: int = option(
    18,
    "ffmpeg's constant rate factor; lower is better and larger.",
    ge=0,
    le=63,
  )
  render_video_exts: tuple[Literal['mp4', 'webm', 'gif'], ...] = option(
    ('mp4',), "Formats of the videos, each is written. camp_zipnerf's."
  )
  render_dist_percentile: float = option(
    0.5,
    'Depth colours span the percentiles [p, 100 - p] of the first frame.',
    ge=0,
    lt=50,
  )
  render_dist_curve_fn: Callable[..., Any] = option(
    jnp.log, 'Curve applied to depth before colouring.'
  )
  render_dist_vis_params: dict[str, float] | None = option(
    None,
    "'p' and 'premult' of a power ladder that takes the place of "
    "render_dist_curve_fn. camp_zipnerf's.",
  )
  render_dist_adaptive: bool = option(
    True,
    'Depth colours span percentiles of the first frame (render_dist_percentile)'
    "; False: they go from near to far. camp_zipnerf's.",
  )
  render_job_id: int = option(0, 'Which of render_num_jobs jobs this is.', ge=0)
  render_num_jobs: int = option(
    1, 'Jobs that share the frames: job i renders frames i, i + n, ...', ge=1
  )
  render_save_async: bool = option(True, 'Write files from threads.')
  render_spline_keyframes: str | None = option(
    None, 'Folder or text file with the names of the key-frame images.'
  )
  render_spline_keyframes_choices: str | None = option(
    None,
    'Several of them with commas between, instead; each is rendered into a '
    "folder of its name in render_dir. camp_zipnerf's.",
  )
  render_spline_n_interp: int = option(
    30, 'Frames between two key frames.', ge=1
  )
  render_spline_degree: int = option(
    5, 'B-spline degree; at most the number of key frames - 1.', ge=1
  )
  render_spline_smoothness: float = option(
    0.03, 'Spline smoothing; 0 passes exactly through the key frames.', ge=0
  )
  render_spline_interpolate_exposure: bool = option(
    False, 'Interpolate log exposure along the path.'
  )
  render_spline_interpolate_exposure_smoothness: float = option(
    20,
    "Spline smoothing of that; strong, against flicker. camp_zipnerf's.",
    ge=0,
  )
  render_spline_rot_weight: float = option(
    0.1,
    'How much orientation counts against position in the spline, in world '
    "units. camp_zipnerf's.",
    gt=0,
  )
  render_spline_lock_up: bool = option(
    False,
    "Keep the spline's up direction exactly, and tilt the view. "
    "camp_zipnerf's.",
  )
  render_spline_fixed_up: bool = option(
    False,
    "Use the cameras' mean up instead of an interpolated one. camp_zipnerf's.",
  )
  render_spline_const_speed: bool = option(
    False, "Equal distances between frames. camp_zipnerf's."
  )
  render_spline_lookahead_i: int | None = option(
    None,
    "Look at the position that many frames ahead. camp_zipnerf's.",
    ge=1,
  )
  render_spline_n_buffer: int | None = option(
    None,
    'Key frames to add at both ends, so that these are straight. '
    "camp_zipnerf's.",
    ge=0,
  )
  render_spline_meters_per_sec: float | None = option(
    None,
    'Speed that chooses the number of frames, instead of '
    "render_spline_n_interp. camp_zipnerf's.",
    gt=0,
  )
  render_spline_outlier_keyframe_quantile: float | None = option(
    None,
    'Drop key frames whose distance to the next is at least '
    'render_spline_outlier_keyframe_multiplier times this quantile of all '
    "distances. camp_zipnerf's.",
    ge=0,
    le=1,
  )
  render_spline_outlier_keyframe_multiplier: float | None = option(
    None, "See the quantile; both are needed. camp_zipnerf's.", gt=0
  )
  render_calibration_keyframes: str | None = option(
    None,
    'Folder or text file with names of images in pairs that were taken '
    'render_calibration_distance apart; None: 8 m a world unit. '
    "camp_zipnerf's.",
  )
  render_calibration_distance: float = option(
    3.0, "In metres. camp_zipnerf's.", gt=0
  )
  render_looped_videos: bool = option(
    False,
    'Play videos forwards, then backwards; their names gain looped_. '
    "camp_zipnerf's.",
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawOptions:
  """RawNeRF: linear raw images (arXiv:2111.13679)."""

  rawnerf_mode: bool = option(False, 'LLFF: read raw photographs.')
  exposure_percentile: float = option(
    97.0, 'Percentile of image 0 that is shown as white.', ge=0, le=100
  )
  apply_bayer_mask: bool = option(
    False, 'Train each pixel on the one colour that the sensor measured.'
  )
  autoexpose_renders: bool = option(False, 'Has no effect.')
