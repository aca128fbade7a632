"""Makes the LPIPS weight file that `Config.lpips_weights` names.

Needs torch (not a dependency of multinerf), for reading two files only:

1. torchvision's ImageNet weights, e.g. `vgg16-397923af.pth` or
   `alexnet-owt-7be5be79.pth` (https://download.pytorch.org/models/);
2. LPIPS's heads `vgg.pth` or `alex.pth`, from `lpips/weights/v0.1/` of
   https://github.com/richzhang/PerceptualSimilarity.

Example:
  python scripts/convert_lpips.py --backbone vgg \
      --features vgg16-397923af.pth --heads vgg.pth --out lpips_vgg.npz

Both are read with `weights_only=True`: no code in them is run.
"""

import argparse

import numpy as np

from multinerf.evaluation import lpips


def read_state_dict(path: str) -> dict[str, np.ndarray]:
  """Reads a torch state dict as numpy arrays."""
  try:
    import torch
  except ImportError as e:
    raise SystemExit(
      'convert_lpips.py needs torch to read the original weights: '
      'pip install torch (in any environment).'
    ) from e
  state = torch.load(path, map_location='cpu', weights_only=True)
  return {name: value.numpy() for name, value in state.items()}


def main(argv: list[str] | None = None) -> None:
  """Converts the two files named on the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--backbone', choices=lpips.BACKBONES, default='vgg')
  parser.add_argument('--features', required=True, help='torchvision .pth')
  parser.add_argument('--heads', required=True, help='LPIPS v0.1 .pth')
  parser.add_argument('--out', required=True, help='the .npz file to write')
  args = parser.parse_args(argv)
  arrays = lpips.from_torch(
    read_state_dict(args.features), read_state_dict(args.heads), args.backbone
  )
  np.savez(args.out, **arrays)
  lpips.load(args.out)  # what was written can be read


if __name__ == '__main__':
  main()
