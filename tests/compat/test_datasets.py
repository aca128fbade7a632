"""A user's Dataset: loaded, iterated, and trained on by our trainer."""

import importlib.util
import pathlib
import sys

import colmap_util
import jax
import numpy as np
import pytest
import run_util

from multinerf import errors, types
from multinerf.app import train
from multinerf.app import trainer as trainer_lib
from multinerf.cameras import projection
from multinerf.compat.multinerf import (
  camera_utils,
  configs,
  datasets,
  models,
  train_utils,
  utils,
)
from multinerf.config import gin_setup, views
from multinerf.data import base, images

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = configs.Config(dataset_loader='ring', batch_size=32, near=2.0, far=6.0)


@pytest.fixture(scope='module')
def user():
  """The user's module, imported from outside of the package."""
  if 'my_dataset' not in sys.modules:
    spec = importlib.util.spec_from_file_location(
      'my_dataset', HERE / 'my_dataset.py'
    )
    sys.modules['my_dataset'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules['my_dataset'])
  return sys.modules['my_dataset']


# --- as a loader --------------------------------------------------------------


@pytest.mark.parametrize('split', ['train', 'test'])
def test_the_loader_gives_the_images_and_cameras_of_the_hook(user, split):
  cfg = views.view(CONFIG, base.DataConfig)
  scene = base.load_scene(cfg, split)
  want = user.colours(split).astype(np.float32)
  for i in range(user.NUM):
    np.testing.assert_array_equal(scene.images.image(i), want[i])
  dataset = datasets.load_dataset(split, None, CONFIG)
  pixtocams, camtoworlds, distortion, ndc = dataset.cameras
  np.testing.assert_array_equal(scene.cameras.camtoworlds, camtoworlds)
  np.testing.assert_array_equal(scene.cameras.pixtocams[2], pixtocams)
  assert distortion is ndc is None
  assert dataset.size == dataset.n_examples == len(scene) == user.NUM
  assert (dataset.near, dataset.far) == (2.0, 6.0)
  assert dataset.focal == 10.0


def test_everything_else_a_hook_may_set_reaches_the_scene(user):
  class Full(user.MyDataset):
    def _load_renderings(self, config):
      super()._load_renderings(config)
      n = user.NUM
      self.images = (255 * self.images).astype(np.uint8)
      self.disp_images = self.images[..., 0] / 255
      self.normal_images = np.zeros(self.images.shape)
      self.alphas = self.disp_images[..., None]
      self.distortion_params = {'k1': 0.1, 'k2': None}
      self.camtype = camera_utils.ProjectionType.FISHEYE
      self.near, self.far = 0.5, 9.0
      self.image_names = [f'p_{i}.png' for i in range(n)]
      self.colmap_to_world_transform = 2 * np.eye(4)
      self.metadata = {
        'exposure_idx': np.arange(n),
        'exposure_values': 1 / (1 + np.arange(n)),
        'cam2rgb': np.tile(3 * np.eye(3), (n, 1, 1)),
        'exposure': 0.7,
        'exposure_levels': {97: 0.7},
      }

  scene = datasets.as_loader(Full)(
    base.DataConfig(data_dir='/data/ring'), 'train'
  )
  cameras = scene.cameras
  assert scene.name == 'ring' and scene.image_names[1] == 'p_1.png'
  assert scene.images.values.dtype == np.uint8
  assert scene.disps.image(0).shape == (user.SIZE, user.SIZE, 1)
  assert scene.normals.values.dtype == np.float32
  np.testing.assert_array_equal(scene.alphas.values, scene.disps.values)
  np.testing.assert_allclose(cameras.distortion['k1'], 0.1)
  assert set(cameras.distortion) == {'k1'}
  assert cameras.camtype is camera_utils.ProjectionType.FISHEYE
  assert (cameras.near, cameras.far) == (0.5, 9.0)
  np.testing.assert_array_equal(cameras.exposure_idx, np.arange(user.NUM))
  np.testing.assert_allclose(cameras.exposure_values[1], 0.5)
  np.testing.assert_array_equal(scene.raw.cam2rgb, 3 * np.eye(3))
  assert scene.raw.exposure == 0.7 and scene.raw.exposure_levels == {97: 0.7}
  np.testing.assert_array_equal(scene.world_transform, 2 * np.eye(4))


