"""Checks of a model's options before anything is compiled."""

from typing import Any

import numpy as np

from multinerf import errors
from multinerf.models import build


def check_for_scene(model: Any, num_images: int, near: Any) -> None:
  """Checks a model against the views it is to be trained on.

  Args:
    model: Any model.
    num_images: How many training images there are.
    near: Near bound of their cameras, one or one each.

  Raises:
    ConfigError: They do not go together; see the checks below.
  """
  build.check_num_images(model, num_images)
  check_near(model, near)


def check_near(model: Any, near: Any) -> None:
  """Checks that the curve of the distances is finite where rays begin.

  Args:
    model: Any model.
    near: Near bounds of cameras, one or an array, before a box crops them: of a ray that misses
      the box, near = far = 0, the curve is not asked.

  Raises:
    ConfigError: 1/t or log t of near <= 0.
  """
  fn = getattr(model, 'raydist_fn', None)
  if isinstance(fn, tuple | list) and fn:
    fn = fn[0]
  name, lowest = getattr(fn, '__name__', ''), float(np.min(near))
  if name in ('reciprocal', 'log') and lowest <= 0:
    raise errors.ConfigError(
      f'Model.raydist_fn = @jnp.{name} needs near > 0, but training cameras '
      f'have {lowest:g}; raise Config.near, or set Model.raydist_fn = '
      "'piecewise', or None where Config.forward_facing makes near 0."
    )
