"""Layers that the parts of the network are made of."""
