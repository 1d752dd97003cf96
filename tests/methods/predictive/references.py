"""Slow references of tasks on tiles."""

import numpy as np
import torch

from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.views import Tiles
from sklearn_ssl.views.tiles import TileCutter


def tiles_of(grid, n_channels=1):
    """An encoder of images of 12 pixels, and whole cells of them as tiles."""
    torch.manual_seed(0)
    encoder = make_encoder(
        "small_vit", (n_channels, 12, 12), [0.5] * n_channels, [0.2] * n_channels
    )
    return encoder, TileCutter(Tiles(grid, gap=0.0, jitter=0.0), (12 // grid,) * 2)


def slow_tile(image, row, column, side, encoder):
    """What the encoder gives for a cell that has mean and standard deviation of its image."""
    tile = image[:, row * side : (row + 1) * side, column * side : (column + 1) * side].numpy()
    image, n = image.numpy(), tile.shape[1] * tile.shape[2]
    ratio = np.sqrt((image.var() + 1e-4) / (((tile - tile.mean()) ** 2).sum() / n + 1e-4))
    return encoder(torch.from_numpy((tile - tile.mean()) * ratio + image.mean())[None])[0]


def check_gradients(objective, loss, expected):
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
