"""What the command line can do, one function a command: from what users have (paths, names, objects) to the engine."""
