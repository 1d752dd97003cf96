"""Decoders: reconstruct images from feature maps or tokens."""

import math

import torch
from torch import nn
from torch.nn.functional import interpolate


class Decoder(nn.Module):
    """Reconstruct images from a feature map by nearest-neighbor upsampling and convolutions.

    There are no skip connections, through which the network could copy the image.
    """

    def __init__(self, map_shape, image_shape, width=64):
        super().__init__()
        layers = _decoder_layers(map_shape[0], width, 1)
        for _ in range(max(0, round(math.log2(image_shape[1] / map_shape[1])))):
            narrower = max(16, width // 2)
            layers += [nn.Upsample(scale_factor=2), *_decoder_layers(width, narrower, 3)]
            width = narrower
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, image_shape[0], 3, padding=1)

    def forward(self, maps, sides):
        """Return images of a size, (n, c, *sides), with unbounded values."""
        images = self.last(self.layers(maps))
        if images.shape[2:] == sides:
            return images
        return interpolate(images, sides, mode="bilinear", align_corners=False)


def _decoder_layers(n_in, n_out, kernel):
    """Return a convolution, batch norm and ReLU."""
    convolution = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]


class PatchDecoder(nn.Module):
    """Narrow transformer that predicts the values of all patches from the visible tokens."""

    def __init__(self, n_features, width, depth, n_values):
        super().__init__()
        self.embed = nn.Linear(n_features, width)
        self.mask = nn.Parameter(0.02 * torch.randn(width))  # replaces masked tokens
        n_heads = math.gcd(width, max(1, width // 32))
        blocks = [
            nn.TransformerEncoderLayer(
                *(width, n_heads, 2 * width, 0.0, "gelu"), batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_values))

    def forward(self, tokens, order, n_seen, grid):
        """Return the values (n, t, n_values) of a grid of patches.

        The ``n_seen`` last tokens (n, k, d) are of the first patches in ``order`` (n, t).
        """
        n, t = order.shape
        others, seen = self.embed(tokens).split([tokens.shape[1] - n_seen, n_seen], dim=1)
        patches = torch.cat([seen, self.mask.to(seen).expand(n, t - n_seen, -1)], dim=1)
        places = order.argsort(dim=1)[:, :, None].expand_as(
            patches
        )  # rank of each patch in the order
        patches = patches.gather(1, places) + positions(grid, patches)
        return self.last(self.blocks(torch.cat([others, patches], dim=1))[:, -t:])


def positions(grid, like):
    """Return sine-cosine position embeddings of a grid of patches, (t, width)."""
    width = like.shape[2]
    n = math.ceil(width / 4)
    frequencies = 10000.0 ** (-torch.arange(n, device=like.device, dtype=torch.float64) / n)
    axes = torch.meshgrid(*(torch.arange(m, device=like.device) for m in grid), indexing="ij")
    angles = [axis.flatten()[:, None] * frequencies for axis in axes]
    waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)[:, :width].to(like)
