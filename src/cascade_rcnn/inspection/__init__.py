"""Dataset inspection before training: contents and problems."""
