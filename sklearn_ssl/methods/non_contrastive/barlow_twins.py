"""Barlow Twins: equal projections of two views, whose dimensions are not correlated."""

from sklearn_ssl.methods.non_contrastive._base import (
    ProjectionObjective,
    ProjectionTransformer,
    off_diagonal,
    unit_like,
)
from sklearn_ssl.parameters import Count, NonNegative
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class BarlowTwinsObjective(ProjectionObjective):
    """Distance of the cross-correlations between two projections from the identity."""

    def __init__(self, encoder, projector, redundancy_weight):
        super().__init__(encoder, projector)
        self.redundancy_weight = redundancy_weight

    def terms_of(self, z, views):
        """Return the loss of the projections of two views, and its parts."""
        invariance, redundancy = barlow_twins(*z)
        loss = invariance + self.redundancy_weight * redundancy
        return {"loss": loss, "invariance": invariance, "redundancy": redundancy}

    def chance_loss(self, n):
        """Return the loss of equal projections of all samples, which correlate with nothing."""
        return float(self.project[-1].out_features)


def barlow_twins(z1, z2):
    """Return the squared errors of the cross-correlations, on the diagonal and off it."""
    correlations = standardized(z1).T @ standardized(z2) / len(z1)  # (p, p)
    errors = correlations - unit_like(correlations)
    redundancy = off_diagonal(errors)
    return errors.square().sum() - redundancy, redundancy


def standardized(z):
    """Return projections whose columns have mean 0 and standard deviation 1."""
    z = z - z.mean(dim=0)
    return z / (z.square().mean(dim=0) + 1e-5).sqrt()


class BarlowTwinsTransformer(ProjectionTransformer):
    """Learn features that are invariant to augmentations, and not redundant.

    The cross-correlation matrix of the projections of two views approaches the identity. It needs
    neither negatives nor large batches, and is a good first method without negatives. ``history_``
    has the parts ``invariance`` and ``redundancy`` of the loss.

    Parameters
    ----------
    redundancy_weight : float, default=0.0051
        Weight, at least 0, of the squared correlations between different dimensions. Those of each
        dimension in both views have the weight 1.

    projection_dim : int, default=512
        Width of the projection in which views are compared, used during training only.

    {projection_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The paper has projections of 8192 dimensions, and LARS with batches of 2048.

    References
    ----------
    `Zbontar et al. "Barlow Twins: Self-supervised learning via redundancy reduction", ICML 2021
    <https://arxiv.org/abs/2103.03230>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import BarlowTwinsTransformer
    >>> images = load_digits().images[:200]
    >>> BarlowTwinsTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    redundancy_weight: NonNegative = 0.0051
    projection_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        return BarlowTwinsObjective(encoder, self._projector(n_features), self.redundancy_weight)
