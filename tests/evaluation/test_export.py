"""Frames on disk: names, round trips, jobs that share a folder."""

import json

import numpy as np
import pytest

from multinerf import errors
from multinerf.cameras import paths, poses
from multinerf.data import images
from multinerf.evaluation import export, metrics


def test_files_are_called_as_in_multinerf(tmp_path, full_rendering):
  rendering = full_rendering(0)
  tags = export.write_frame(tmp_path, 7, rendering, color_cc=rendering.rgb)
  assert {p.name for p in tmp_path.iterdir()} == {
    'color_007.png', 'color_cc_007.png', 'normals_007.png',
    'normals_pred_007.png', 'distance_mean_007.tiff',
    'distance_median_007.tiff', 'acc_007.tiff',
  }  # fmt: skip
  assert len(tags) == 7
  assert export.frame_path('d', 'color', 12, digits=4).name == 'color_0012.png'
  with pytest.raises(ValueError, match='colour'):
    export.frame_path('d', 'colour', 1)


@pytest.mark.parametrize('num,digits', [(1, 3), (1000, 3), (1001, 4)])
def test_frame_numbers_have_three_digits_or_as_many_as_needed(num, digits):
  assert export.num_digits(num) == digits


def test_files_hold_what_was_rendered(tmp_path, full_rendering):
  rendering = full_rendering(0)
  export.write_frame(tmp_path, 0, rendering)
  png = images.read_image(tmp_path / 'color_000.png') / 255
  np.testing.assert_array_equal(png, metrics.quantize(rendering.rgb))
  normals = images.read_image(tmp_path / 'normals_000.png') / 255
  # Half a level of 8 bits, doubled by the mapping to [-1, 1].
  np.testing.assert_allclose(
    normals * 2 - 1, rendering.normals, atol=1.01 / 255
  )
  for tag in ('distance_mean', 'distance_median', 'acc'):
    stored = images.read_tiff(tmp_path / f'{tag}_000.tiff')
    np.testing.assert_array_equal(stored, getattr(rendering, tag))


def test_only_what_exists_is_written(tmp_path, make_rendering):
  tags = export.write_frame(
    tmp_path, 0, make_rendering(rgb=np.zeros((4, 4, 3)))
  )
  assert tags == ('color',)
  assert [p.name for p in tmp_path.iterdir()] == ['color_000.png']


def test_nonfinite_pixels_are_counted_per_field(make_rendering):
  rgb, depth = np.zeros((4, 5, 3)), np.ones((4, 5))
  assert export.count_nonfinite(make_rendering(rgb=rgb, acc=depth)) == {}
  rgb[1, 2] = np.nan
  rgb[3, 0, 1] = np.inf
  depth[0] = -np.inf
  found = export.count_nonfinite(make_rendering(rgb=rgb, distance_mean=depth))
  assert found == {'rgb': 2, 'distance_mean': 5}


def test_jobs_share_all_frames_and_no_frame_is_done_twice():
  parts = [export.job_frames(10, job_id=j, num_jobs=3) for j in range(3)]
  assert sorted(i for part in parts for i in part) == list(range(10))
  assert list(parts[1]) == [1, 4, 7]
  for job_id in (3, -1):
    with pytest.raises(errors.ConfigError, match='render_job_id'):
      export.job_frames(10, job_id=job_id, num_jobs=3)


def manifest_of(folder, job_id=0, num_jobs=1, path_id='a', num_frames=5):
  return export.FrameManifest(folder, num_frames, path_id, job_id, num_jobs)


def finish(manifest, idx, make_rendering):
  rendering = make_rendering(rgb=np.zeros((4, 4, 3)), acc=np.ones((4, 4)))
  tags = export.write_frame(manifest.folder, idx, rendering)
  manifest.record(idx, tags)