def test_a_hook_on_a_camera_path_needs_no_images(user):
  class Path(user.MyDataset):
    def _load_renderings(self, config):
      super()._load_renderings(config)
      if self.render_path:  # as upstream: cameras replaced, images left
        self.camtoworlds = self.camtoworlds[:2]

  scene = datasets.as_loader(Path)(base.DataConfig(render_path=True), 'test')
  assert len(scene) == 2 and scene.images is None


def test_a_hook_may_make_a_camera_path_with_the_options_upstream_s_have(user):
  # As in the loaders of MultiNeRF, whatever is rendered in the end.
  class Path(user.MyDataset):
    def _load_renderings(self, config):
      super()._load_renderings(config)
      assert config.render_spline_keyframes is None
      self.render_poses = camera_utils.generate_ellipse_path(
        self.camtoworlds,
        n_frames=config.render_path_frames,
        z_variation=config.z_variation,
        z_phase=config.z_phase,
      )
      if config.render_path_file or config.render_resolution:
        raise AssertionError('not set')
      self.lens = (config.render_focal, config.render_camtype)
      self.spline = (
        config.render_spline_n_interp,
        config.render_spline_degree,
        config.render_spline_smoothness,
        config.render_spline_interpolate_exposure,
      )
      assert len(self.render_poses) == 7

  cfg = base.DataConfig(render_path_frames=7)
  assert len(datasets.as_loader(Path)(cfg, 'train')) == user.NUM


def test_mistakes_of_a_hook_are_named(user):
  def load(**wrong):
    class Wrong(user.MyDataset):
      def _load_renderings(self, config):
        super()._load_renderings(config)
        for name, value in wrong.items():
          setattr(self, name, value)

    return Wrong('train', None, CONFIG)

  with pytest.raises(errors.DataError, match='did not set self.images, self.w'):
    load(images=None, width=None)
  with pytest.raises(errors.DataError, match='0'):
    load(height=9)
  with pytest.raises(errors.DataError, match='4 images for 5 cameras'):
    load(images=user.colours('train')[1:])
  with pytest.raises(errors.DataError, match='self.images must be'):
    load(images=np.zeros((5, 8, 8, 3), np.int64))
  with pytest.raises(NotImplementedError, match='_load_renderings'):
    datasets.Dataset('train', None, CONFIG)
  with pytest.raises(ValueError, match='validation'):
    user.MyDataset('validation', None, CONFIG)


def test_options_that_loaders_do_not_get_are_named():
  options = datasets.LoaderOptions(base.DataConfig(factor=3))
  assert options.factor == 3
  with pytest.raises(errors.ConfigError, match='Config.batch_size'):
    _ = options.batch_size
  assert getattr(options, 'batch_size', 7) == 7
  assert not hasattr(options, 'nonsense')


def test_a_name_is_taken_once(user):
  assert datasets.register('ring', user.MyDataset) is user.MyDataset
  with pytest.raises(errors.ConfigError, match='already registered'):
    datasets.register('ring', datasets.Dataset)
  with pytest.raises(errors.ConfigError, match='already registered'):
    datasets.register('blender')(user.MyDataset)
  assert 'blender' not in datasets.DATASETS.names()


# --- iterated -----------------------------------------------------------------


