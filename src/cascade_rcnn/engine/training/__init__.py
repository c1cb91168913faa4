"""One training: its processes, data, state, loop and logs."""
