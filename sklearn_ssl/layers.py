"""Parts that several methods put on top of their encoder."""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import interpolate


def mlp(*widths, last_norm=False):
    """Linear layers of these widths, batch norm and ReLU between them.

    A layer that a batch norm follows has no bias, which the norm would take away again.
    ``last_norm`` puts a batch norm behind the last layer as well.
    """
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(widths), start=2):
        last = i == len(widths)
        layers.append(nn.Linear(n_in, n_out, bias=last and not last_norm))
        if not last:
            layers += [nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]
        elif last_norm:
            layers.append(nn.BatchNorm1d(n_out))
    return nn.Sequential(*layers)


class Decoder(nn.Module):
    """Make images of a map: convolutions, each after the sides are doubled by repetition.

    Nothing of the image passes by the map, as what could be copied need not be understood.
    """

    def __init__(self, map_shape, image_shape, width=64):
        super().__init__()
        layers = _convolution(map_shape[0], width, 1)
        for _ in range(max(0, round(math.log2(image_shape[1] / map_shape[1])))):
            narrower = max(16, width // 2)
            layers += [nn.Upsample(scale_factor=2), *_convolution(width, narrower, 3)]
            width = narrower
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, image_shape[0], 3, padding=1)

    def forward(self, maps, sides):
        """Return images of these sides, (n, c, *sides), of any values."""
        images = self.last(self.layers(maps))
        if images.shape[2:] == sides:
            return images
        return interpolate(images, sides, mode="bilinear", align_corners=False)


def _convolution(n_in, n_out, kernel):
    """Layers: a convolution with batch norm and ReLU."""
    convolution = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]


class PatchDecoder(nn.Module):
    """A narrow transformer that tells the values of all patches from the tokens of some."""

    def __init__(self, n_features, width, depth, n_values):
        super().__init__()
        self.embed = nn.Linear(n_features, width)
        self.mask = nn.Parameter(0.02 * torch.randn(width))  # in place of each token that is not
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
        places = order.argsort(dim=1)[:, :, None].expand_as(patches)  # of each patch in the order
        patches = patches.gather(1, places) + positions(grid, patches)
        return self.last(self.blocks(torch.cat([others, patches], dim=1))[:, -t:])


def positions(grid, like):
    """Return sines and cosines that tell the places of a grid of patches, (t, width)."""
    width = like.shape[2]
    n = math.ceil(width / 4)
    frequencies = 10000.0 ** (-torch.arange(n, device=like.device, dtype=torch.float64) / n)
    axes = torch.meshgrid(*(torch.arange(m, device=like.device) for m in grid), indexing="ij")
    angles = [axis.flatten()[:, None] * frequencies for axis in axes]
    waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)[:, :width].to(like)


@torch.no_grad()
def move_teacher(teacher, student, momentum):
    """Set the teacher's weights to momentum * teacher + (1 - momentum) * student.

    Buffers stay as they are: a teacher that runs in training mode keeps the statistics of its
    batch norms itself, and those of the student belong to other weights and other views.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


def teacher_momentum(start, progress):
    """Momentum that rises from its start to 1 by half a cosine, as progress runs from 0 to 1.

    Beyond 1, where training goes on after its planned end, it is that of the start: with a
    momentum of 1 the teacher would never learn again.
    """
    if progress > 1 + 1e-6:
        return start
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2


def short_run_momentum(n_steps):
    """Momentum with which a teacher remembers a hundredth of the training, within [0.95, 0.996]."""
    return min(max(1 - 100 / n_steps, 0.95), 0.996)


def clip_each_gradient(parameters, limit):
    """Scale down, each on its own, the gradients whose norm is above the limit."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    factors = torch._foreach_norm(gradients)
    torch._foreach_add_(factors, 1e-6)
    torch._foreach_reciprocal_(factors)
    torch._foreach_mul_(factors, limit)
    torch._foreach_clamp_max_(factors, 1.0)
    torch._foreach_mul_(gradients, factors)


def wide(tensor):
    """Return a tensor in float32, or float64 if it is that, for a loss to compute with."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def joined(views):
    """Return views in one batch, those of the first view first; raise where sizes differ."""
    if any(view.shape[-2:] != views[0].shape[-2:] for view in views):
        sizes = (" x ".join(map(str, view.shape[2:] or view.shape[1:])) for view in views)
        raise ValueError(
            "This method joins views to one batch, so all must have one size; the view recipe gave "
            f"{' and '.join(dict.fromkeys(sizes))}."
        )
    return torch.cat(views)
