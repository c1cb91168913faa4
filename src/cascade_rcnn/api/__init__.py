"""The Python API, one function per command: converts users' paths, names and objects to the engine's types."""
