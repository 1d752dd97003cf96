"""Iterative normalization: whitening without eigenvalues."""

import math

import torch
from torch import nn

from sklearn_ssl._runtime.device import full_precision


class IterNorm(nn.Module):
    """Whitening of groups of features by Newton's iterations [1]_.

    In evaluation mode, mean and whitening are moving averages of those of batches.

    Parameters
    ----------
    n_features : int
        Number of features.

    n_groups : int, default=64
        Number of groups of equal size; the largest one that divides both if it is no divisor.

    References
    ----------
    .. [1] `Huang et al. "Iterative normalization: Beyond standardization towards efficient
       whitening", CVPR 2019 <https://arxiv.org/abs/1904.03441>`_
    """

    n_iterations, eps, momentum = 5, 1e-5, 0.1

    def __init__(self, n_features, n_groups=64):
        super().__init__()
        n_groups = math.gcd(n_features, n_groups)
        size = n_features // n_groups
        self.register_buffer("mean", torch.zeros(n_groups, 1, size))
        self.register_buffer("whitening", torch.eye(size).repeat(n_groups, 1, 1))

    def forward(self, features):
        """Return whitened features (n, n_features), in float32 at least."""
        with full_precision(features.device):
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            groups = features.unflatten(1, self.mean.shape[::2]).transpose(0, 1)  # (g, n, c)
            mean, whitening = self.mean, self.whitening
            if self.training:
                mean = groups.mean(dim=1, keepdim=True)
                whitening = self._inverse_root((groups - mean).mT, groups.shape[1])
                for average, value in ((self.mean, mean), (self.whitening, whitening)):
                    average.lerp_(value.detach().to(average), self.momentum)
            return ((groups - mean) @ whitening).transpose(0, 1).flatten(1)

    def _inverse_root(self, centered, n):
        """Return the inverse square root of the covariance of centered features (g, c, n)."""
        unit = torch.eye(centered.shape[1], dtype=centered.dtype, device=centered.device)
        covariance = centered @ centered.mT / n + self.eps * unit
        trace = (covariance * unit).sum(dim=(1, 2), keepdim=True)
        root = unit
        for _ in range(self.n_iterations):
            root = 1.5 * root - 0.5 * root @ root @ root @ (covariance / trace)
        return root / trace.sqrt()
