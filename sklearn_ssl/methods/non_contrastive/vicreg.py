"""VICReg and VIbCReg: equal projections, with variance and without covariance."""

from typing import Literal

from torch import nn
from torch.nn.functional import mse_loss, normalize, relu

from sklearn_ssl.methods.non_contrastive._base import (
    ProjectionTransformer,
    UnitScaleObjective,
    off_diagonal,
)
from sklearn_ssl.networks.iter_norm import IterNorm
from sklearn_ssl.parameters import Auto, Count, NonNegative
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class VICRegObjective(UnitScaleObjective):
    """Invariance, variance and covariance of the projections of two views."""

    near_chance = 0.95  # standard deviations stay below 1, so that the loss remains large

    def __init__(self, encoder, projector, weights, normalized):
        super().__init__(encoder, projector)
        self.weights = weights  # of these three
        self.normalized = normalized

    def terms_of(self, z, views):
        """Return the loss of the projections of two views, and its parts."""
        of_views = mean_correlation if self.normalized else covariance
        parts = {
            "invariance": mse_loss(*z),
            "variance": sum(map(variance, z)) / 2,
            "covariance": sum(map(of_views, z)),
        }
        weighted = zip(self.weights, parts.values(), strict=True)
        return {"loss": sum(weight * part for weight, part in weighted), **parts}

    def chance_loss(self, n):
        """Return the loss of equal projections of all samples, which have no variance.

        That of VIbCReg is smaller than of healthy projections; its whitening prevents them.
        """
        return None if self.normalized else 0.99 * self.weights[1]


def variance(z):
    """Return the mean, over dimensions, of what standard deviations lack of 1."""
    return relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()


def covariance(z):
    """Return the sum of squared covariances of different dimensions, divided by their number."""
    z = z - z.mean(dim=0)
    return off_diagonal(z.T @ z / (len(z) - 1)) / z.shape[1]


def mean_correlation(z):
    """Return the sum of squared correlations of different dimensions, over the number of all."""
    z = normalize(z - z.mean(dim=0), dim=0)
    return off_diagonal(z.T @ z) / z.shape[1] ** 2


class VICRegTransformer(ProjectionTransformer):
    """Learn features that are invariant, and whose dimensions have variance but no covariance.

    The projections of two views have a small distance (invariance); each of their dimensions has
    a standard deviation of at least 1 in a batch (variance), and different ones are not correlated
    (covariance). ``history_`` has these parts of the loss. With ``decorrelation="correlation"`` it
    is VIbCReg [2]_, whose decorrelation does not depend on the scale of projections.

    Parameters
    ----------
    decorrelation : {"covariance", "correlation"}, default="covariance"
        What is made small for different dimensions: "covariance" is VICReg; "correlation" is
        VIbCReg, where iterative normalization (IterNorm) whitens groups of dimensions at the end
        of the projector, and correlations are averaged over all pairs of dimensions.

    invariance_weight : float, default=25.0
        Weight of the mean squared distance between the projections of two views, at least 0.

    variance_weight : float, default=25.0
        Weight of the mean over both views of the variance term, at least 0.

    covariance_weight : float or "auto", default="auto"
        Weight of the sum over both views of the squared covariances or correlations, at least 0.
        "auto" is 1 for covariances and 200 for correlations.

    projection_dim : int, default=512
        Width of the projection in which views are compared, used during training only.

    {projection_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The variance term is the mean over both views, as in the published code of VICReg; other code,
    also of VIbCReg, has their sum. The paper of VICReg has projections of 8192 dimensions, and
    LARS; that of VIbCReg has other activations in the projector.

    References
    ----------
    .. [1] `Bardes et al. "VICReg: Variance-invariance-covariance regularization for
       self-supervised learning", ICLR 2022 <https://arxiv.org/abs/2105.04906>`_
    .. [2] `Lee, Aune "VIbCReg: Variance-invariance-better-covariance regularization for
       self-supervised learning on time series", 2021 <https://arxiv.org/abs/2109.00783>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import VICRegTransformer
    >>> images = load_digits().images[:200]
    >>> VICRegTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    decorrelation: Literal["covariance", "correlation"] = "covariance"
    invariance_weight: NonNegative = 25.0
    variance_weight: NonNegative = 25.0
    covariance_weight: Auto | NonNegative = "auto"
    projection_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        projector, normalized = self._projector(n_features), self.decorrelation == "correlation"
        if normalized:
            projector = nn.Sequential(*projector, IterNorm(self.projection_dim))
        weight = self.covariance_weight
        if weight == "auto":
            weight = 200.0 if normalized else 1.0
        weights = self.invariance_weight, self.variance_weight, weight
        return VICRegObjective(encoder, projector, weights, normalized)
