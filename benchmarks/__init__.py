"""Benchmarks against other frameworks and against the limits of the machine, with one script for each question.

`make bench` runs them all and writes docs/results/performance.md; `python -m benchmarks.inference --quick` runs one of
them at a small size, in seconds. Nothing here is part of the package.
"""
