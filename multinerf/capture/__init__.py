"""L4: photographs or a video -> a folder that can be trained on.

`pipeline.process` does everything; the other modules are its steps:
`photos` and `video` (input), `pairs` and `sfm` (camera poses, by COLMAP),
`shrink` (smaller copies), `model`, `drawing` and `summary` (the report).
"""
