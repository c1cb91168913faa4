"""Detectors that others publish, by name: fetched on first use, converted, kept."""
