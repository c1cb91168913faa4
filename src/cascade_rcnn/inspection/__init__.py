"""Datasets looked at before anything is trained: what is in them, and what is wrong with them."""
