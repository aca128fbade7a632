"""L4: photographs or a video -> a folder that can be trained on."""
