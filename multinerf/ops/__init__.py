"""L1: the mathematics, in pure jnp; no configuration, no randomness."""
