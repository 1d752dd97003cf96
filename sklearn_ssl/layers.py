"""Parts that several methods put on top of their encoder."""

from itertools import pairwise

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
