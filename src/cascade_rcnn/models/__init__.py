"""The detector, its parts, and the code that builds, configures and loads it."""
