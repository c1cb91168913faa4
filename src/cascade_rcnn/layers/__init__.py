"""Layers shared by backbones, necks and heads."""
