import contextlib
import io
import itertools
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from multinerf.training import console


class Terminal(io.StringIO):
  def isatty(self):
    return True


def make_progress(**changes):
  fields = {
    'step': 100,
    'max_steps': 250000,
    'loss': 0.0123456,
    'psnr': 9.87654,
    'learning_rate': 0.00195,
    'losses': {'data': 0.5, 'interlevel': 3e-5, 'distortion': 12.0},
    'rays_per_sec': 12345.6,
  }
  return console.Progress(**(fields | changes))


def test_the_report_line_is_that_of_multinerf():
  assert console.format_progress(make_progress()) == (
    '    100/250000: loss=0.01235, psnr= 9.877, lr=1.95e-03 | '
    'data=0.50000, inte=3.0e-05, dist=1.2e+01, 12346 r/s'
  )


def test_the_time_left_is_appended():
  line = console.format_progress(make_progress(eta_sec=3725.4))
  assert line.endswith('12346 r/s, eta 1:02:05')


@pytest.mark.parametrize('max_steps', [1, 9, 10, 11, 1000, 25000])
def test_steps_are_aligned_from_first_to_last(max_steps):
  lines = [
    console.format_progress(make_progress(step=step, max_steps=max_steps))
    for step in (1, max_steps)
  ]
  assert len({line.index('/') for line in lines}) == 1


def test_a_report_without_losses_and_with_nan_is_still_a_line():
  nan = float('nan')
  line = console.format_progress(make_progress(losses={}, loss=nan, psnr=nan))
  assert 'loss=nan, psnr=   nan' in line and '| 12346 r/s' in line


def test_losses_that_share_four_letters_stay_apart():
  names = ['interlevel_0', 'interlevel_1', 'data', 'data_coarse', 'distortion']
  assert console.short_names(names) == {
    'interlevel_0': 'interlevel_0',
    'interlevel_1': 'interlevel_1',
    'data': 'data',
    'data_coarse': 'data_',
    'distortion': 'dist',
  }
  losses = {name: i + 1.0 for i, name in enumerate(names)}
  line = console.format_progress(make_progress(losses=losses))
  for text in ('interlevel_0=1.0', 'interlevel_1=2.0', 'data=3.0', 'data_=4.0'):
    assert text in line


@hypothesis.given(st.lists(st.text('ab', max_size=9), unique=True, max_size=8))
def test_short_names_are_different_prefixes_no_longer_than_needed(names):
  short = console.short_names(names)
  assert list(short) == names
  assert len(set(short.values())) == len(names)
  for name, cut in short.items():
    assert name.startswith(cut)
    if len(cut) > 4:  # one letter less would also fit another name
      assert any(other.startswith(cut[:-1]) for other in names if other != name)
    else:
      assert cut == name[:4]


@pytest.mark.parametrize(
  'value, text',
  [
    (1e-4, '0.00010'),
    (9.9e-5, '9.9e-05'),
    (0.0, '0.0e+00'),
    (9.99, '9.99000'),
    (10.0, '1.0e+01'),
    (float('nan'), 'nan'),
    (float('inf'), 'inf'),
  ],
)
def test_losses_switch_to_exponents_outside_1e_4_to_10(value, text):
  assert console.format_loss(value) == text


@pytest.mark.parametrize(
  'seconds, text',
  [
    (0, '0:00:00'),
    (59.6, '0:01:00'),
    (3725, '1:02:05'),
    (2 * 86400 + 3 * 3600, '2 d 3:00:00'),
    (-3.0, '0:00:00'),
    (float('inf'), '?'),
    (float('nan'), '?'),
  ],
)
def test_durations(seconds, text):
  assert console.format_duration(seconds) == text


def test_the_other_lines_are_those_of_multinerf():
  assert console.format_num_params(612356) == (
    'Number of parameters being optimized: 612356'
  )
  assert console.format_test_render(5000, 2.5, 10000) == (
    'Eval 5000: 2.500s., 4000 rays/sec'
  )
  assert console.format_test_render(1, 0.0, 10) == (
    'Eval 1: 0.000s., inf rays/sec'
  )
  assert console.format_metric('psnr', 30.12346) == 'psnr = 30.1235'
  assert '12.3s' in console.format_compile_time(12.34)


def test_a_log_file_gets_plain_lines_at_once():
  class Log(io.StringIO):
    flushed = ''

    def flush(self):
      self.flushed = self.getvalue()

  log = Log()
  con = console.Console(stream=log)
  with con.progress_bar(0, 100):
    con.advance(50)
    con.report(make_progress())
    con.warn('odd')
  want = [console.format_progress(make_progress()), 'WARNING: odd']
  assert log.flushed.splitlines() == want


def test_a_terminal_gets_a_bar_and_the_same_lines():
  terminal = Terminal()
  con = console.Console(stream=terminal)
  with con.progress_bar(40, 80):
    con.advance(60)
    con.report(make_progress())
    con.warn('odd')
  con.line('after')
  text = terminal.getvalue()
  assert '40/80' in text and '60/80' in text and 'psnr=9.88' in text
  lines = re.split(r'[\r\n]+', text)
  assert console.format_progress(make_progress()) in lines
  assert 'WARNING: odd' in lines
  assert lines[-2:] == ['after', '']


def test_the_bar_ends_with_the_block_also_on_errors():
  terminal = Terminal()
  con = console.Console(stream=terminal)
  with pytest.raises(KeyError):
    with con.progress_bar(0, 10):
      raise KeyError
  before = terminal.getvalue()
  con.advance(5)
  con.line('x')
  assert terminal.getvalue() == before + 'x\n'


@pytest.mark.parametrize('make', [io.StringIO, Terminal])
def test_other_processes_stay_silent(make):
  stream = make()
  con = console.Console(enabled=False, stream=stream)
  with con.progress_bar(0, 10):
    con.advance(1)
    con.line('a')
    con.warn('b')
    con.report(make_progress())
  assert stream.getvalue() == ''


def test_standard_output_is_the_default(capsys):
  console.Console().line('hello')
  assert capsys.readouterr().out == 'hello\n'


def test_the_width_follows_the_number_of_digits():
  for exponent, extra in itertools.product(range(1, 6), (0, 1)):
    max_steps = 10**exponent + extra
    line = console.format_progress(make_progress(step=1, max_steps=max_steps))
    # ceil(log10(max_steps)) + 1, spec/behaviour.md 13.3.
    assert line.index('/') == exponent + extra + 1


def test_a_log_on_a_full_disk_does_not_end_the_run():
  with open('/dev/full', 'w') as full:
    shown = console.Console(stream=full)
    shown.line('lost')
    shown.warn('lost, too')
    with contextlib.suppress(OSError):  # what the file still holds back
      full.close()
