"""Detectors published by others, by name: downloaded on first use, converted and cached."""
