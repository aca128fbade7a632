"""multinerf-bench: what this machine makes of the presets."""
