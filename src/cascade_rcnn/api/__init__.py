"""The Python API, one function per command. It converts paths, names and objects to the types of the engine."""
