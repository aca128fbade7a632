"""Packaging of multinerf: `pip install -e .[video]` or `pip wheel .`.

Versions have lower bounds only, so that the package installs beside whatever
JAX a machine needs; the bounds are the oldest releases the code is meant for.
"""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).resolve().parent

CORE = [
  'absl-py>=2.0',
  'flax>=0.12.8',
  'gin-config>=0.5',
  'jax>=0.10.2',
  'jaxtyping>=0.3',
  'numpy>=2.0',
  'optax>=0.2.8',
  'pillow>=10.0',
  'scipy>=1.14',
  'tensorboardX>=2.6.2',
  'tqdm>=4.60',
]
VIDEO = ['imageio>=2.31', 'imageio-ffmpeg>=0.4.9']
RAW = ['rawpy>=0.20']
COLMAP = ['pycolmap>=4.0']
TEST = (
  VIDEO
  + RAW
  + [
    # Where there are wheels; the tests that need it are skipped without.
    *(f'{x}; platform_machine in "x86_64 AMD64 arm64"' for x in COLMAP),
    'beartype>=0.18',
    'hypothesis>=6.90',
    'pytest>=8.2',
    'pytest-xdist>=3.5',
    # Reads back the event files that the writer tests make.
    'tensorboard>=2.20',
    # The first release that builds wheels without the `wheel` package; the
    # packaging test builds one without fetching anything.
    'setuptools>=70.1',
  ]
)

setuptools.setup(
  name='multinerf',
  version='0.1.0',
  description='Neural radiance fields in JAX: train, evaluate and render.',
  long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.11',
  install_requires=CORE,
  extras_require={
    'colmap': COLMAP,
    'cuda12': ['jax[cuda12]'],
    'cuda13': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    'raw': RAW,
    'video': VIDEO,
    'test': TEST,
    'dev': TEST + ['pyright', 'ruff'],
  },
  packages=[
    *setuptools.find_packages(include=['multinerf', 'multinerf.*']),
    'multinerf.gin_configs',
  ],
  # The presets live at the top of the checkout, where users look for them,
  # and inside the package once installed.
  package_dir={'multinerf.gin_configs': 'gin_configs'},
  package_data={'multinerf.gin_configs': ['*.gin']},
  entry_points={
    'console_scripts': [
      'multinerf-train = multinerf.app.train:main',
      'multinerf-eval = multinerf.app.eval:main',
      'multinerf-render = multinerf.app.render:main',
      'multinerf-launch = multinerf.app.launch:main',
      'multinerf-check = multinerf.app.check:main',
      'multinerf-table = multinerf.app.table:main',
      'multinerf-bench = multinerf.app.bench.main:main',
      'multinerf-process = multinerf.app.process:main',
    ],
  },
  zip_safe=False,
)
