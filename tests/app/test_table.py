"""multinerf-table: results.json of runs to Markdown and LaTeX."""

import dataclasses
import json
import re

import pytest

from multinerf.app import table
from multinerf.evaluation import results

MARKDOWN = """\
| scene | base: PSNR ↑ | big: PSNR ↑ | base: LPIPS ↓ | big: LPIPS ↓ |
| --- | ---: | ---: | ---: | ---: |
| hot_dog | 36.50 | **37.25** | **0.041** | **0.041** |
| lego | **34.00** | 33.12 | 0.050 | **0.025** |
| mean | **35.25** | 35.19 | 0.046 | **0.033** |
"""
LATEX = r"""\begin{tabular}{lrrrr}
\toprule
 & \multicolumn{2}{c}{PSNR $\uparrow$} & \multicolumn{2}{c}{LPIPS $\downarrow$} \\
scene & base & big & base & big \\
\midrule
hot\_dog & 36.50 & \textbf{37.25} & \textbf{0.041} & \textbf{0.041} \\
lego & \textbf{34.00} & 33.12 & 0.050 & \textbf{0.025} \\
\midrule
mean & \textbf{35.25} & 35.19 & 0.046 & \textbf{0.033} \\
\bottomrule
\end{tabular}
"""


def evaluate(
  folder, psnr=30.0, lpips=0.05, *, step=250_000, small=None, **protocol
):
  """Writes results.json as eval.py does, from one image.

  `small` is the PSNR of another one of half the size.
  """
  image = results.ImageResult(
    index=0,
    name='r_0.png',
    metrics={'psnr': psnr, 'ssim': 0.9, 'lpips': lpips},
    metrics_cc={'psnr': psnr + 1, 'ssim': 0.95, 'lpips': lpips},
    nonfinite={},
    num_rays=1,
    render_seconds=1.0,
  )
  images = (image,)
  if small is not None:
    metrics = dict(image.metrics, psnr=small)
    images += (dataclasses.replace(image, metrics=metrics, scale=2),)
  found = results.Results(
    step=step,
    images=images,
    protocol={'factor': 4} | protocol,
    test_names=('r_0.png',),
    lpips_reason=None,
    wall_seconds=1.0,
    device='1 x cpu',
  )
  results.write_results(folder / 'results.json', found)


@pytest.fixture
def runs(tmp_path):
  evaluate(tmp_path / 'base' / 'lego', 34.0, 0.05)
  evaluate(tmp_path / 'base' / 'hot_dog', 36.5, 0.0412)
  evaluate(tmp_path / 'big' / 'lego', 33.123, 0.025)
  # Differs from base/hot_dog in a digit that is not shown: equally good.
  evaluate(tmp_path / 'big' / 'hot_dog', 37.25, 0.0411)
  return tmp_path


@pytest.fixture
def call(capsys):
  def run(*args):
    status = table.main(['multinerf-table', *map(str, args)])
    out, err = capsys.readouterr()
    return status, out, err

  return run


@pytest.mark.parametrize(
  'kind, want', [('markdown', MARKDOWN), ('latex', LATEX)]
)
def test_methods_stand_side_by_side_and_the_best_is_bold(
  runs, call, kind, want
):
  flags = (f'--format={kind}', '--metrics=psnr,lpips')
  assert call(runs / 'base', runs / 'big', *flags) == (0, want, '')
  # The folder above both, and every run by name, are the same runs.
  assert call(runs, *flags) == (0, want, '')
  each = [runs / e / s for s in ('hot_dog', 'lego') for e in ('base', 'big')]
  assert call(*each, *flags) == (0, want, '')


def test_one_method_has_one_column_per_metric_and_nothing_bold(runs, call):
  want = """\
| scene | PSNR ↑ | SSIM ↑ | LPIPS ↓ |
| --- | ---: | ---: | ---: |
| hot_dog | 36.50 | 0.900 | 0.041 |
| lego | 34.00 | 0.900 | 0.050 |
| mean | 35.25 | 0.900 | 0.046 |
"""
  assert call(runs / 'base') == (0, want, '')


def test_one_run_has_no_mean_and_latex_no_second_header(runs, call):
  status, out, _ = call(runs / 'big' / 'lego', '--format=latex')
  assert status == 0
  assert out == (
    '\\begin{tabular}{lrrr}\n\\toprule\n'
    'scene & PSNR $\\uparrow$ & SSIM $\\uparrow$ & LPIPS $\\downarrow$ \\\\\n'
    '\\midrule\nlego & 33.12 & 0.900 & 0.025 \\\\\n'
    '\\bottomrule\n\\end{tabular}\n'
  )


def test_colour_corrected_metrics_and_the_file(runs, call, tmp_path):
  path = tmp_path / 'tables' / 'cc.md'
  status, out, _ = call(
    runs / 'base', '--cc', '--metrics=psnr', f'--out={path}'
  )
  assert (status, out) == (0, '')
  assert '| lego | 35.00 |' in path.read_text(encoding='utf-8')


