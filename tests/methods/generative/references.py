"""Objectives on small networks, images for them, and patches cut one by one."""

import torch

from sklearn_ssl.methods.generative.mae import MAEObjective
from sklearn_ssl.methods.generative.simmim import SimMIMObjective
from sklearn_ssl.networks.encoder import make_encoder


def pictures(n=3, side=8):
    torch.manual_seed(1)
    return torch.rand(n, 2, side, side, dtype=torch.float64)


def dense(objective, *settings):
    """An objective on a small network, in evaluation mode, where no sample sees another."""
    torch.manual_seed(0)
    encoder = make_encoder("small_convnet", (2, 8, 8), [0.4, 0.6], [0.2, 0.3])
    return objective(encoder, *settings).double().eval()


def slow_patches(image, mean, std, side):
    """Patches of an image (c, h, w) row by row, standardized, each (c, side, side)."""
    image = (image - mean[:, None, None]) / std[:, None, None]
    rows, columns = (length // side for length in image.shape[1:])
    return [
        image[:, side * i : side * (i + 1), side * j : side * (j + 1)]
        for i in range(rows)
        for j in range(columns)
    ]


def masked_objective(method="mae", *, normalized=True, side=8, ratio=0.75, backbone="small_vit"):
    """An objective with masked patches for photographs."""
    torch.manual_seed(0)
    encoder = make_encoder(backbone, (3, 32, 32), [0.5] * 3, [0.2] * 3)
    if method == "simmim":
        return SimMIMObjective(encoder, side, ratio, normalized, 16).eval()
    return MAEObjective(encoder, 128, side, ratio, normalized, 16, 1).eval()
