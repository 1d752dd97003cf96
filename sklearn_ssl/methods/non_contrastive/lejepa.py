"""LeJEPA: near projections of all views, distributed as an isotropic Gaussian (SIGReg)."""

import torch

from sklearn_ssl.methods.non_contrastive._base import GaussianObjective, ProjectionTransformer
from sklearn_ssl.parameters import Count, between
from sklearn_ssl.views import ImageViews, TableViews, TextViews

KNOTS, LARGEST = 17, 3.0  # of the integral over frequencies


class LeJEPAObjective(GaussianObjective):
    """SIGReg, and the distance of all views to the mean of the global views."""

    def distance_to_gaussian(self, z, directions):
        """Return the mean statistic over views and directions."""
        return {"sigreg": epps_pulley(z @ directions).mean()}

    def chance_loss(self, n):
        """Return the loss of equal projections of all samples, at the mean of the Gaussian."""
        return self.weight * epps_pulley(torch.zeros(n, 1)).item()


def epps_pulley(x):
    """Return Epps and Pulley's statistic of each column of samples (..., n, m), (..., m).

    It is n times the squared distance of their characteristic function to that of the standard
    normal distribution, integrated over frequencies with this distribution's density as weights.
    """
    frequencies = torch.linspace(0, LARGEST, KNOTS, dtype=x.dtype, device=x.device)
    normal = torch.exp(-frequencies.square() / 2)
    angles = x[..., None] * frequencies  # (..., n, m, knots)
    errors = (angles.cos().mean(dim=-3) - normal).square() + angles.sin().mean(dim=-3).square()
    # Twice, for negative frequencies.
    return x.shape[-2] * torch.trapezoid(2 * normal * errors, dx=LARGEST / (KNOTS - 1))


class LeJEPATransformer(ProjectionTransformer):
    """Learn features of which all views are near each other, distributed as a Gaussian.

    Sketched isotropic Gaussian regularization (SIGReg) compares the projections of a batch with a
    standard normal distribution in random directions, which prevents collapse without negatives,
    teacher or stop-gradient. The training loss is related to the quality of features, so ``score``
    can select ``lr`` or the backbone. ``history_`` has its parts ``invariance`` and ``sigreg``.

    Parameters
    ----------
    sigreg_weight : float, default=0.05
        Weight of SIGReg, in [0, 1]; that of the squared distance of views is 1 - sigreg_weight.

    n_directions : int, default=256
        Number of random directions of each step.

    projection_dim : int, default=64
        Width of the projection in which views are compared, used during training only.

    {projection_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Views have a small distance to the mean of the global views, which are those of the size of the
    first one: all by default, and the first ones of :class:`~sklearn_ssl.views.MultiCrop`,
    which the paper uses for large images. It has up to 1024 directions and wider projectors.

    References
    ----------
    `Balestriero, LeCun "LeJEPA: Provable and scalable self-supervised learning without the
    heuristics", 2025 <https://arxiv.org/abs/2511.08544>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import LeJEPATransformer
    >>> images = load_digits().images[:200]
    >>> LeJEPATransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    sigreg_weight: between(0, 1, "both") = 0.05
    n_directions: Count = 256
    projection_dim: Count = 64

    default_views = {
        "image": ImageViews(n_views=4),
        "table": TableViews(n_views=4),
        "text": TextViews(),
    }

    def _make_objective(self, encoder, n_features, training):
        settings = self.sigreg_weight, self.n_directions
        return LeJEPAObjective(encoder, self._projector(n_features), *settings)