def test_images_of_several_sizes_have_a_column_for_each(tmp_path, call):
  for name, small in (('single', 24.0), ('multi', 36.0)):
    evaluate(tmp_path / name / 'lego', 30.0, small=small)
  want = """\
| scene | PSNR ↑ | PSNR 1x ↑ | PSNR 2x ↑ | SSIM ↑ | SSIM 1x ↑ | SSIM 2x ↑ |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| lego | 27.00 | 30.00 | 24.00 | 0.900 | 0.900 | 0.900 |
"""
  flags = ('--by_scale', '--metrics=psnr,ssim')
  assert call(tmp_path / 'single', *flags) == (0, want, '')
  status, out, _ = call(tmp_path, '--metrics=psnr_2x', '--format=latex')
  assert status == 0
  assert r'PSNR 2x $\uparrow$' in out
  assert r'lego & \textbf{36.00} & 24.00' in out
  _, out, err = call(tmp_path / 'multi', '--metrics=psnr')
  assert '| lego | 33.00 |' in out
  assert '--by_scale' in err


def test_results_from_before_there_were_sizes_are_read(tmp_path, call):
  evaluate(tmp_path / 'a' / 'lego')
  path = tmp_path / 'a' / 'lego' / 'results.json'
  found = json.loads(path.read_text())
  del found['mean_by_scale'], found['mean_cc_by_scale']
  path.write_text(json.dumps(found))
  assert '| lego | 30.00 |' in call(tmp_path / 'a', '--metrics=psnr')[1]
  path.write_text(json.dumps(found | {'mean_by_scale': {'a': {}}}))
  status, _, err = call(tmp_path / 'a')
  assert status == 1 and "results.json: mean_by_scale has the scale 'a'" in err


def test_scenes_of_released_data_get_their_published_names(tmp_path, call):
  evaluate(tmp_path / 'a' / 'gardenvase')
  status, out, _ = call(tmp_path / 'a', '--published_names')
  assert status == 0 and '| garden |' in out
  assert '| gardenvase |' in call(tmp_path / 'a')[1]


def test_what_is_missing_is_a_dash_is_named_and_makes_no_mean(runs, call):
  (runs / 'big' / 'lego' / 'results.json').unlink()
  (runs / 'big' / 'lego' / 'checkpoint_4').touch()
  status, out, err = call(runs, '--metrics=psnr')
  assert status == 0
  assert out.splitlines()[2:] == [
    '| hot_dog | 36.50 | **37.25** |',
    '| lego | 34.00 | - |',
    '| mean | 35.25 | - |',
  ]
  assert f'{runs}/big/lego has checkpoints but no results.json' in err
  assert 'There is no big/lego.' in err


def test_what_training_put_aside_is_no_run_and_links_keep_their_names(
  runs, call
):
  aside = runs / 'base' / 'lego' / 'collapsed_seed_1'
  aside.mkdir()
  (aside / 'checkpoint_4').touch()
  (runs / 'linked').mkdir()
  (runs / 'linked' / 'toys').symlink_to(runs / 'base' / 'lego')
  status, out, err = call(runs / 'base' / 'lego', runs / 'linked')
  assert (status, 'collapsed' in err) == (0, False)
  assert '| toys |' in out and 'linked: PSNR' in out


def test_a_metric_that_was_not_measured_is_said(tmp_path, call):
  evaluate(tmp_path / 'a' / 'b', lpips=float('nan'))  # null in the file
  status, out, err = call(tmp_path / 'a')
  assert status == 0
  assert '| b | 30.00 | 0.900 | - |' in out
  assert err == 'note: No run has a value of lpips.\n'


def test_runs_that_do_not_compare_are_named(runs, call):
  evaluate(runs / 'big' / 'lego', step=100, factor=2)
  _, _, err = call(runs)
  assert 'different steps: [100, 250000]' in err
  assert 'The runs of lego have different Config.factor' in err
  assert 'hot_dog' not in err


def test_other_test_images_are_named(runs, call):
  path = runs / 'big' / 'lego' / 'results.json'
  found = json.loads(path.read_text())
  path.write_text(json.dumps(found | {'test_names': ['r_1.png']}))
  assert 'The runs of lego measure different test images' in call(runs)[2]


def change(**fields):
  def apply(path):
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | fields))

  return apply


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda path: path.write_text('{"step": 1'), 'is not valid JSON'),
    (change(mean=None), "'mean' is missing"),
    (change(mean={'psnr': 'high'}), "mean: 'psnr' is 'high'"),
    (change(step='last'), "'step' is 'last'"),
    (change(format_version=7), 'has format 7'),
  ],
)
def test_a_broken_file_is_named_and_nothing_is_printed(
  runs, call, damage, message
):
  path = runs / 'big' / 'lego' / 'results.json'
  damage(path)
  status, out, err = call(runs)
  assert (status, out) == (1, '')
  assert err.startswith('error: ') and err.count('\n') == 1
  assert str(path) in err and message in err


@pytest.mark.parametrize(
  'args, message',
  [
    (['nowhere'], 'nowhere is not a folder of runs'),
    (['empty'], 'no results.json in .*empty'),
    (['base', '--metrics=psnt'], "metric 'psnt'; known: lpips, psnr, ssim"),
    (['base', 'other'], 'called base/lego'),
    (['base', '--out=base'], 'base'),
  ],
)
def test_mistakes_are_one_line(runs, call, monkeypatch, args, message):
  (runs / 'empty').mkdir()
  evaluate(runs / 'other' / 'base' / 'lego')
  monkeypatch.chdir(runs)
  status, out, err = call(*args)
  assert (status, out) == (1, '')
  assert err.count('\n') == 1
  assert re.search(message, err), err
