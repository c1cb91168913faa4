"""Model export: one graph, three formats, always verified."""
