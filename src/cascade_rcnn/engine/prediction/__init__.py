"""Detecting in files, on the disk batch by batch."""
