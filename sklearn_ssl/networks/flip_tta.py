"""Horizontal-flip test-time augmentation."""

import torch
from torch import nn

from sklearn_ssl.networks.features import Features


class FlipTTA(nn.Module):
    """Horizontal-flip test-time augmentation: mean features of images and mirror images.

    Maps of mirror images are mirrored back.
    """

    copies = 2  # of each image in a batch

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images):
        """Return the features of images (n, c, h, w)."""
        # In one batch, so that batch norms can be folded and ONNX exports the encoder once.
        return self.encoder(torch.cat([images, images.flip(3)])).unflatten(0, (2, -1)).mean(dim=0)

    def features(self, images):
        """Return pooled features and map of images (n, c, h, w)."""
        pooled, maps, *_ = self.encoder.features(torch.cat([images, images.flip(3)]))
        plain, mirrored = maps.chunk(2)
        return Features(pooled.unflatten(0, (2, -1)).mean(dim=0), (plain + mirrored.flip(3)) / 2)
