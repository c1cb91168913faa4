"""A campaign of faults and hostile input: `python -m benchmarks.torture` (`make torture`).

Mutated files are read in child processes, one call a case; kills and faults meet whole commands. Every case ends as one
of `Outcome`; the last three must not occur.
"""
