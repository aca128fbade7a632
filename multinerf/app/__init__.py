"""L6: the three programs and the Python API on one core."""
