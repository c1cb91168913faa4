"""The tables and figures of the paper, reproduced with one command on any dataset."""
