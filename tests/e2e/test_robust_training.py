"""The experiments of benchmarks/ on the embedded scene, in small."""

import os
import re
import subprocess
import sys

import pytest
import run_util


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
  found = measure('robustnerf.py', 'Config.max_steps = 300')
  (mse,), (robust,) = found['mse'], found['robustnerf']
  # docs/performance.md has the full experiment and what it gives.
  assert robust > mse + 1.5


@pytest.mark.slow
def test_codes_take_up_the_colour_casts_of_the_photographs():
  # Half the steps are too few: 0.4 dB.
  found = measure('glo.py', 'Config.max_steps = 600')
  # Of the object, after colour correction: 24.93 and 23.02 dB when written.
  assert found['with'][0] > found['without'][0] + 1
