"""Horizontal-flip test-time augmentation."""

import torch
from torch import nn


class FlipTTA(nn.Module):
    """Horizontal-flip test-time augmentation: mean features of images and mirror images."""

    copies = 2  # of each image in a batch

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images):
        """Return the features of images (n, c, h, w)."""
        # In one batch, so that batch norms can be folded and ONNX exports the encoder once.
        return self.encoder(torch.cat([images, images.flip(3)])).unflatten(0, (2, -1)).mean(dim=0)
