"""The commands of the command-line interface, one per file. They import torch only when they run."""
