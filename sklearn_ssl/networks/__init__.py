"""Encoders, backbones, heads and decoders."""
