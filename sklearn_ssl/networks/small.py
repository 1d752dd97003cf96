"""Backbones for small images and tabular data, which train in minutes on a CPU."""

import functools
import math
from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from sklearn_ssl.networks.features import Features, HasFeatures
from sklearn_ssl.networks.torchvision import set_in_channels


class Stages(HasFeatures, nn.Sequential):
    """Stages that make a map, and last a pool that makes the features of it."""

    def features(self, images):
        """Return the features of a batch."""
        *stages, pool = self
        for stage in stages:
            images = stage(images)
        return Features(pool(images), images)


def small_convnet(in_channels, height, width, widths=(64, 128, 256)):
    """Convolutions with batch norm and ReLU and early strides, for training on a CPU."""
    layers = OrderedDict()
    strides = _strides(min(height, width), len(widths))
    for i, ((n_in, n_out), stride) in enumerate(
        zip(pairwise((in_channels, *widths)), strides, strict=True), start=1
    ):
        layers[f"stage{i}"] = _convolution(n_in, n_out, stride)
    return Stages(layers | {"pool": _standardized_pool(widths[-1])})


class SmallMultiscale(HasFeatures):
    """``small_convnet`` whose features are the last two maps, pooled to 2 x 2.

    Features pooled to 2 x 2 are better for linear models than global averages
    (``benchmarks/README.md``, "How the defaults were chosen"). ``fine`` doubles the sides of the
    maps, for views of half the image's sides.
    """

    def __init__(self, in_channels, height, width, widths=(64, 128, 256), fine=False):
        super().__init__()
        first, second, third = _strides(min(height, width), 3)
        self.stage1 = _convolution(in_channels, widths[0], max(1, first // 2) if fine else first)
        self.stage2 = _convolution(widths[0], widths[1], second)
        self.stage3 = _convolution(widths[1], widths[2], third)
        self.pools = nn.ModuleList(_standardized_pool(n, grid=2) for n in widths[-2:])

    def features(self, images):
        """Return the features of a batch; they have 4 * sum(widths[-2:]) entries."""
        second = self.stage2(self.stage1(images))
        maps = second, self.stage3(second)
        pooled = [pool(m) for pool, m in zip(self.pools, maps, strict=True)]
        return Features(torch.cat(pooled, dim=1), maps[1])


def small_resnet(in_channels, height, width, widths=(32, 64, 128), depth=1):
    """Narrow residual network with ``depth`` basic blocks per stage."""
    from torchvision.models.resnet import BasicBlock, conv1x1

    stem_stride, *strides = _strides(min(height, width), len(widths))
    layers = OrderedDict(stem=_convolution(in_channels, widths[0], stem_stride))
    for i, ((n_in, n_out), stride) in enumerate(
        zip(pairwise((widths[0], *widths)), (1, *strides), strict=True), start=1
    ):
        shortcut = None
        if stride > 1 or n_in != n_out:
            shortcut = nn.Sequential(conv1x1(n_in, n_out, stride), nn.BatchNorm2d(n_out))
        first = BasicBlock(n_in, n_out, stride, shortcut)
        rest = [BasicBlock(n_out, n_out) for _ in range(depth - 1)]
        layers[f"stage{i}"] = nn.Sequential(first, *rest)
    return Stages(layers | {"pool": _standardized_pool(widths[-1])})


def small_vit(in_channels, height, width):
    """Vision transformer with 4 blocks of width 128, and about 8 x 8 patches."""
    from sklearn_ssl.networks.vit import AnySizeVisionTransformer

    patch = max(p for p in range(1, max(2, height // 8) + 1) if height % p == 0)
    model = AnySizeVisionTransformer(height, patch, 4, 4, 128, 256)
    model.heads = nn.Identity()
    set_in_channels(model, in_channels)
    return model


def mlp_backbone(n_features, width=256, depth=4):
    """Fully connected layers with batch norm and ReLU, for tabular data."""
    layers = []
    for n_in, n_out in pairwise((n_features, *depth * [width])):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _strides(side, n_layers):
    """Return strides that reduce a side to 4 to 7 pixels: 2 in the last layers, more in the first.

    Sides below 16 are reduced to 2 to 4 pixels, which is faster (``benchmarks/README.md``).
    """
    # Odd sides are rounded up: 28 pixels are reduced to 4, as 32 are.
    shrink = 2 ** max(0, int(math.log2(side / (3.5 if side >= 16 else 1.75))))
    strides = [1] * n_layers
    for i in reversed(range(n_layers)):
        if shrink > 1:
            strides[i], shrink = 2, shrink // 2
    strides[0] *= shrink
    return strides


def _convolution(n_in, n_out, stride):
    """Return a convolution, batch norm and ReLU, with a kernel that covers every pixel."""
    kernel = max(3, 2 * stride - 1)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _standardized_pool(n_channels, grid=1):
    """Return average pooling to a grid, and standardization of the features.

    After a ReLU, all cosine similarities are high; standardization makes neighbors more accurate
    (``benchmarks/README.md``).
    """
    norm = nn.BatchNorm1d(n_channels * grid**2, affine=False)
    return nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), norm)


SMALL = {
    "small_convnet": small_convnet,
    "small_multiscale": SmallMultiscale,
    "small_multiscale_fine": functools.partial(SmallMultiscale, fine=True),
    "small_resnet": small_resnet,
    "small_resnet18": functools.partial(small_resnet, widths=(16, 32, 64, 128), depth=2),
    "small_vit": small_vit,
}
