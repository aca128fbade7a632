"""L3: scenes on disk -> `Scene` in memory -> batches of pixels.

The imports below fill the table of loaders, `base.SCENES`.
"""

from multinerf.data import blender as _blender  # noqa: F401
from multinerf.data import dtu as _dtu  # noqa: F401
from multinerf.data import llff as _llff  # noqa: F401
from multinerf.data import multicam as _multicam  # noqa: F401
from multinerf.data import synthetic as _synthetic  # noqa: F401
from multinerf.data import tat_fvs as _tat_fvs  # noqa: F401
from multinerf.data import tat_nerfpp as _tat_nerfpp  # noqa: F401
from multinerf.data import transforms as _transforms  # noqa: F401
