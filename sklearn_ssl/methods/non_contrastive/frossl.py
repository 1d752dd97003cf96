"""FroSSL: near projections of all views, with covariances of a small Frobenius norm."""

import math

import torch
from torch.nn.functional import normalize

from sklearn_ssl.methods.non_contrastive._base import (
    ProjectionObjective,
    ProjectionTransformer,
    unit_like,
)
from sklearn_ssl.parameters import Count, NonNegative
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class FroSSLObjective(ProjectionObjective):
    """Frobenius norms of the covariances of each view, and distances to the mean view."""

    most_views = math.inf

    def __init__(self, encoder, projector, invariance_weight):
        super().__init__(encoder, projector)
        self.invariance_weight = invariance_weight

    def terms_of(self, z, views):
        """Return the loss of the projections of all views, and its parts."""
        regularization, invariance = frossl(torch.stack(z))
        loss = regularization + self.invariance_weight * invariance
        return {"loss": loss, "regularization": regularization, "invariance": invariance}


def frossl(z):
    """Return log-norms of the covariances of projections (v, n, p), and the distance of views.

    Both are sums over views; columns are L2-normalized over the batch.
    """
    z = normalize(z, dim=1)
    n_views, n, p = z.shape
    products = z.mT @ z if n > p else z @ z.mT  # of the same norm and trace
    trace = (products * unit_like(products)).sum(dim=(1, 2)).clamp_min(1e-6)
    squares = products.square().sum(dim=(1, 2)).clamp_min(1e-12)
    regularization = (squares.log() - 2 * trace.log()).sum()
    return regularization, n_views**2 * p * (z - z.mean(dim=0)).square().mean()


class FroSSLTransformer(ProjectionTransformer):
    """Learn features that are invariant to augmentations, with equal eigenvalues.

    The Frobenius norm of the covariances of each view's projections is minimized, which spreads
    them over all directions: the logarithm of its square is minus the Renyi entropy of the
    eigenvalues. Any number of views is compared. ``history_`` has the parts ``regularization`` and
    ``invariance`` of the loss.

    Parameters
    ----------
    invariance_weight : float, default=1.0
        Weight, at least 0, of the squared distances of the views of a sample to their mean.

    projection_dim : int, default=96
        Width of the projection in which views are compared, used during training only. Distances
        have a weight proportional to it over the batch size: a much larger one lets all projections
        collapse.

    {projection_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    With 512 dimensions and batches of 64, the projections of scikit-learn's digits collapsed. The
    paper has wider projections and larger batches.

    References
    ----------
    `Skean et al. "FroSSL: Frobenius norm minimization for efficient multiview self-supervised
    learning", ECCV 2024 <https://arxiv.org/abs/2310.02903>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import FroSSLTransformer
    >>> images = load_digits().images[:200]
    >>> FroSSLTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    invariance_weight: NonNegative = 1.0
    projection_dim: Count = 96

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        return FroSSLObjective(encoder, self._projector(n_features), self.invariance_weight)
