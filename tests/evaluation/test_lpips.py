"""LPIPS against a numpy twin with random weights; weight files are checked."""

import pathlib
import runpy
import sys
import types as python_types

import numpy as np
import pytest

from multinerf import errors
from multinerf.evaluation import lpips

# The networks as the papers print them: ('conv', kernel, channels, stride,
# pad), ('pool', window), ('depth',): where LPIPS reads.
TWINS = {
  'vgg': [
    ('conv', 3, 64, 1, 1), ('conv', 3, 64, 1, 1), ('depth',), ('pool', 2),
    ('conv', 3, 128, 1, 1), ('conv', 3, 128, 1, 1), ('depth',), ('pool', 2),
    *[('conv', 3, 256, 1, 1)] * 3, ('depth',), ('pool', 2),
    *[('conv', 3, 512, 1, 1)] * 3, ('depth',), ('pool', 2),
    *[('conv', 3, 512, 1, 1)] * 3, ('depth',),
  ],
  'alex': [
    ('conv', 11, 64, 4, 2), ('depth',), ('pool', 3),
    ('conv', 5, 192, 1, 2), ('depth',), ('pool', 3),
    ('conv', 3, 384, 1, 1), ('depth',),
    ('conv', 3, 256, 1, 1), ('depth',),
    ('conv', 3, 256, 1, 1), ('depth',),
  ],
}  # fmt: skip
SIZE = {'vgg': 17, 'alex': 37}


def windows(x, size, stride):
  view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))
  return view[::stride, ::stride]  # [h, w, c, size, size]


def twin(params, a, b, backbone):
  """LPIPS in float64 numpy, straight from the definition."""
  shift, scale = [-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]
  pair = [(2 * x - 1 - shift) / scale for x in (a, b)]
  total, conv, depth = 0.0, 0, 0
  for kind, *args in TWINS[backbone]:
    if kind == 'conv':
      kernel = params[f'conv{conv}/kernel'].astype(np.float64)
      assert kernel.shape[0] == args[0] and kernel.shape[3] == args[1]
      size, _, stride, pad = args
      pair = [np.pad(x, ((pad, pad), (pad, pad), (0, 0))) for x in pair]
      pair = [
        np.maximum(
          np.einsum('hwcij,ijcd->hwd', windows(x, size, stride), kernel,
                    optimize=True)
          + params[f'conv{conv}/bias'], 0)
        for x in pair
      ]  # fmt: skip
      conv += 1
    elif kind == 'pool':
      pair = [windows(x, args[0], 2).max((-2, -1)) for x in pair]
    else:
      p, q = [x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)
              for x in pair]  # fmt: skip
      total += np.mean((p - q) ** 2 @ params[f'lin{depth}/kernel'])
      depth += 1
  return total


def random_weights(backbone, seed=0):
  gen = np.random.default_rng(seed)
  out = {'backbone': np.array(backbone)}
  for key, shape in lpips.param_shapes(backbone).items():
    if key.startswith('lin'):
      value = gen.uniform(size=shape)
    else:
      fan_in = np.prod(shape[:-1])
      value = gen.standard_normal(shape, np.float32) * np.sqrt(2 / fan_in)
    out[key] = value.astype(np.float32)
  return out


@pytest.fixture(scope='module', params=['vgg', 'alex'])
def weight_file(request, tmp_path_factory):
  path = tmp_path_factory.mktemp('lpips') / f'{request.param}.npz'
  np.savez(path, **random_weights(request.param))
  return path


def two_images(backbone):
  gen = np.random.default_rng(1)
  return gen.uniform(size=(2, SIZE[backbone], SIZE[backbone] + 2, 3))


def test_distance_equals_the_numpy_twin(weight_file):
  metric = lpips.load(weight_file)
  a, b = two_images(metric.backbone)
  want = twin(metric.params, a, b, metric.backbone)
  # float32 through up to 13 layers against float64.
  np.testing.assert_allclose(metric(a, b), want, rtol=1e-4)
  assert want > 0.01


def test_equal_images_are_at_distance_zero_and_order_does_not_matter(
  weight_file,
):
  metric = lpips.load(weight_file)
  a, b = two_images(metric.backbone)
  # The two of a batch may be rounded differently: the square of float32 eps.
  assert 0.0 <= metric(a, a) < 1e-12
  np.testing.assert_allclose(metric(a, b), metric(b, a), rtol=1e-5)


