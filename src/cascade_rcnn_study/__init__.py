"""Reproduce the tables and figures of the paper on any dataset with one command."""
