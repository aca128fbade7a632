"""The names of google-research/multinerf's `internal` package.

`from internal import stepfun, coord` becomes
`from multinerf.compat.multinerf import stepfun, coord`. One module per module
there, functions with the same names, positional order, keywords and defaults,
over our own implementations; docs/porting.md lists what differs and what is
left out. Not imported by anything else in the package.
"""
