"""DCL: decoupled contrastive learning, without the positive pair in the denominator."""

import math

import torch
from torch.nn.functional import normalize, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import JointEmbeddingTransformer
from sklearn_ssl.methods.contrastive._base import ContrastiveObjective, check_several
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, Positive
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class DCLObjective(ContrastiveObjective):
    """Decoupled contrastive loss between the projections of two views."""

    def __init__(self, encoder, projector, temperature, sigma=None):
        super().__init__(encoder, projector, temperature)
        self.sigma = sigma  # of the weights of positive pairs; None is equal weights

    def forward(self, views):
        """Return the loss of a batch of two views."""
        z1, z2 = self.projections(views)
        loss = decoupled_contrastive(z1, z2, self.temperature, self.sigma)
        return {"loss": loss, "embedding": z1}

    def chance_loss(self, n):
        """Return the loss at chance level, where all projections are equal."""
        return math.log(2 * n - 2)


def decoupled_contrastive(z1, z2, temperature, sigma=None):
    """Return the decoupled contrastive loss, the mean over all views.

    It is minus the similarity to the other view of the sample, plus the log-sum-exp of those to the
    2n - 2 views of other samples. With ``sigma``, positive pairs are weighted by 2 minus n times
    the softmax over the batch of their cosine similarities / sigma, whose mean is 1.
    """
    check_several(z1)
    with full_precision(z1.device):
        z1, z2 = normalize(wide(z1)), normalize(wide(z2))
        z, n = torch.cat([z1, z2]), len(z1)
        same = torch.eye(n, dtype=torch.bool, device=z.device).repeat(2, 2)
        negatives = (z @ z.T / temperature).masked_fill(same, -torch.inf).logsumexp(dim=1)
        positives = (z1 * z2).sum(dim=1)
        if sigma is not None:
            positives = positives * (2 - n * softmax(positives.detach() / sigma, dim=0))
        return negatives.mean() - positives.mean() / temperature


class DCLTransformer(JointEmbeddingTransformer):
    """Learn features by decoupled contrastive learning, a SimCLR for small batches.

    The similarity of the two views of a sample is not in the denominator of the softmax, so that
    the gradient does not vanish where views are similar already. It needs fewer negatives than
    SimCLR. On tabular data, random features of the second view are replaced; of texts, each view
    has half of the tokens.

    Parameters
    ----------
    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities, above 0. Lower values put more weight
        on the most similar negatives.

    weighted : bool, default=False
        Whether positive pairs are weighted (DCLW): less if their views are similar already, by a
        von Mises-Fisher distribution.

    sigma : float, default=0.5
        Temperature of these weights, above 0, if ``weighted`` is True. Lower values make them more
        different.

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
    The loss, which may be negative, is the mean over both views. Optimizer, batch size and
    temperature are not the published ones, but chosen for minutes of training.

    References
    ----------
    `Yeh et al. "Decoupled contrastive learning", ECCV 2022 <https://arxiv.org/abs/2110.06848>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DCLTransformer
    >>> images = load_digits().images[:200]
    >>> dcl = DCLTransformer(max_epochs=1, random_state=0).fit(images)
    >>> dcl.transform(images).shape
    (200, 256)
    """

    temperature: Positive = 0.2
    weighted: bool = False
    sigma: Positive = 0.5
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        widths = n_features, self.projection_hidden_dim, self.projection_dim
        sigma = self.sigma if self.weighted else None
        return DCLObjective(encoder, mlp(*widths, last_norm=True), self.temperature, sigma)
