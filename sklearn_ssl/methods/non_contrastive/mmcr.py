"""MMCR: maximum manifold capacity, by the nuclear norm of the centroids of views."""

import math

import torch
from torch.nn.functional import normalize

from sklearn_ssl.methods.non_contrastive._base import ProjectionObjective, ProjectionTransformer
from sklearn_ssl.parameters import Count, NonNegative
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class MMCRObjective(ProjectionObjective):
    """Nuclear norms of the centroids of all samples, and of the views of each."""

    most_views = math.inf

    def __init__(self, encoder, projector, local_weight):
        super().__init__(encoder, projector)
        self.local_weight = local_weight

    def terms_of(self, z, views):
        """Return the loss of the projections of all views, and its parts."""
        capacity, extent = mmcr(torch.stack(z, dim=1))
        loss = self.local_weight * extent - capacity
        return {"loss": loss, "centroid_norm": capacity, "local_norm": extent}


def mmcr(z):
    """Return the nuclear norm of the centroids of projections (n, v, p), and the mean one of views.

    Views of length one that agree have centroids of length one; those of different samples have
    the largest nuclear norm if they are orthogonal.
    """
    z = normalize(z, dim=2)
    centroids = torch.linalg.svdvals(z.mean(dim=1)).sum()
    return centroids, torch.linalg.svdvals(z).sum(dim=1).mean()


class MMCRTransformer(ProjectionTransformer):
    """Learn features by maximum manifold capacity representations (MMCR).

    The views of a sample form a manifold. The nuclear norm of their centroids, which is maximized,
    is large if views of a sample agree and different samples have different directions. More than
    two views are better: images have four by default. ``history_`` has the parts ``centroid_norm``
    and ``local_norm`` of the loss.

    Parameters
    ----------
    local_weight : float, default=0.005
        Weight, at least 0, of the mean nuclear norm of the views of each sample, which is
        minimized.

    projection_dim : int, default=128
        Width of the projection in which views are compared, used during training only. Each step
        computes singular values of matrices of this width: above 512 that takes long.

    {projection_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The paper has a projector of widths 8192 and 512. Other implementations add the views of a
    momentum teacher; here all views pass the networks that are trained. While a GPU computes
    singular values, the processor waits for it.

    References
    ----------
    `Yerxa et al. "Learning efficient coding of natural images with maximum manifold capacity
    representations", NeurIPS 2023 <https://arxiv.org/abs/2303.03307>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import MMCRTransformer
    >>> images = load_digits().images[:200]
    >>> MMCRTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    local_weight: NonNegative = 0.005
    projection_dim: Count = 128

    default_views = {
        "image": ImageViews(n_views=4),
        "table": TableViews(),
        "text": TextViews(),
    }

    def _make_objective(self, encoder, n_features, training):
        return MMCRObjective(encoder, self._projector(n_features, 1), self.local_weight)
