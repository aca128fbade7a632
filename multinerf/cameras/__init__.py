"""L2: cameras, their rays, poses and paths."""
