"""Parts that several methods put on top of their encoder."""

from itertools import pairwise

import torch
from torch import nn


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


def clip_each_gradient(parameters, limit):
    """Scale down, each on its own, the gradients whose norm is above the limit."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    factors = torch._foreach_norm(gradients)
    torch._foreach_add_(factors, 1e-6)
    torch._foreach_reciprocal_(factors)
    torch._foreach_mul_(factors, limit)
    torch._foreach_clamp_max_(factors, 1.0)
    torch._foreach_mul_(gradients, factors)
