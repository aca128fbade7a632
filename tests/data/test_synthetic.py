"""The embedded scene: exact truth, one convention with the ray caster, safe."""

import dataclasses
import json
import os
import threading

import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import projection
from multinerf.data import analytic, base, images, synthetic

SIZE = 24  # pixels; enough for every claim below


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  out = tmp_path_factory.mktemp('scenes') / 'small'
  return synthetic.render_scene(out, SIZE, 3, 2)


def load(folder, split='train', **options):
  cfg = base.DataConfig(
    dataset_loader='synthetic',
    data_dir=str(folder),
    synthetic_resolution=SIZE,
    synthetic_num_train=3,
    synthetic_num_test=2,
    **options,
  )
  return base.load_scene(cfg, split)


def centre_rays(scene, i):
  """Rays of the package's own ray caster, float64, flat."""
  x, y = projection.pixel_coordinates(SIZE, SIZE)
  rays = projection.pixels_to_rays(
    x,
    y,
    np.asarray(scene.cameras.pixtocams[i], np.float64),
    np.asarray(scene.cameras.camtoworlds[i], np.float64),
  )
  return rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_loaded_depths_and_normals_are_those_along_our_own_rays(folder, split):
  scene = load(
    folder, split, compute_disp_metrics=True, compute_normal_metrics=True
  )
  for i in range(len(scene)):
    hits = analytic.trace(*centre_rays(scene, i))
    disps = scene.disps.image(i).reshape(-1)
    hit = np.isfinite(hits.t)
    assert 0.1 < hit.mean() < 0.6
    # Poses pass through float32: a ray moves by 1e-6, which may decide a
    # pixel on an outline, and is multiplied where it grazes a surface.
    agree = (disps > 0) == hit
    assert agree.mean() > 0.99
    both = agree & hit
    error = np.abs(1 / disps[both] - 1 - hits.t[both])
    assert np.mean(error < 1e-4) > 0.99
    normals = scene.normals.image(i).reshape(-1, 3)[both]
    close = np.abs(normals - hits.normals[both]).max(-1)
    assert np.mean(close < 1.01 / 255) > 0.99  # one step of 8 bits


def test_colours_are_the_mean_radiance_of_nine_rays(folder):
  scene = load(folder)
  picture = scene.images.image(0) / 255
  rows, columns = np.nonzero(picture[..., 3] > 0)
  assert len(rows) > 80
  pixtocam = np.asarray(scene.cameras.pixtocams[0], np.float64)
  pose = np.asarray(scene.cameras.camtoworlds[0], np.float64)
  total, count = np.zeros((len(rows), 3)), np.zeros((len(rows), 1))
  for down in (1 / 6, 3 / 6, 5 / 6):
    for right in (1 / 6, 3 / 6, 5 / 6):
      pixel = np.stack([columns + right, rows + down, np.ones(len(rows))])
      directions = (pose[:, :3] @ np.diag([1, -1, -1]) @ pixtocam @ pixel).T
      hits = analytic.trace(pose[None, :, 3], directions)
      total += analytic.radiance(pose[None, :, 3], directions, hits)
      count += np.isfinite(hits.t)[:, None]
  linear = total / np.maximum(count, 1)
  want = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
  want = np.where(linear <= 0.0031308, 12.92 * linear, want)
  error = np.abs(picture[rows, columns, :3] - want).max(-1)
  # 8-bit rounding; a float32 pose may flip a sample on an edge here and there.
  assert np.mean(error < 0.51 / 255) > 0.97


def test_outlines_are_smooth_and_the_surroundings_empty(folder):
  picture = load(folder).images.image(0)
  alpha = picture[..., 3] / 255 * 9
  np.testing.assert_allclose(alpha, np.round(alpha), atol=0.02)  # of 9 rays
  assert len(np.unique(np.round(alpha))) >= 6
  assert (picture[alpha == 0][:, :3] == 255).all()
  border = np.ones((SIZE, SIZE), bool)
  border[1:-1, 1:-1] = False
  assert (alpha[border] == 0).all()  # nothing is cut off by the frame


def test_skipping_empty_pixels_changes_nothing(monkeypatch):
  pose = synthetic.train_poses(5)[2]
  fast = synthetic.render_view(pose, 64)
  monkeypatch.setattr(synthetic, '_FINE', 1000)
  slow = synthetic.render_view(pose, 64)
  for key in ('rgba', 'disps', 'normals'):
    np.testing.assert_array_equal(fast[key], slow[key])


