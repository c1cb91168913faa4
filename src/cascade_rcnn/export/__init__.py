"""Models out: one graph, three formats, always verified."""
