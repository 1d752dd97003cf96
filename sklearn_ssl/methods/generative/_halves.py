"""Networks of split-brain autoencoders: an encoder for each half of the channels, and bins."""

import torch
from torch import nn

from sklearn_ssl.methods.generative import cielab
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.networks.encoder import encoder_at
from sklearn_ssl.networks.features import Features, HasFeatures

LIGHTNESS, COLORS = slice(0, 1), slice(1, 3)  # channels of CIELAB


class Halves(HasFeatures):
    """Two encoders, one for the lightness of images and one for their colors."""

    def __init__(self, of_lightness, of_colors):
        super().__init__()
        self.of_lightness, self.of_colors = of_lightness, of_colors

    def halves(self, lab):
        """Return the features of each encoder, which gets three channels."""
        lightness, colors = lab[:, LIGHTNESS].expand(-1, 3, -1, -1), lab[:, COLORS]
        colors = torch.cat([colors, colors.mean(dim=1, keepdim=True)], dim=1)
        return self.of_lightness.features(lightness), self.of_colors.features(colors)

    def features(self, lab):
        """Return the features of both encoders, concatenated."""
        pooled, maps, *_ = zip(*self.halves(lab), strict=True)
        joint_map = None if maps[0] is None else torch.cat(maps, dim=1)
        return Features(torch.cat(pooled, dim=1), joint_map)

    def up_to(self, layer):
        """Return both encoders up to a layer."""
        return Halves(encoder_at(self.of_lightness, layer), encoder_at(self.of_colors, layer))


class Bins(nn.Module):
    """Prediction of channels of CIELAB from a map, as logits of bins."""

    def __init__(self, channels, bins, map_shape, sides):
        super().__init__()
        self.channels, self.decode = channels, Decoder(map_shape, (len(bins), *sides))
        self.register_buffer("bins", bins)
        self.register_buffer("counts", bins.new_zeros(len(bins)))  # of soft targets in fit

    def count(self, lab):
        """Add the soft targets of images."""
        index, share = cielab.soft_targets(lab[:, self.channels], self.bins)
        self.counts += torch.zeros_like(self.counts).index_add_(0, index.flatten(), share.flatten())
