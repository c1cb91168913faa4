"""Reports on a detector: why its AP is what it is, what to do next, and how it differs from another."""
