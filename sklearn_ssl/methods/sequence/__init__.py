"""Sequences: methods that predict masked tokens of texts."""
