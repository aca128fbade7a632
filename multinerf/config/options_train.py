"""Options of `Config` that concern data and optimisation, by topic.

Names, meanings and defaults are those of MultiNeRF (`internal/configs.py`,
google-research/multinerf@5b4d4f6), so that its .gin files work unchanged;
options it does not have say "New here". Each class is one topic of `--help`;
`schema.Config` joins them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from multinerf.config.option import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
  """Scenes and images."""

  dataset_loader: str = option(
    'llff',
    'Which loader reads data_dir; an unknown name lists the known ones.',
  )
  data_dir: str | None = option(None, 'Folder of the scene.')
  pixel_cache_dir: str | None = option(
    None,
    'Folder in which decoded pixels are kept as files, which are then read '
    'as needed; None: pixels are in memory, but in ~/.cache/multinerf/pixels '
    'if they take more than 40 % of what is free. New here.',
  )
  checkpoint_dir: str | None = option(
    None,
    'Folder for everything that training and evaluation write. Its last two '
    'parts, <experiment>/<scene>, name the videos.',
  )
  factor: int = option(
    0,
    'Image down-scaling, 0 or 1 for full size. LLFF scenes read the folder '
    'images_<factor>; tat_fvs takes it as an index into its resolutions.',
    ge=0,
  )
  near: float = option(
    2.0,
    'Near bound as a ray parameter t: distance along the optical axis in '
    'scene units; 0 with forward_facing (NDC).',
    ge=0,
  )
  far: float = option(
    6.0, 'Far bound, in the unit of near; 1 with forward_facing.', gt=0
  )
  scene_bbox: (
    float | tuple[tuple[float, float, float], tuple[float, float, float]] | None
  ) = option(
    None,
    'Opposite corners of a box, or half the side of a cube around the origin, '
    'that near and far are cropped to; rays that miss it do not count. '
    "camp_zipnerf's.",
  )
  z_min: float | None = option(
    None,
    'Rays begin and end at the heights z_min and z_max, t = 0 and 1; for '
    "scenes far below the cameras. camp_zipnerf's.",
  )
  z_max: float | None = option(None, "See z_min. camp_zipnerf's.")
  colmap_subdir: str | None = option(
    None,
    'Folder below data_dir with cameras, images and points3D of COLMAP; '
    'None: sparse/0, sparse or colmap/sparse/0, the largest model. '
    "camp_zipnerf's.",
  )
  image_subdir: str | None = option(
    None,
    "LLFF: folder below data_dir with the images; None: 'images'. With factor "
    "its smaller copies are in <image_subdir>_<factor>. camp_zipnerf's.",
  )
  llff_load_from_poses_bounds: bool = option(
    False,
    'LLFF: poses come from poses_bounds.npy, even if there is something else. '
    "camp_zipnerf's.",
  )
  load_ngp_format_poses: bool = option(
    False,
    'LLFF: poses come from transforms.json, even if there is something else. '
    "camp_zipnerf's.",
  )
  normalize_poses: Literal['pca', 'focus', 'none'] = option(
    'pca',
    'Frame of captures (llff, transforms, tat_fvs) that are not '
    "forward-facing: 'pca' centres on the cameras with their plane "
    "horizontal, 'focus' centres on what they look at, both scale cameras to "
    "[-1, 1]; 'none' keeps the input's frame. New here.",
  )
  transform_poses_fn: Callable[..., Any] | None = option(
    None,
    'Function of all poses [n, 3, 4] that takes the place of normalize_poses, '
    'such as @camera_utils.transform_poses_focus; returns the poses and the '
    "[4, 4] transform. camp_zipnerf's.",
  )
  mask_dir: str | None = option(
    'masks',
    'Folder below data_dir with <image>.png or <stem>.png masks; only the '
    'default may be missing; None reads none (llff, transforms). New here.',
  )
  mask_keeps: Literal['white', 'black'] = option(
    'white',
    'Which pixels of a mask in mask_dir are used: white as in COLMAP and '
    'nerfstudio, black as in instant-ngp. New here.',
  )
  load_alphabetical: bool = option(
    True,
    'Sort images by file name before splitting them into train and test.',
  )
  forward_facing: bool = option(
    False, 'LLFF: use NDC rays and a spiral path instead of an ellipse.'
  )
  llffhold: int = option(
    8, 'Every N-th image is a test image (llff, tat_fvs).', ge=1
  )
  llff_use_all_images_for_training: bool = option(
    False, 'LLFF: train on the test images too; they then measure nothing.'
  )
  use_tiffs: bool = option(
    False,
    'blender: read linear 32-bit <name>_{R,G,B,A}.tiff instead of PNG.',
  )
  compute_disp_metrics: bool = option(
    False, 'blender: load disparity images and report their squared error.'
  )
  compute_normal_metrics: bool = option(
    False,
    'blender: load normal images and report the mean angular error in degrees.',
  )
  multiscale_train_factors: tuple[int, ...] | None = option(
    None,
    'Adds copies of all images, training and test, this many times smaller: '
    '[2, 4, 8]. Copies at f count f times as much in the loss. '
    "camp_zipnerf's.",
    gt=1,
  )
  disable_multiscale_loss: bool = option(
    False, 'Ignore the per-ray loss weights of the data set (all 1).'
  )
  dtu_light_cond: int = option(
    3, 'DTU: lighting, 0-6, or 7 for all lights. New here.', ge=0, le=7
  )
  dtuhold: int = option(
    8, 'DTU: every N-th image is a test image. New here.', ge=1
  )
  synthetic_resolution: int = option(
    128,
    'Side in pixels of the images of the embedded test scene. New here.',
    ge=1,
  )
  synthetic_num_train: int = option(
    60, 'Number of its training images. New here.', ge=1
  )
  synthetic_num_test: int = option(
    8, 'Number of its test images. New here.', ge=1
  )
  synthetic_look: Literal['still_life', 'glossy'] = option(
    'still_life',
    "Its finish: 'glossy' mirrors coloured lights, for Ref-NeRF. New here.",
  )
  vocab_tree_path: str | None = option(None, 'Has no effect.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
  """Training batches."""

  batching: Literal['all_images', 'single_image'] = option(
    'all_images',
    'Draw each patch of a batch from any image, or all from one image.',
  )
  batch_size: int = option(
    16384,
    'Rays per step over all devices and machines; a multiple of the number '
    'of devices.',
    ge=1,
  )
  patch_size: int = option(
    1,
    'Side in pixels of the square patches in a batch; its square must fit '
    'in batch_size.',
    ge=1,
  )
  num_border_pixels_to_mask: int = option(
    0, 'Never train on pixels this close to the image border.', ge=0
  )
  opaque_ray_fraction: float = option(
    0.0,
    'At least this share of a batch is drawn from pixels of an opacity above '
    '0, where images have opacities (without them it has no effect). New here.',
    ge=0,
    le=1,
  )
  prefetch_batches: int = option(
    3, 'Batches prepared ahead by a host thread. New here.', ge=1
  )
  pixels_on_device: Literal['auto', True, False] = option(
    'auto',
    'Keep the training pixels, as stored, in the memory of the devices and '
    "read them in the step; 'auto' does on accelerators where they take at "
    'most 30 % of the free memory. Batches are the same. New here.',
  )
  steps_per_dispatch: int = option(
    1,
    'Steps handed to the devices at once, for steps so short that Python '
    'cannot keep up; single ones where something is due in between. New here.',
    ge=1,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
  """Training run."""

  max_steps: int = option(
    250000,
    'Optimisation steps; also the end of the learning-rate schedule.',
    ge=1,
  )
  early_exit_steps: int | None = option(
    None, 'Stop after this many steps, schedule unchanged.', ge=1
  )
  randomized: bool = option(
    True,
    'Jitter the samples along rays (and other noise) while training.',
  )
  jax_rng_seed: int = option(
    20200823, 'Seed of initial weights and sampling noise. New here.', ge=0
  )
  np_rng_seed: int = option(
    20201473, 'Seed of the choice of training pixels. New here.', ge=0
  )
  rays_at_once: int | None = option(
    None,
    'Rays that a device works on at once within a step, whatever batch_size '
    'is; None: all, on CPUs as many as stay in a cache. New here.',
    ge=1,
  )
  remat: bool = option(
    False,
    'Keep nothing between forward and backward pass but what rays_at_once rays '
    'need. With losses that compare rays that is a third more work; with all '
    'others rays_at_once does it alone. New here.',
  )
  memory_budget_gib: float | None = option(
    None,
    'Memory that training and rendering may take on each device, GiB; None: '
    'nine tenths of what is free. rays_at_once, remat and render_chunk_size '
    'are reduced where their programs would take more. New here.',
    gt=0,
  )
  compute_dtype: Literal['float32', 'bfloat16'] = option(
    'float32',
    'Precision of the matrix products in the networks; bfloat16 pays on '
    'accelerators only. New here.',
  )
  cast_rays_in_train_step: bool = option(
    False, 'Rays are always cast on the device; both values do the same.'
  )
  checkpoint_every: int = option(
    25000, 'Steps between checkpoints; the last step is always saved.', ge=1
  )
  checkpoint_init: bool = option(
    False, "Also save after the first step. camp_zipnerf's."
  )
  visualize_every: int = option(
    0,
    'Steps between histograms of all parameters, and slices through dense '
    'grids, in TensorBoard; 0: never. They also come after the first step. '
    "camp_zipnerf's.",
    ge=0,
  )
  checkpoint_keep: int = option(
    100, 'How many checkpoints to keep, newest first. New here.', ge=1
  )
  checkpoint_keep_every: int = option(
    0,
    'Checkpoints of multiples of this many steps are kept for good; 0: only '
    'the newest checkpoint_keep are. New here.',
    ge=0,
  )
  watchdog_minutes: float = option(
    10.0,
    'When no step has ended for this long, write what every thread is doing '
    'to stderr, and again after as long; training goes on. 0: never. New here.',
    ge=0,
  )
  print_every: int = option(
    100,
    'Steps between lines in the log and TensorBoard; means over them.',
    ge=1,
  )
  train_render_every: int = option(
    5000, 'Steps between renderings of a test image; 0 for none.', ge=0
  )
  gc_every: int = option(
    10000, "Steps between runs of Python's garbage collector.", ge=1
  )
  nonfinite_grad_limit: int = option(
    10,
    'Stop with an error after this many consecutive steps whose gradient '
    'has infinities or NaN. New here.',
    ge=1,
  )
  collapse_guard: bool = option(
    True,
    'Restart from another seed when the field is empty at '
    'collapse_check_step. New here.',
  )
  collapse_check_step: int = option(
    200, 'Step at which to look for an empty field. New here.', ge=1
  )
  collapse_max_restarts: int = option(
    5, 'Restarts before giving up with an error. New here.', ge=0
  )
  compilation_cache_dir: str | None = option(
    '~/.cache/multinerf/xla',
    'Folder in which JAX keeps compiled programs; None for off. New here.',
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimOptions:
  """Optimiser."""

  lr_init: float = option(0.002, 'Learning rate at the start.', gt=0)
  lr_final: float = option(0.00002, 'Learning rate at max_steps.', gt=0)
  lr_init_grid: float | None = option(
    None,
    "Learning rate at the start for grids (parameters with 'grid' or 'hash_' in "
    'their path), which then have an Adam of their own; None: like all others. '
    "camp_zipnerf's.",
    gt=0,
  )
  lr_final_grid: float | None = option(
    None,
    "Their learning rate at max_steps; set with lr_init_grid. camp_zipnerf's.",
    gt=0,
  )
  lr_delay_steps: int = option(
    512, 'Length of the warm-up in steps; 0 for none.', ge=0
  )
  lr_delay_mult: float = option(
    0.01, 'Factor on the learning rate at the start of the warm-up.', ge=0
  )
  lr_schedule: str | Callable[..., Any] = option(
    'log_lerp',
    'Name of the schedule (an unknown one lists the known), or a function '
    'such as @optax.warmup_cosine_decay_schedule. New here.',
  )
  lr_schedule_kwargs: dict[str, Any] = option(
    {}, 'Further arguments of that schedule. New here.'
  )
  adam_beta1: float = option(0.9, 'Decay of the first moment.', ge=0, lt=1)
  adam_beta2: float = option(0.999, 'Decay of the second moment.', ge=0, lt=1)
  adam_eps: float = option(
    1e-6, 'Added to the root of the second moment.', gt=0
  )
  grad_max_norm: float = option(
    0.001, 'Clip the gradient norm of each network to this; 0 for off.', ge=0
  )
  grad_max_val: float = option(
    0.0, 'Clip gradient entries to +-this, first; 0 for off.', ge=0
  )
