"""L4: rendering whole images, measuring and showing them."""
