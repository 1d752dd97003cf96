"""Backbones for small images and tabular data, which train in minutes on a CPU."""

import functools
import math
from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from sklearn_ssl.networks.torchvision import set_in_channels


def small_convnet(in_channels, height, width, widths=(64, 128, 256)):
    """Convolutions with batch norm and ReLU that stride early, for a processor's few cores."""
    layers = OrderedDict()
    strides = _strides(min(height, width), len(widths))
    for i, ((n_in, n_out), stride) in enumerate(
        zip(pairwise((in_channels, *widths)), strides, strict=True), start=1
    ):
        layers[f"stage{i}"] = _convolution(n_in, n_out, stride)
    return nn.Sequential(layers | {"pool": _standardised_pool(widths[-1])})


class SmallMultiscale(nn.Module):
    """Stages like those of ``small_convnet``, the last two of them read, in quarters of the image.

    What a linear model can use of a map is lost where it is averaged over the whole image
    (``benchmarks/README.md``, "How the defaults were chosen"). ``fine`` has maps of twice the
    sides, which is slower: it is for views of half the image's sides.
    """

    def __init__(self, in_channels, height, width, widths=(64, 128, 256), fine=False):
        super().__init__()
        first, second, third = _strides(min(height, width), 3)
        self.stage1 = _convolution(in_channels, widths[0], max(1, first // 2) if fine else first)
        self.stage2 = _convolution(widths[0], widths[1], second)
        self.stage3 = _convolution(widths[1], widths[2], third)
        self.pools = nn.ModuleList(_standardised_pool(n, grid=2) for n in widths[-2:])

    def forward(self, images):
        """Return the features, (n, 4 * sum(widths[-2:]))."""
        second = self.stage2(self.stage1(images))
        maps = second, self.stage3(second)
        return torch.cat([pool(m) for pool, m in zip(self.pools, maps, strict=True)], dim=1)


def small_resnet(in_channels, height, width, widths=(32, 64, 128), depth=1):
    """Residual network of basic blocks, narrow, with ``depth`` blocks in each stage."""
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
    return nn.Sequential(layers | {"pool": _standardised_pool(widths[-1])})


def small_vit(in_channels, height, width):
    """Vision transformer of four blocks, 128 wide, with about 8 patches along the image's side."""
    from sklearn_ssl.networks.vit import AnySizeVisionTransformer

    patch = max(p for p in range(1, max(2, height // 8) + 1) if height % p == 0)
    model = AnySizeVisionTransformer(height, patch, 4, 4, 128, 256)
    model.heads = nn.Identity()
    set_in_channels(model, in_channels)
    return model


def mlp(n_features, width=256, depth=4):
    """Fully connected layers with batch norm and ReLU, for rows."""
    layers = []
    for n_in, n_out in pairwise((n_features, *depth * [width])):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _strides(side, n_layers):
    """Strides that bring a side to 4 to 7 pixels: 2 in the last layers, the rest in the first.

    Sides below 16 end at 2 to 4 pixels: on digits of 8 pixels that was faster than ending at 4,
    with the same accuracy (``benchmarks/README.md``).
    """
    # An odd side is halved up: 28 pixels end at 4, as 32 do.
    shrink = 2 ** max(0, int(math.log2(side / (3.5 if side >= 16 else 1.75))))
    strides = [1] * n_layers
    for i in reversed(range(n_layers)):
        if shrink > 1:
            strides[i], shrink = 2, shrink // 2
    strides[0] *= shrink
    return strides


def _convolution(n_in, n_out, stride):
    """Convolution with batch norm and ReLU, its kernel large enough to miss no pixel."""
    kernel = max(3, 2 * stride - 1)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _standardised_pool(n_channels, grid=1):
    """Average over parts of the map, then standardise: after a ReLU, all cosines are alike.

    On Fashion-MNIST with 10 labels a class, 20 neighbours by cosine had .621 and, after the same
    features were standardised, .708 (``benchmarks/README.md``).
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
