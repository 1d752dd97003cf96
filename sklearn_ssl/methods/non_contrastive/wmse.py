"""W-MSE: distance between the whitened projections of views."""

import itertools
import math

import torch
from torch.nn.functional import cosine_similarity

from sklearn_ssl.methods.non_contrastive._base import (
    ProjectionObjective,
    ProjectionTransformer,
    unit_like,
)
from sklearn_ssl.parameters import Count
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class WMSEObjective(ProjectionObjective):
    """Squared distance between whitened projections of length one."""

    most_views = math.inf
    near_chance = 0.97  # whitened views of a sample have small cosine similarities

    def __init__(self, encoder, projector, n_whitenings):
        super().__init__(encoder, projector)
        self.n_whitenings = n_whitenings

    def terms_of(self, z, views):
        """Return the mean loss over random divisions of the batch."""
        z = torch.stack(z)
        orders = (torch.randperm(z.shape[1], device=z.device) for _ in range(self.n_whitenings))
        return {"loss": sum(w_mse(z[:, order]) for order in orders) / self.n_whitenings}

    def chance_loss(self, n):
        """Return the loss of views that have nothing in common."""
        return 2.0


def w_mse(z):
    """Return the mean squared distance between views (v, n, p), whitened in sub-batches.

    These have at least 2 p samples. Of a smaller batch only n / 2 dimensions can be whitened.
    """
    n = z.shape[1]
    z = z[..., : max(1, n // 2)]
    n_parts = max(1, n // (2 * z.shape[2]))
    parts = z[:, : n - n % n_parts].unflatten(1, (n_parts, -1))  # (v, parts, 2 p or more, p)
    pairs = itertools.combinations(whitened(parts), 2)
    return torch.stack([2 - 2 * cosine_similarity(a, b, dim=-1).mean() for a, b in pairs]).mean()


def whitened(z):
    """Return batches of samples (..., n, p) with mean 0 and the identity as covariance."""
    z = z - z.mean(dim=-2, keepdim=True)
    covariance = z.mT @ z / max(1, z.shape[-2] - 1)
    unit = unit_like(covariance)
    size = (covariance * unit).sum(dim=(-2, -1), keepdim=True) / len(unit)
    least = 10 * torch.finfo(z.dtype).eps * size + 1e-12  # for factors of singular matrices
    factor, _ = torch.linalg.cholesky_ex(covariance + least * unit)
    return torch.linalg.solve_triangular(factor.mT, z, upper=True, left=False)


class WMSETransformer(ProjectionTransformer):
    """Learn features by the distance between whitened projections of views (W-MSE).

    Whitening prevents collapse: in a sub-batch, projections have the identity as covariance, and
    only the distance of views of a sample is minimized. There is no other term, no stop-gradient
    and no weight to tune.

    Parameters
    ----------
    n_whitenings : int, default=1
        Number of random divisions of a batch into sub-batches, over which the loss is averaged.

    projection_dim : int, default=32
        Width of the projection in which views are compared, used during training only. Batches of
        n samples, fewer than twice this width, are compared in n / 2 of the dimensions.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    A batch is divided into as many sub-batches of equal size as have twice as many samples as
    dimensions, the same for all views. Variances are increased by a millionth. The paper has 64
    dimensions and sub-batches of 128 samples.

    References
    ----------
    `Ermolov et al. "Whitening for self-supervised representation learning", ICML 2021
    <https://arxiv.org/abs/2007.06346>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import WMSETransformer
    >>> images = load_digits().images[:200]
    >>> WMSETransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    n_whitenings: Count = 1
    projection_dim: Count = 32

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        return WMSEObjective(encoder, self._projector(n_features, 1), self.n_whitenings)
