"""The commands of the command line, one per file. They import torch lazily."""
