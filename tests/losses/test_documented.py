"""docs/losses.md lists every loss, and its example works."""

import pathlib
import re

import numpy as np
import pytest
import supervision_util

from multinerf import losses

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'losses.md'
TABLES = (
  losses.DATA_LOSSES,
  losses.REGULARIZERS,
  losses.DEPTH_LOSSES,
  losses.NORMAL_LOSSES,
)


@pytest.mark.parametrize('table', TABLES, ids=lambda t: t.kind)
def test_every_loss_has_a_row_or_a_heading(table):
  text = PAGE.read_text()
  named = re.findall(r'^\| `([\w-]+)` \|', text, re.MULTILINE)
  named += re.findall(r'^## .*: `(\w+)`$', text, re.MULTILINE)
  assert set(table.names()) <= set(named)


def test_the_example_trains(monkeypatch):
  for table in TABLES:
    monkeypatch.setattr(table, '_entries', dict(table._entries))
  (block,) = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
  exec(compile(block, str(PAGE), 'exec'), {'__name__': 'my_losses'})
  gen = np.random.default_rng(0)
  data = dict(
    tdist=np.broadcast_to(np.linspace(2, 6, 4), (8, 4)),
    weights=np.full((8, 3), 0.2),
    depths=gen.uniform(2, 6, 8),
    depth_weights=np.ones(8),
  )
  cfg = dict(depth_loss_type='relative', depth_loss_mult=1.0)
  loss, grad = supervision_util.spread('depth', cfg, data)
  expected = 0.2 * sum((2.6667, 4, 5.3333))
  want = np.mean(np.abs(expected / data['depths'] - 1))
  np.testing.assert_allclose(loss, want, rtol=1e-4)  # of the rounded midpoints
  assert np.all(grad != 0)

  entropy, _ = supervision_util.spread('entropy', {}, data)
  np.testing.assert_allclose(entropy, -1e-3 * 3 * 0.2 * np.log(0.2), rtol=1e-5)

  data |= dict(
    normals=np.ones((8, 3, 3)), truth=np.eye(3)[gen.integers(0, 3, 8)]
  )
  cfg = dict(normal_loss_type='upright', normal_loss_mult=1.0)
  loss, _ = supervision_util.spread('normal', cfg, data)
  np.testing.assert_allclose(
    loss, np.mean(np.abs(0.6 - data['truth'][:, 2])), rtol=1e-5
  )
