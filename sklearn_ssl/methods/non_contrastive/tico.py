"""TiCo: invariance to transformations, and contrast of the covariance of projections."""

import torch
from torch.nn.functional import normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import MomentumObjective, MomentumTransformer
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, NonNegative, between
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class TiCoObjective(MomentumObjective):
    """Cosines to the teacher's projections, and projections on the main directions of all."""

    def __init__(self, encoder, projector, dim, *, momentum, beta, rho):
        super().__init__(encoder, projector, momentum)
        self.beta, self.rho = beta, rho
        self.register_buffer("covariance", torch.zeros(dim, dim))

    def forward(self, views):
        """Return the loss of a batch of two views, the second one seen by the teacher."""
        z, target = self.across(views)
        with full_precision(z.device):
            unit, target = normalize(wide(z)), normalize(wide(target))
            batch = unit.detach().T @ unit.detach() / len(unit)
            covariance = self.beta * self.covariance.to(batch) + (1 - self.beta) * batch
            loss = tico_loss(unit, target, covariance, self.rho)
        return {"loss": loss, "embedding": z, "covariance": covariance}

    def after_update(self, terms, progress):
        """Update the teacher and the covariance."""
        super().after_update(terms, progress)
        self.covariance.copy_(terms["covariance"])


def tico_loss(z, target, covariance, rho):
    """Return 1 minus the mean cosine, plus rho times the mean of z.T @ covariance @ z."""
    invariance = 1 - (z * target).sum(dim=1).mean()
    return invariance + rho * ((z @ covariance) * z).sum(dim=1).mean()


class TiCoTransformer(MomentumTransformer):
    """Learn features by transformation invariance and covariance contrast.

    The projection of one view is brought close to a momentum teacher's of the other view, and
    away from the directions in which the projections of the last batches vary most: a contrast to
    many samples without a queue of them. ``transform`` uses the student. On tabular data,
    random features of the second view are replaced; of texts, each view has half of the tokens.

    Parameters
    ----------
    beta : float, default=0.9
        Momentum, in [0, 1), of the moving average of the covariance, the second moment of
        L2-normalized projections.

    rho : float, default=8.0
        Weight of the covariance contrast, at least 0. The invariance has the weight 1.

    projection_dim : int, default=256
        Width of the projection in which views are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {momentum_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    As in the paper, the student sees the first view only, and the covariance includes the current
    batch and is not centered. Optimizer, widths and momentum are not the published ones, but chosen
    for minutes of training.

    References
    ----------
    `Zhu et al. "TiCo: transformation invariance and covariance contrast for self-supervised visual
    representation learning", 2022 <https://arxiv.org/abs/2206.10698>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import TiCoTransformer
    >>> images = load_digits().images[:200]
    >>> tico = TiCoTransformer(max_epochs=1, random_state=0).fit(images)
    >>> tico.transform(images).shape
    (200, 256)
    """

    beta: between(0, 1, "left") = 0.9
    rho: NonNegative = 8.0
    projection_dim: Count = 256
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        projector = mlp(n_features, self.projection_hidden_dim, self.projection_dim)
        settings = {"momentum": self._resolve_momentum(training), "beta": self.beta}
        return TiCoObjective(encoder, projector, self.projection_dim, rho=self.rho, **settings)
