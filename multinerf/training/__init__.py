"""L4: the train step, its state, and the loop around it."""
