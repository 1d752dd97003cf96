"""Encoders of small images."""

import numpy as np
import torch
from torch import nn

from sklearn_ssl.data.spec import trial_values
from sklearn_ssl.networks.encoder import count_features, encoder_at, make_encoder


def encoder(backbone, shape=(3, 32, 32), layer=None, **settings):
    torch.manual_seed(0)
    channels = shape[0] if len(shape) > 1 else 0
    made = make_encoder(backbone, shape, np.zeros(channels), np.ones(channels), **settings)
    made = encoder_at(made, layer)
    return made, count_features(made, trial_values(2, *shape))


class Tokens(nn.Module):
    def forward(self, images):
        return images.flatten(2).transpose(1, 2)  # (n, h * w, c)
