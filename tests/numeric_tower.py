"""The type checker of the tests: beartype, with int allowed where float is.

That is what Python's own rules say (PEP 484), and gin files rely on it.
"""

import beartype

check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
