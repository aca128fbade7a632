"""JAX/Flax neural radiance fields: train, evaluate and render."""
