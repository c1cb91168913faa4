"""Training: processes, data, state, loop and logs."""
