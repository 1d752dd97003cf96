"""Hypersphere: alignment of views, and uniformity of the samples on the unit sphere."""

import math

import torch
from torch.nn.functional import normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import (
    JointEmbeddingObjective,
    JointEmbeddingTransformer,
)
from sklearn_ssl.methods.contrastive._base import check_several
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, NonNegative, Positive, between
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class HypersphereObjective(JointEmbeddingObjective):
    """Distances between L2-normalized projections of two views, and their uniformity."""

    def __init__(self, encoder, projector, alpha, t, uniformity_weight):
        super().__init__(encoder, projector)
        self.alpha, self.t, self.uniformity_weight = alpha, t, uniformity_weight

    def forward(self, views):
        """Return the loss of a batch of two views, and its parts."""
        z1, z2 = self.projections(views)
        with full_precision(z1.device):
            x, y = normalize(wide(z1)), normalize(wide(z2))
            aligned = alignment(x, y, self.alpha)
            uniform = (uniformity(x, self.t) + uniformity(y, self.t)) / 2
            loss = aligned + self.uniformity_weight * uniform
        return {"loss": loss, "alignment": aligned, "uniformity": uniform, "embedding": z1}


def alignment(x, y, alpha):
    """Return the mean distance between the two views of a sample, to the power of alpha."""
    return (x - y).norm(dim=1).pow(alpha).mean()


def uniformity(x, t):
    """Return the logarithm of the mean Gaussian potential exp(-t * distance ** 2) of all pairs."""
    check_several(x)
    n = len(x)
    same = torch.eye(n, dtype=torch.bool, device=x.device)
    exponents = (2 * t * (x @ x.T - 1)).masked_fill(same, -torch.inf)
    return exponents.flatten().logsumexp(dim=0) - math.log(n * (n - 1))


class HypersphereTransformer(JointEmbeddingTransformer):
    """Learn features by alignment of views and uniformity on the unit hypersphere.

    Alignment brings the projections of the two views of a sample together; uniformity spreads those
    of all samples over the sphere. These are the two effects of a contrastive loss, here with a
    weight of their own. On tabular data, random features of the second view are replaced; of texts,
    each view has half of the tokens. ``history_`` has ``alignment`` and ``uniformity``.

    Parameters
    ----------
    alpha : float, default=2.0
        Exponent of the distance between views, at least 1. Higher values put more weight on the
        views that are far apart.

    t : float, default=2.0
        Inverse width, above 0, of the Gaussian kernel of uniformity: with higher values, samples
        are repelled by near ones only.

    uniformity_weight : float, default=1.0
        Weight of the uniformity, at least 0. Alignment has the weight 1.

    projection_dim : int, default=128
        Width of the projection in which views are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The loss may be negative; it is 0 if all projections are equal. Unlike in the paper, there is a
    projector of two layers. :func:`~sklearn_ssl.metrics.alignment` and
    :func:`~sklearn_ssl.metrics.uniformity` measure the same of embeddings.

    References
    ----------
    `Wang and Isola "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere", ICML 2020 <https://arxiv.org/abs/2005.10242>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import HypersphereTransformer
    >>> images = load_digits().images[:200]
    >>> hypersphere = HypersphereTransformer(max_epochs=1, random_state=0).fit(images)
    >>> hypersphere.transform(images).shape
    (200, 256)
    """

    alpha: between(1, None, "left") = 2.0
    t: Positive = 2.0
    uniformity_weight: NonNegative = 1.0
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        projector = mlp(n_features, self.projection_hidden_dim, self.projection_dim)
        settings = self.alpha, self.t, self.uniformity_weight
        return HypersphereObjective(encoder, projector, *settings)
