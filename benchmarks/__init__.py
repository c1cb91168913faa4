"""Measurements against the peers and against this machine's own limits: one script a question.

`make bench` runs them all and writes docs/results/performance.md; `python -m benchmarks.inference --quick` runs one, at
a small size, in seconds. Nothing here is part of the package.
"""