def test_too_small_images_are_an_error(weight_file):
  metric = lpips.load(weight_file)
  tiny = np.zeros((12, 40, 3))
  with pytest.raises(errors.DataError, match='40x12'):
    metric(tiny, tiny)


def torch_like(weights):
  """The state dicts that from_torch reads, made from our layout."""
  backbone = str(weights['backbone'])
  features, heads = {'classifier.0.weight': np.zeros(3)}, {}
  for i, conv in enumerate(lpips.BACKBONES[backbone]):
    name = f'features.{conv.torch_idx}'
    features[f'{name}.weight'] = weights[f'conv{i}/kernel'].transpose(
      3, 2, 0, 1
    )
    features[f'{name}.bias'] = weights[f'conv{i}/bias']
  for k in range(5):
    heads[f'lin{k}.model.1.weight'] = weights[f'lin{k}/kernel'][
      None, :, None, None
    ]
  return features, heads


def test_conversion_from_torch_restores_every_array():
  weights = random_weights('alex')
  found = lpips.from_torch(*torch_like(weights), 'alex')
  assert set(found) == set(weights)
  for key, want in weights.items():
    np.testing.assert_array_equal(found[key], want)


def test_conversion_names_a_missing_entry():
  features, heads = torch_like(random_weights('alex'))
  del heads['lin3.model.1.weight']
  with pytest.raises(errors.ConfigError, match='lin3.model.1.weight'):
    lpips.from_torch(features, heads, 'alex')


def test_the_converter_script_writes_a_file_that_loads(tmp_path, monkeypatch):
  weights = random_weights('alex')
  states = dict(zip(('f.pth', 'h.pth'), torch_like(weights), strict=True))

  class Tensor:
    def __init__(self, value):
      self.value = value

    def numpy(self):
      return self.value

  def fake_load(path, *, map_location, weights_only):
    assert weights_only, 'a pickle could run code'
    return {k: Tensor(v) for k, v in states[path].items()}

  torch = python_types.ModuleType('torch')
  torch.load = fake_load
  monkeypatch.setitem(sys.modules, 'torch', torch)
  root = pathlib.Path(__file__).resolve().parents[2]
  script = runpy.run_path(str(root / 'scripts' / 'convert_lpips.py'))
  out = tmp_path / 'alex.npz'
  script['main'](
    ['--backbone', 'alex', '--features', 'f.pth', '--heads', 'h.pth',
     '--out', str(out)]
  )  # fmt: skip
  metric = lpips.load(out)
  np.testing.assert_array_equal(
    metric.params['conv2/kernel'], weights['conv2/kernel']
  )


BREAKS = {
  'missing': (lambda w: w.pop('lin2/kernel'), "'lin2/kernel' is missing"),
  'shape': (
    lambda w: w.update({'conv0/bias': np.zeros(3, np.float32)}),
    r"'conv0/bias' is of shape \(3,\)",
  ),
  'nan': (
    lambda w: w.update({'conv0/bias': np.full(64, np.nan, np.float32)}),
    'not finite',
  ),
  'backbone': (lambda w: w.update(backbone=np.array('resnet')), 'resnet'),
  'pickle': (
    lambda w: w.update({'conv0/bias': np.array([{}] * 64, object)}),
    'not an .npz file of plain arrays',
  ),
}


@pytest.mark.parametrize('how', BREAKS)
def test_a_damaged_weight_file_is_an_error_that_says_why(tmp_path, how):
  weights = random_weights('alex')
  damage, message = BREAKS[how]
  damage(weights)
  np.savez(tmp_path / 'w.npz', **weights)
  with pytest.raises(errors.ConfigError, match=message):
    lpips.load(tmp_path / 'w.npz')


def test_a_file_of_another_kind_or_none_is_an_error(tmp_path):
  with pytest.raises(errors.ConfigError, match='does not exist'):
    lpips.load(tmp_path / 'none.npz')
  (tmp_path / 'text.npz').write_text('hello')
  np.save(tmp_path / 'array.npy', np.zeros(3))
  for name in ('text.npz', 'array.npy'):
    with pytest.raises(errors.ConfigError, match='not an .npz file'):
      lpips.load(tmp_path / name)
