"""The names of jonbarron/camp_zipnerf's `internal` package.

`from camp_zipnerf.internal import stepfun, coord` becomes
`from multinerf.compat.camp_zipnerf import stepfun, coord`. One module per
module there, functions with the same names, positional order, keywords and
defaults, over our own implementations. Where multinerf and camp_zipnerf differ
in contract, each has its own adapter: see `multinerf.compat.multinerf`.
docs/porting.md lists what differs and what is left out. Not imported by
anything else in the package.
"""