def test_rendering_in_pieces_changes_nothing(monkeypatch):
  pose = synthetic.test_poses(5)[2]
  whole = synthetic.render_view(pose, 16)
  monkeypatch.setattr(synthetic, '_RAYS_AT_ONCE', 200)
  for key, value in synthetic.render_view(pose, 16).items():
    np.testing.assert_allclose(value, whole[key], atol=1e-12)


def test_cameras_look_at_the_centre_from_near_to_far():
  for poses in (synthetic.train_poses(60), synthetic.test_poses(8)):
    np.testing.assert_allclose(np.linalg.norm(poses[:, :, 3], axis=-1), 4)
    np.testing.assert_allclose(poses[:, :, 3], 4 * poses[:, :, 2], atol=1e-12)
    for pose in poses[::7]:
      directions = synthetic._pixel_directions(
        pose, 16, np.argwhere(np.ones((16, 16))), 1
      )
      t = analytic.trace(pose[None, :, 3], directions).t
      t = t[np.isfinite(t)]
      assert t.size and t.min() > 2 and t.max() < 6  # the default bounds
  height = synthetic.train_poses(60)[:, 2, 3] / 4
  assert height.min() < -0.3 and height.max() > 0.9
  assert np.mean(height > 0) > 0.6


@pytest.mark.parametrize(
  'thing, local, moves',
  [
    (3, (0.17, 0.02, 0.02), False),  # a side of the matt box
    (4, (0.0, 0.0, 0.15), True),  # the top of the glossy ball on it
  ],
)
def test_only_glossy_surfaces_change_with_the_view(thing, local, moves):
  placed, material = analytic.SCENE[thing]
  assert (material.gloss > 0) == moves
  point = placed.centre + placed.rotation @ np.array(local)
  # The first eye is where the ball mirrors the sun.
  sideways = np.array([[-0.6, 0.45, 0.0], [0.0, -0.4, 0.1]])
  eyes = point + 2 * (placed.normal(point[None]) + sideways)
  hits = analytic.trace(eyes, point - eyes)
  np.testing.assert_array_equal(hits.thing, thing)
  one, two = analytic.radiance(eyes, point - eyes, hits)
  if moves:
    assert np.abs(one - two).max() > 0.1
  else:
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_the_sun_casts_shadows():
  top = np.array([[0.0, 0.0, analytic._PLINTH_TOP]])
  up = np.array([[0.0, 0.0, 1.0]])
  behind_ball = top - 0.4 * analytic._SUN * np.array([1, 1, 0])
  before_ball = top + np.array([[0.75, 0.0, 0.0]])
  assert analytic._lit(behind_ball, up) == 0
  assert analytic._lit(before_ball, up) == 1


def test_rays_that_miss_everything_are_black_and_infinite():
  o, d = np.array([[0, 0, 4.0]]), np.array([[0, 0, 1.0], [1.0, 0, 0]])
  hits = analytic.trace(o, d)
  assert np.isinf(hits.t).all() and (hits.thing == -1).all()
  np.testing.assert_array_equal(hits.normals, 0)
  np.testing.assert_array_equal(analytic.radiance(o, d, hits), 0)


def test_rendering_is_deterministic_and_the_seed_moves_the_train_views():
  pose = synthetic.train_poses(4, seed=3)[1]
  one, two = (synthetic.render_view(pose, 16) for _ in range(2))
  np.testing.assert_array_equal(one['rgba'], two['rgba'])
  assert not np.allclose(pose, synthetic.train_poses(4, seed=4)[1])


def test_folder_is_complete_and_in_blender_format(folder):
  names = sorted(p.name for p in (folder / 'train').iterdir())
  assert names == sorted(
    f'r_{i}{s}' for i in range(3) for s in ('.png', '_disp.tiff', '_normal.png')
  )
  meta = json.loads((folder / 'transforms_test.json').read_text())
  assert len(meta['frames']) == 2
  assert images.read_header(folder / 'test' / 'r_0.png').width == SIZE
  assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_second_use_renders_nothing(folder, monkeypatch):
  monkeypatch.setattr(synthetic, '_write_split', None)  # would raise if called
  assert len(load(folder)) == 3


def test_default_folder_is_in_the_cache_and_named_by_the_parameters(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path))
  cfg = base.DataConfig(
    dataset_loader='synthetic',
    synthetic_resolution=8,
    synthetic_num_train=1,
    synthetic_num_test=1,
  )
  assert len(base.load_scene(cfg, 'test')) == 1
  cache = tmp_path / '.cache' / 'multinerf' / 'scenes'
  assert [synthetic.cache_folder(8, 1, 1)] == list(cache.iterdir())
  base.load_scene(dataclasses.replace(cfg, synthetic_num_test=2), 'test')
  assert len(list(cache.iterdir())) == 2


