"""L6: the names that research code built on MultiNeRF imports."""
