"""Backbones: pixels to feature maps, and their pretrained weights."""
