import errno
import io
import os

import numpy as np
import PIL.Image
import pytest
import run_util
import tensorboardX

from multinerf import errors
from multinerf.training import writer as writer_lib


def read_values(folder):
  """{(tag, step): value message}."""
  return {
    (tag, step): value
    for tag, values in run_util.summaries(folder).items()
    for step, value in values.items()
  }


def decode(value):
  return np.asarray(
    PIL.Image.open(io.BytesIO(value.image.encoded_image_string))
  )


class Heard(list):
  def __call__(self, message):
    assert '\n' not in message
    self.append(message)


def test_scalars_arrive_with_tag_step_and_value(tmp_path):
  with writer_lib.Writer(tmp_path / 'a' / 'b') as writer:
    writer.scalar('train_avg_losses/data', np.float32(0.25), 7)
    writer.scalar('test_rays_per_sec', 12, 8)
    writer.scalar('train_avg_loss', float('nan'), 9)
  values = read_values(tmp_path / 'a' / 'b')
  assert values['train_avg_losses/data', 7].simple_value == 0.25
  assert values['test_rays_per_sec', 8].simple_value == 12
  assert np.isnan(values['train_avg_loss', 9].simple_value)


def test_the_file_is_one_that_tensorboard_reads(tmp_path):
  accumulator = pytest.importorskip(
    'tensorboard.backend.event_processing.event_accumulator',
    reason='needs the package tensorboard',
    exc_type=ImportError,
  )
  with writer_lib.Writer(tmp_path) as writer:
    for step in (1, 2):
      writer.scalar('loss', step / 4, step)
    writer.text('gin_config', 'Config.near = 2', 1)
    writer.histogram('h', np.arange(5.0), 1)
    writer.image('picture', np.zeros((2, 3, 3), np.float32), 1)
  events = accumulator.EventAccumulator(str(tmp_path)).Reload()
  assert [(e.step, e.value) for e in events.Scalars('loss')] == [
    (1, 0.25),
    (2, 0.5),
  ]
  tags = events.Tags()
  assert tags['images'] == ['picture'] and tags['histograms'] == ['h']
  assert tags['tensors'] == ['gin_config']


def test_a_resumed_session_hides_what_the_lost_steps_wrote(tmp_path):
  accumulator = pytest.importorskip(
    'tensorboard.backend.event_processing.event_accumulator',
    reason='needs the package tensorboard',
    exc_type=ImportError,
  )
  with writer_lib.Writer(tmp_path, purge_step=1) as writer:
    for step in range(1, 6):
      writer.scalar('loss', 1.0, step)
  with writer_lib.Writer(tmp_path, purge_step=4) as writer:
    for step in range(4, 8):
      writer.scalar('loss', 2.0, step)
  assert len(list(tmp_path.iterdir())) == 2  # also within one second
  events = accumulator.EventAccumulator(str(tmp_path)).Reload()
  points = [(e.step, e.value) for e in events.Scalars('loss')]
  assert points == [(s, 1.0 if s < 4 else 2.0) for s in range(1, 8)]


def test_images_are_rounded_clipped_and_stored_losslessly(tmp_path):
  image = np.random.default_rng(0).uniform(-0.2, 1.2, (5, 7, 3))
  with writer_lib.Writer(tmp_path) as writer:
    writer.image('colour', image.astype(np.float32), 3)
    writer.image('grey', image[..., :1].astype(np.float32), 3)
  values = read_values(tmp_path)
  want = np.round(np.clip(image.astype(np.float32), 0, 1) * 255)
  np.testing.assert_array_equal(decode(values['colour', 3]), want)
  grey = decode(values['grey', 3])
  np.testing.assert_array_equal(grey, want[..., :1].repeat(3, axis=-1))


@pytest.mark.parametrize('channels', [1, 3])
def test_pixels_that_are_not_finite_are_counted_and_shown(tmp_path, channels):
  image = np.full((4, 5, channels), 0.5, np.float32)
  image[1, 2, 0] = np.nan
  image[3, 4, -1] = np.inf
  heard = Heard()
  with writer_lib.Writer(tmp_path, warn=heard) as writer:
    writer.image('test_output_color', image, 6)
  assert heard == [
    '2 of 20 pixels of test_output_color at step 6 are not finite; they are '
    'shown in magenta.'
  ]
  shown = decode(read_values(tmp_path)['test_output_color', 6])
  magenta = (shown == (255, 0, 255)).all(axis=-1)
  assert sorted(zip(*np.nonzero(magenta), strict=True)) == [(1, 2), (3, 4)]
  assert (shown[~magenta] == 128).all()


def test_images_of_other_channel_counts_are_refused(tmp_path):
  with writer_lib.Writer(tmp_path) as writer:
    with pytest.raises(ValueError, match='depth has 2 channels'):
      writer.image('depth', np.zeros((2, 2, 2), np.float32), 1)


def test_histograms_hold_the_finite_values(tmp_path):
  values = np.array([1.0, 2.0, 4.0, np.nan, np.inf], np.float32)
  with writer_lib.Writer(tmp_path) as writer:
    writer.histogram('some', values, 1)
    writer.histogram('none', values[3:], 1)
    writer.histogram('one', values[:1], 1)
    writer.histogram('huge', np.float32([-3e38, 3e38]), 1)
  found = read_values(tmp_path)
  histo = found['some', 1].histo
  assert (histo.min, histo.max, histo.num, histo.sum) == (1, 4, 3, 7)
  assert sum(histo.bucket) == 3
  assert found['one', 1].histo.num == 1
  assert found['huge', 1].histo.num == 2
  assert ('none', 1) not in found


