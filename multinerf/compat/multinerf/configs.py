"""Names of `internal/configs.py`.

`Config(batch_size=4096, ...)` takes the same keywords. It is frozen: change it
with `dataclasses.replace`. gin files are read by `multinerf.config.gin_setup`,
which stands for `load_config`.
"""

from multinerf.config import schema

Config = schema.Config