def test_two_renderings_at_once_leave_one_whole_scene(tmp_path):
  out, failures = tmp_path / 'scene', []
  start = threading.Barrier(2)

  def render():
    start.wait()
    try:
      synthetic.render_scene(out, 8, 2, 1)
    except errors.MultinerfError as e:
      failures.append(e)

  threads = [threading.Thread(target=render) for _ in range(2)]
  for t in threads:
    t.start()
  for t in threads:
    t.join()
  assert not failures
  assert [p.name for p in tmp_path.iterdir()] == ['scene']
  assert len(list((out / 'train').iterdir())) == 6


def test_losing_the_race_to_another_process_is_fine(tmp_path, monkeypatch):
  other = synthetic.render_scene(tmp_path / 'other', 8, 1, 1)
  out, rename = tmp_path / 'scene', os.rename

  def rename_second(source, target):
    if not out.exists():
      rename(other, out)  # the other process finishes at the worst moment
    rename(source, target)

  monkeypatch.setattr(os, 'rename', rename_second)
  assert synthetic.render_scene(out, 8, 1, 1) == out
  assert [p.name for p in tmp_path.iterdir()] == ['scene']


def test_failure_is_one_error_and_leaves_nothing_behind(tmp_path, monkeypatch):
  def fail(*args):
    raise OSError('disk full')

  monkeypatch.setattr(images, 'write_tiff', fail)
  with pytest.raises(errors.DataError, match='disk full.*Config.data_dir'):
    synthetic.render_scene(tmp_path / 'scene', 8, 1, 1)
  assert list(tmp_path.iterdir()) == []


def test_empty_folder_is_filled_and_a_full_one_left_alone(tmp_path):
  empty = tmp_path / 'empty'
  empty.mkdir()
  synthetic.render_scene(empty, 8, 1, 1)
  assert (empty / 'transforms_train.json').exists()
  with pytest.raises(
    errors.DataError, match="'resolution': 8.*Config.data_dir"
  ):
    synthetic.render_scene(empty, 9, 1, 1)
  full = tmp_path / 'photos'
  full.mkdir()
  (full / 'cat.jpg').write_bytes(b'')
  with pytest.raises(errors.DataError, match='no embedded scene'):
    synthetic.render_scene(full, 8, 1, 1)
  assert [p.name for p in full.iterdir()] == ['cat.jpg']


@pytest.mark.parametrize('name', ['resolution', 'num_train', 'num_test'])
def test_sizes_must_be_positive(tmp_path, name):
  with pytest.raises(errors.ConfigError, match=f'Config.synthetic_{name}'):
    synthetic.render_scene(tmp_path / 'scene', **{name: 0})


def test_the_glossy_look_changes_colours_only_and_has_a_folder_of_its_own():
  pose = synthetic.test_poses(4)[1]
  plain = synthetic.render_view(pose, 24)
  glossy = synthetic.render_view(pose, 24, 'glossy')
  for key in ('disps', 'normals'):
    np.testing.assert_array_equal(glossy[key], plain[key])
  seen = plain['rgba'][..., 3] == 1
  difference = np.abs(glossy['rgba'] - plain['rgba'])[seen][:, :3]
  assert np.median(difference) > 0.05
  usual = synthetic.cache_folder(24, 1, 1)
  assert synthetic.cache_folder(24, 1, 1, look='still_life') == usual
  assert synthetic.cache_folder(24, 1, 1, look='glossy') != usual


def test_the_loader_takes_the_look_asked_for_from_a_folder_of_its_own(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(synthetic, '_CACHE', str(tmp_path))
  cfg = base.DataConfig(
    dataset_loader='synthetic',
    synthetic_resolution=SIZE,
    synthetic_num_train=1,
    synthetic_num_test=1,
  )
  looks = ('still_life', 'glossy')
  seen = [
    base.load_scene(dataclasses.replace(cfg, synthetic_look=look), 'test')
    for look in looks
  ]
  assert len(list(tmp_path.iterdir())) == 2
  pose = synthetic.test_poses(1)[0]
  views = [synthetic.render_view(pose, SIZE, look)['rgba'] for look in looks]
  for scene, rgba in zip(seen, views, strict=True):
    stored = scene.images.image(0) / 255
    np.testing.assert_allclose(stored, rgba, atol=0.6 / 255)  # 8 bits
  assert np.abs(views[0] - views[1]).max() > 0.1


def test_an_unknown_look_lists_the_known_ones(tmp_path):
  with pytest.raises(errors.ConfigError, match='still_life, glossy'):
    synthetic.render_scene(tmp_path / 'scene', 8, 1, 1, look='matt')