def test_texts_keep_their_tag_and_content(tmp_path):
  with writer_lib.Writer(tmp_path) as writer:
    writer.text('train_exposure_values', 'ä = [1, 2]', 0)
  value = read_values(tmp_path)['train_exposure_values', 0]
  assert value.tensor.string_val[0].decode() == 'ä = [1, 2]'
  assert value.metadata.plugin_data.plugin_name == 'text'


def test_flush_makes_everything_readable_while_the_writer_is_open(tmp_path):
  with writer_lib.Writer(tmp_path) as writer:
    writer.scalar('a', 1.0, 1)
    writer.flush()
    assert ('a', 1) in read_values(tmp_path)


def test_a_disabled_writer_touches_nothing(tmp_path):
  folder = tmp_path / 'run'
  with writer_lib.Writer(folder, enabled=False, purge_step=3) as writer:
    writer.scalar('a', 1.0, 1)
    writer.image('b', np.full((2, 2, 3), np.nan, np.float32), 1)
    writer.histogram('c', np.ones(3), 1)
    writer.text('d', 'e', 1)
    writer.flush()
  assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_named_with_the_gin_key(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.CheckpointError, match='file/run.*checkpoint_dir'):
    writer_lib.Writer(tmp_path / 'file' / 'run')


def test_a_full_disk_is_reported_once_and_does_not_block(tmp_path, monkeypatch):
  heard = Heard()
  with writer_lib.Writer(tmp_path, warn=heard) as writer:
    writer.scalar('a', 1.0, 1)
    writer.flush()
    with monkeypatch.context() as patch:

      def fail(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

      patch.setattr(tensorboardX.record_writer.RecordWriter, 'write', fail)
      for step in range(2, 50):
        writer.scalar('a', 1.0, step)
      writer.flush()
    writer.scalar('a', 1.0, 99)
  assert len(heard) == 1 and 'No space left on device' in heard[0]
  steps = [step for tag, step in read_values(tmp_path) if tag == 'a']
  assert steps == [1]


def test_a_bug_in_encoding_is_raised_not_swallowed(tmp_path):
  with pytest.raises(TypeError):
    with writer_lib.Writer(tmp_path) as writer:
      writer.text('a', 'b', 1)
      writer._submit(1, lambda: {'summary': 'not a summary'})


def test_training_statistics_get_the_tags_of_multinerf(tmp_path):
  table = {
    'loss': np.float32([3.0, 1.0]),
    'losses/data': np.float32([1.0, 2.0]),
    'psnr': np.float32([20.0, 30.0]),
    'psnrs': np.float32([[10.0, 20.0], [12.0, 30.0]]),
  }
  with writer_lib.Writer(tmp_path) as writer:
    writer_lib.write_train_stats(
      writer,
      table,
      200,
      learning_rate=0.5,
      steps_per_sec=4.0,
      rays_per_sec=64.0,
      num_params=1234,
      elapsed_sec=77.9,
      approx_elapsed_sec=80.2,
    )
  values = read_values(tmp_path)
  got = {
    key: v.simple_value for key, v in values.items() if not v.HasField('histo')
  }
  assert got == {
    ('train_avg_loss', 200): 2.0,
    ('train_max_loss', 200): 3.0,
    ('train_avg_losses/data', 200): 1.5,
    ('train_max_losses/data', 200): 2.0,
    ('train_avg_psnr', 200): 25.0,
    ('train_max_psnr', 200): 30.0,
    ('train_avg_psnrs/0', 200): 11.0,
    ('train_max_psnrs/0', 200): 12.0,
    ('train_avg_psnrs/1', 200): 25.0,
    ('train_max_psnrs/1', 200): 30.0,
    ('train_num_params', 200): 1234.0,
    ('train_learning_rate', 200): 0.5,
    ('train_steps_per_sec', 200): 4.0,
    ('train_rays_per_sec', 200): 64.0,
    ('train_avg_psnr_timed', 77): 25.0,
    ('train_avg_psnr_timed_approx', 80): 25.0,
  }
  names = ('loss', 'losses/data', 'psnr', 'psnrs/0', 'psnrs/1')
  histograms = {k for k, v in values.items() if v.HasField('histo')}
  assert histograms == {(f'train_{name}', 200) for name in names}
  assert values['train_psnrs/1', 200].histo.max == 30.0


def test_a_statistic_that_is_not_finite_shows_in_the_curve(tmp_path):
  table = {'loss': np.float32([1.0, np.nan])}
  with writer_lib.Writer(tmp_path) as writer:
    writer_lib.write_train_stats(
      writer,
      table,
      2,
      learning_rate=0.5,
      steps_per_sec=1.0,
      rays_per_sec=1.0,
      num_params=1,
      elapsed_sec=1.0,
    )
  values = read_values(tmp_path)
  assert np.isnan(values['train_avg_loss', 2].simple_value)
  assert np.isnan(values['train_max_loss', 2].simple_value)
  assert values['train_loss', 2].histo.num == 1
