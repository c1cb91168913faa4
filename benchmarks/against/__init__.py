"""This package beside what a user would otherwise pick: equal data, equal processor time, equal image size."""
