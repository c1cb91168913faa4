"""Model export to three formats, always verified."""