def test_training_batches_are_sharded_patches_of_the_images(user):
  config = configs.Config(
    dataset_loader='ring', batch_size=64, patch_size=2, near=2.0, far=6.0
  )
  dataset = datasets.load_dataset('train', None, config)
  peeked, batch, after = dataset.peek(), next(dataset), next(iter(dataset))
  count = jax.local_device_count()
  assert batch.rgb.shape == (count, 16 // count, 2, 2, 3)
  jax.tree.map(np.testing.assert_array_equal, peeked, batch)
  assert (batch.rgb != after.rgb).any()
  assert isinstance(batch.rays, utils.Rays)
  assert all(x.dtype != np.float64 for x in jax.tree.leaves(batch))
  # Where a ray comes from says which pixel's colour it must have.
  images = user.colours('train').astype(np.float32)
  cam_idx = batch.rays.cam_idx[..., 0]
  x = batch.rays.imageplane[..., 0] * dataset.focal + user.SIZE / 2 - 0.5
  y = -batch.rays.imageplane[..., 1] * dataset.focal + user.SIZE / 2 - 0.5
  x, y = (np.round(v).astype(int) for v in (x, y))
  np.testing.assert_array_equal(batch.rgb, images[cam_idx, y, x])
  np.testing.assert_array_equal(batch.rays.near, 2)
  np.testing.assert_array_equal(batch.rays.lossmult, 1)


def test_rays_may_be_left_to_the_train_step(user):
  config = configs.Config(
    dataset_loader='ring',
    batch_size=32,
    cast_rays_in_train_step=True,
    compute_disp_metrics=True,
    near=2.0,
    far=6.0,
  )
  dataset = datasets.load_dataset('train', None, config)
  pixels = next(dataset).rays
  assert isinstance(pixels, utils.Pixels)
  count = jax.local_device_count()
  # Upstream's patches have a size even if it is 1.
  assert pixels.pix_x_int.shape == (count, 32 // count, 1, 1)
  assert dataset.peek().disps.shape == pixels.pix_x_int.shape
  rays = camera_utils.cast_ray_batch(dataset.cameras, pixels, dataset.camtype)
  want = projection.cast_ray_batch(
    dataset.scene.cameras, types.Pixels(**vars(pixels))
  )
  for name in ('origins', 'directions', 'radii', 'far'):
    np.testing.assert_allclose(
      getattr(rays, name), getattr(want, name), rtol=1e-4, atol=1e-5
    )


def test_test_images_come_one_after_another_and_again(user):
  dataset = datasets.load_dataset('test', None, CONFIG)
  for i, batch in zip(range(user.NUM + 1), dataset, strict=False):
    k = i % user.NUM
    assert batch.rays.origins.shape == (user.SIZE, user.SIZE, 3)
    np.testing.assert_array_equal(
      batch.rgb, user.colours('test')[k].astype(np.float32)
    )
    np.testing.assert_allclose(
      batch.rays.origins[0, 0], dataset.camtoworlds[k][:, 3], rtol=1e-6
    )
  again = dataset.generate_ray_batch(2)
  np.testing.assert_array_equal(again.rays.cam_idx, 2)


def test_scenes_of_our_own_loaders_are_datasets_too(tmp_path):
  folder = run_util.render_scene(tmp_path)
  config = configs.Config(dataset_loader='blender', batch_size=32)
  dataset = datasets.load_dataset('train', str(folder), config)
  n, size = run_util.NUM_TRAIN, run_util.RESOLUTION
  assert dataset.images.shape[:3] == (n, size, size)
  assert (dataset.size, dataset.height, dataset.width) == (n, size, size)
  batch = next(dataset)
  assert batch.rgb.dtype == np.float32 and batch.rgb.max() <= 1


@pytest.mark.parametrize('loader', ['blender', 'llff'])
def test_transparent_pixels_of_our_own_loaders_are_white(loader, tmp_path):
  """They were the black that is stored: loss and metrics drop the opacity."""
  if loader == 'blender':
    folder = run_util.render_scene(tmp_path)
    views_of = sorted((folder / 'train').glob('r_?.png'))
  else:
    folder = colmap_util.write_llff_scene(tmp_path / 'scene')
    views_of = sorted((folder / 'images').glob('*.png'))[1:8]  # test: 0, 8
    for i, path in enumerate(sorted((folder / 'images').glob('*.png'))):
      opacity = np.random.default_rng(i).integers(0, 256, (20, 20, 1))
      rgba = [images.read_image(path), opacity.astype(np.uint8)]
      images.write_png(path, np.concatenate(rgba, -1))
  stored = np.stack([images.read_image(f) for f in views_of]) / 255
  assert stored.shape[-1] == 4 and stored[..., 3].min() < 0.1
  want = stored[..., :3] * stored[..., 3:] + 1 - stored[..., 3:]
  config = configs.Config(
    dataset_loader=loader, batch_size=4096, cast_rays_in_train_step=True
  )
  dataset = datasets.load_dataset('train', str(folder), config)
  assert dataset.images.dtype == np.float32
  np.testing.assert_allclose(dataset.images, want, atol=1e-6)  # float32
  batch = next(dataset)
  rays = batch.rays
  picked = want[rays.cam_idx[..., 0], rays.pix_y_int, rays.pix_x_int]
  np.testing.assert_allclose(batch.rgb, picked, atol=1e-6)
  view = dataset.generate_ray_batch(2)
  np.testing.assert_allclose(view.rgb, want[2], atol=1e-6)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_opacity_that_a_hook_sets_stays_in_the_batches(user, dtype):
  """As upstream, whose loops may look at it."""
  gen = np.random.default_rng(3)
  pictures = gen.integers(0, 256, (user.NUM, user.SIZE, user.SIZE, 4))
  want = (pictures / 255).astype(np.float32)

  class Rgba(user.MyDataset):
    def _load_renderings(self, config):
      super()._load_renderings(config)
      self.images = want if dtype == np.float32 else pictures.astype(dtype)

  dataset = Rgba('test', None, CONFIG)
  assert dataset.images.shape[-1] == 4
  np.testing.assert_allclose(  # float32
    dataset.generate_ray_batch(1).rgb, want[1], atol=1e-7
  )


# --- trained on ---------------------------------------------------------------


def test_train_py_trains_on_the_users_dataset(user, tmp_path, monkeypatch):
  seen = []
  step = trainer_lib.Trainer.step

  def spy(self):
    seen.append(self.scene)
    return step(self)

  monkeypatch.setattr(trainer_lib.Trainer, 'step', spy)
  monkeypatch.syspath_prepend(str(HERE))
  status = run_util.run(
    train.main,
    *run_util.arguments(
      '/nowhere',
      tmp_path,
      'import my_dataset',
      "Config.dataset_loader = 'ring'",
      'Config.early_exit_steps = 3',
    ),
  )
  assert status == 0 and len(seen) == 3
  want = user.colours('train').astype(np.float32).reshape(-1, 3)
  np.testing.assert_array_equal(seen[0].images.values, want)


@pytest.mark.slow
def test_a_ported_training_loop_lowers_the_loss(user):
  """The loop of upstream's train.py, with the imports changed."""
  setup = gin_setup.load(
    ['blender_256.gin'],
    [
      *run_util.BINDINGS,
      'import my_dataset',
      "Config.dataset_loader = 'ring'",
    ],
  )
  config = setup.config
  dataset = datasets.load_dataset('train', None, config)
  fields = setup.model_fields
  model = models.Model(
    config=config,
    nerf_mlp=models.NerfMLP(name='NerfMLP_0', **fields['NerfMLP']),
    prop_mlp=models.PropMLP(name='PropMLP_0', **fields['PropMLP']),
    **fields['Model'],
  )
  rng = jax.random.PRNGKey(1)
  rays = utils.dummy_rays()
  variables = jax.jit(lambda key: model.init(key, None, rays))(rng)
  state, _ = train_utils.create_optimizer(config, variables)
  train_pstep = train_utils.create_train_step(model, config, dataset=dataset)
  count = jax.local_device_count()
  state = jax.tree.map(
    lambda x: np.broadcast_to(x, (count, *np.shape(x))), state
  )
  rngs = jax.random.split(rng, count)
  losses, threshold = [], 1.0
  for i, batch in zip(range(30), dataset, strict=False):
    state, stats, rngs = train_pstep(
      rngs, state, batch, dataset.cameras, i / 30, threshold
    )
    losses.append(float(stats['loss'][0]))
  assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