def test_the_last_of_two_jobs_finds_all_frames_complete(
  tmp_path, make_rendering
):
  first, second = (manifest_of(tmp_path, j, 2) for j in range(2))
  assert first.pending() == [0, 2, 4] and second.pending() == [1, 3]
  for idx in (0, 2, 4):
    finish(first, idx, make_rendering)
  assert first.pending() == []
  assert first.missing() == [1, 3]
  for idx in (1, 3):
    finish(second, idx, make_rendering)
  assert second.missing() == []
  assert second.require_complete() == ('color', 'acc')


def test_missing_frames_are_an_error_that_names_them(tmp_path, make_rendering):
  manifest = manifest_of(tmp_path, num_frames=8)
  for idx in (0, 4, 5):
    finish(manifest, idx, make_rendering)
  with pytest.raises(errors.DataError, match='5 of 8 .*: 1-3, 6-7'):
    manifest.require_complete()


def test_a_recorded_frame_whose_file_is_gone_is_missing(
  tmp_path, make_rendering
):
  manifest = manifest_of(tmp_path, num_frames=2)
  finish(manifest, 0, make_rendering)
  finish(manifest, 1, make_rendering)
  (tmp_path / 'acc_001.tiff').unlink()
  assert manifest.missing() == [1] == manifest.pending()


def test_a_file_that_no_manifest_lists_does_not_count(tmp_path, make_rendering):
  manifest = manifest_of(tmp_path, num_frames=1)
  export.write_frame(tmp_path, 0, make_rendering(rgb=np.zeros((4, 4, 3))))
  assert manifest.missing() == [0]


def test_frames_of_another_path_do_not_count(tmp_path, make_rendering):
  old = manifest_of(tmp_path, path_id='old', num_frames=1)
  finish(old, 0, make_rendering)
  new = manifest_of(tmp_path, path_id='new', num_frames=1)
  assert old.missing() == [] and new.missing() == [0]
  finish(new, 0, make_rendering)
  assert new.missing() == []


def test_a_damaged_manifest_is_an_error_that_names_it(tmp_path):
  (tmp_path / 'manifest_0_of_1.json').write_text('{"path_id": "a"')
  with pytest.raises(errors.DataError, match='manifest_0_of_1.json'):
    manifest_of(tmp_path).missing()


def test_the_fingerprint_depends_on_values_shapes_and_labels(make_scene):
  cameras = make_scene(3).cameras
  same = export.fingerprint(make_scene(3).cameras, 'run')
  assert export.fingerprint(cameras, 'run') == same
  moved = cameras.replace(camtoworlds=cameras.camtoworlds + 1e-3)
  others = {
    export.fingerprint(moved, 'run'),
    export.fingerprint(cameras.take(slice(2)), 'run'),
    export.fingerprint(cameras, 'other run'),
  }
  assert len(others | {same}) == 4


def test_poses_are_written_in_the_frame_of_the_files_and_in_the_scene(
  tmp_path,
):
  generator = np.random.default_rng(0)
  turns = np.linalg.qr(generator.normal(size=(4, 3, 3)))[0]
  turns *= np.linalg.det(turns)[:, None, None]
  original = np.concatenate([turns, generator.normal(size=(4, 3, 1))], -1)
  moved, transform = poses.transform_poses_pca(original)
  export.write_poses(tmp_path, moved, transform)
  back = np.load(tmp_path / 'render_poses_input.npy')
  np.testing.assert_allclose(back, original, atol=1e-12)
  # What is read back as Config.render_path_file is the same path.
  np.testing.assert_array_equal(
    paths.load_poses(tmp_path / 'render_poses.npy'), moved
  )
  found = json.loads((tmp_path / 'scene_transform.json').read_text())
  np.testing.assert_array_equal(found['input_to_scene'], transform)
  distance = np.linalg.norm(original[0, :, 3] - original[1, :, 3])
  in_scene = np.linalg.norm(moved[0, :, 3] - moved[1, :, 3])
  assert found['scale'] == pytest.approx(in_scene / distance)
