"""The options of `Config` that loaders read."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The options that loaders read; names and defaults are those of `Config`.

  Attributes: See `config/schema.py`; render paths are for hooks of old loaders.
  """

  dataset_loader: str = 'llff'
  data_dir: str | None = None
  pixel_cache_dir: str | None = None
  factor: int = 0
  near: float = 2.0
  far: float = 6.0
  scene_bbox: (
    float | tuple[tuple[float, float, float], tuple[float, float, float]] | None
  ) = None
  z_min: float | None = None
  z_max: float | None = None
  colmap_subdir: str | None = None
  image_subdir: str | None = None
  llff_load_from_poses_bounds: bool = False
  load_ngp_format_poses: bool = False
  normalize_poses: str = 'pca'
  transform_poses_fn: Callable | None = None
  mask_dir: str | None = 'masks'
  mask_keeps: str = 'white'
  load_alphabetical: bool = True
  forward_facing: bool = False
  llffhold: int = 8
  llff_use_all_images_for_training: bool = False
  use_tiffs: bool = False
  compute_disp_metrics: bool = False
  compute_normal_metrics: bool = False
  depth_loss_mult: float = 0.0
  depth_source: str = 'maps'
  depth_scale: float = 1e-3
  normal_loss_mult: float = 0.0
  multiscale_train_factors: tuple[int, ...] | None = None
  rawnerf_mode: bool = False
  exposure_percentile: float = 97.0
  dtu_light_cond: int = 3
  dtuhold: int = 8
  render_path: bool = False
  render_path_frames: int = 120
  render_path_file: str | None = None
  render_resolution: tuple[int, int] | None = None
  render_focal: float | None = None
  render_camtype: str | None = None
  z_variation: float = 0.0
  z_phase: float = 0.0
  render_spline_keyframes: str | None = None
  render_spline_n_interp: int = 30
  render_spline_degree: int = 5
  render_spline_smoothness: float = 0.03
  render_spline_interpolate_exposure: bool = False
  synthetic_resolution: int = 128
  synthetic_num_train: int = 60
  synthetic_num_test: int = 8
  synthetic_look: str = 'still_life'
