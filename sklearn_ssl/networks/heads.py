"""Projection heads, and gradient clipping."""

from itertools import pairwise

import torch
from torch import nn


def mlp(*widths, last_norm=False, affine=True):
    """Return linear layers of these widths, with batch norm and ReLU in between.

    Layers followed by a batch norm have no bias. ``last_norm`` adds a batch norm after the last
    layer, which scales and shifts if ``affine``.
    """
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(widths), start=2):
        last = i == len(widths)
        layers.append(nn.Linear(n_in, n_out, bias=last and not last_norm))
        if not last:
            layers += [nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]
        elif last_norm:
            layers.append(nn.BatchNorm1d(n_out, affine=affine))
    return nn.Sequential(*layers)


def clip_each_gradient(parameters, limit):
    """Clip the norm of each gradient tensor separately."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    factors = torch._foreach_norm(gradients)
    torch._foreach_add_(factors, 1e-6)
    torch._foreach_reciprocal_(factors)
    torch._foreach_mul_(factors, limit)
    torch._foreach_clamp_max_(factors, 1.0)
    torch._foreach_mul_(gradients, factors)
