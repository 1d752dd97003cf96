"""Embeddings of images that are the mean over crops."""

import torch
from torch import nn

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.views import ImageViews
from sklearn_ssl.views.image import fixed_crops


class MeanOverCrops(nn.Module):
    """Mean of the features of crops at fixed positions, the same for every image."""

    def __init__(self, encoder, rows, columns):
        super().__init__()
        self.encoder = encoder
        self.register_buffer("rows", rows)  # (crops, h', h)
        self.register_buffer("columns", columns)  # (crops, w', w)
        self.copies = len(rows) * getattr(encoder, "copies", 1)

    def forward(self, images):
        """Return the features of images (n, c, h, w)."""
        with full_precision(images.device):
            crops = torch.einsum("pyh,nchw->pncyw", self.rows, images)
            crops = torch.einsum("pncyw,pxw->pncyx", crops, self.columns)
        # In one batch: an encoder that is called once can be folded, and is written once by ONNX.
        return self.encoder(crops.flatten(0, 1)).unflatten(0, (len(self.rows), -1)).mean(dim=0)


def mean_over_crops(encoder, views, sides, n):
    """Return an encoder of the mean over n crops of images of these sides; itself for one crop.

    Crops have the mean size of those of ``views`` if these are ImageViews, else a quarter of the
    image. Tabular samples, which have no sides, are encoded as a whole.
    """
    if n == 1 or not sides:
        return encoder
    known = type(views) is ImageViews
    recipe = views if known else ImageViews(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    return MeanOverCrops(encoder, *fixed_crops(recipe, *sides, n))
