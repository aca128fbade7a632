"""The experiments of benchmarks/ on the embedded scene, in small."""

import os
import re
import subprocess
import sys

import pytest
import run_util

FEWER = ('Config.max_steps = 300', 'Config.batch_size = 1024')


def measure(script, *bindings):
  """{first word of a line: the PSNRs in it} of an experiment's output."""
  env = dict(os.environ, PYTHONPATH=str(run_util.CHECKOUT))
  # Those of conftest.py are quick to compile, and slow to run for long.
  env['XLA_FLAGS'] = '--xla_force_host_platform_device_count=1'
  done = subprocess.run(
    [sys.executable, run_util.CHECKOUT / 'benchmarks' / script, *bindings],
    env=env,
    capture_output=True,
    text=True,
    check=True,
  )
  lines = re.findall(r'^(\w+).* PSNR .*$', done.stdout, re.MULTILINE)
  values = re.findall(r'^\w+.* PSNR (.*)$', done.stdout, re.MULTILINE)
  return {
    name: [float(x) for x in re.findall(r'([\d.]+) dB', text)]
    for name, text in zip(lines, values, strict=True)
  }


@pytest.mark.slow
def test_masks_keep_out_what_passes_before_the_camera():
  found = measure('robustnerf.py', *FEWER)
  (mse,), (robust,) = found['mse'], found['robustnerf']
  # docs/performance.md has the full experiment and what it gives.
  assert robust > mse + 1.5


@pytest.mark.slow
def test_codes_take_up_the_colour_casts_of_the_photographs():
  found = measure('glo.py', *FEWER)
  # Of the object, after colour correction.
  assert found['with'][0] > found['without'][0] + 0.5
