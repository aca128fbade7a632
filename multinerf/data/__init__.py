"""L3: scenes on disk -> `Scene` in memory -> batches of pixels."""
