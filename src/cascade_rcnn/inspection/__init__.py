"""Inspection of datasets before training: what they contain, and what is wrong with them."""
