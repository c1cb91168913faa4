"""Stress tests with faults and hostile input: `python -m benchmarks.torture` (`make torture`).

Mutated files are read in child processes, with one call per case; kills and faults are applied to whole commands. Every
case ends in one `Outcome`, of which the last three must not occur.
"""
