"""VISReg: near projections of all views, whose scale and shape are those of a Gaussian."""

import torch

from sklearn_ssl.methods.non_contrastive._base import GaussianObjective, ProjectionTransformer
from sklearn_ssl.parameters import Count, between
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class VISRegObjective(GaussianObjective):
    """Scale, shape and center of projections, and their distance to the mean of global views."""

    def distance_to_gaussian(self, z, directions):
        """Return the three parts, the means over views."""
        center = z.mean(dim=-2, keepdim=True)
        std = z.std(dim=-2, correction=0, keepdim=True)
        shape = sliced_wasserstein((z - center) / (std.detach() + 1e-4) @ directions)
        return {
            "scale": (1 - std).square().mean(),
            "shape": shape,
            "center": center.square().mean(),
        }

    def chance_loss(self, n):
        """Return the loss of equal projections of all samples, at the mean of the Gaussian."""
        return self.weight * (1 + sliced_wasserstein(torch.zeros(n, 1)).item())


def sliced_wasserstein(x):
    """Return the mean squared 2-Wasserstein distance of columns (..., n, m) to a Gaussian.

    It is the distance of sorted samples to the quantiles of the standard normal distribution.
    """
    n = x.shape[-2]
    shares = torch.arange(1, n + 1, dtype=x.dtype, device=x.device) / (n + 1)
    quantiles = torch.special.ndtri(shares)[:, None]
    return (x.sort(dim=-2).values - quantiles).square().mean()


class VISRegTransformer(ProjectionTransformer):
    """Learn features of which all views are near, with the scale and shape of a Gaussian.

    As :class:`~sklearn_ssl.LeJEPATransformer`, but the standard deviations of projections (scale),
    their distribution after standardization (shape) and their mean (center) are compared with
    those of a Gaussian separately, so that gradients do not vanish at collapse. ``history_`` has
    the parts ``invariance``, ``scale``, ``shape`` and ``center``.

    Parameters
    ----------
    regularization_weight : float, default=0.6
        Weight of the sum of scale, shape and center, in [0, 1]; that of the squared distance of
        views is 1 - regularization_weight.

    n_directions : int, default=256
        Number of random directions of each step, in which the shape is compared.

    projection_dim : int, default=64
        Width of the projection in which views are compared, used during training only.

    {projection_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The paper has a weight of 0.9 for large data sets, 4096 directions and multi-crop. Views have
    a small distance to the mean of the global views, which are those of the size of the first one:
    all by default.

    References
    ----------
    `Wu et al. "VISReg: Variance-invariance-sketching regularization for JEPA training", 2026
    <https://arxiv.org/abs/2606.02572>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import VISRegTransformer
    >>> images = load_digits().images[:200]
    >>> VISRegTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    regularization_weight: between(0, 1, "both") = 0.6
    n_directions: Count = 256
    projection_dim: Count = 64

    default_views = {
        "image": ImageViews(n_views=4),
        "table": TableViews(n_views=4),
        "text": TextViews(),
    }

    def _make_objective(self, encoder, n_features, training):
        settings = self.regularization_weight, self.n_directions
        return VISRegObjective(encoder, self._projector(n_features), *settings)
