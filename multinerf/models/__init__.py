"""L3: radiance fields as linen modules; the only home of flax.linen."""
