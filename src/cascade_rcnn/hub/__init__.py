"""Published detectors by name: downloaded on first use, converted and cached."""
