"""SimCLR: identify the two views of a sample among those of all samples in the batch."""

import math

import torch
from torch.nn.functional import cross_entropy, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import JointEmbeddingTransformer
from sklearn_ssl.methods.contrastive._base import ContrastiveObjective
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, Positive
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class SimCLRObjective(ContrastiveObjective):
    """NT-Xent between the projections of two views."""

    def __init__(self, encoder, n_features, projection_hidden_dim, projection_dim, temperature):
        projector = mlp(n_features, projection_hidden_dim, projection_dim, last_norm=True)
        super().__init__(encoder, projector, temperature)

    def forward(self, views):
        """Return the loss of a batch of two views."""
        z1, z2 = self.projections(views)
        return {"loss": nt_xent(z1, z2, self.temperature), "embedding": z1}

    def chance_loss(self, n):
        """Return the loss at chance level, where all projections are equal."""
        return math.log(2 * n - 1)


def nt_xent(z1, z2, temperature):
    """Return the normalized temperature-scaled cross entropy, the mean over all views.

    Each of the 2n projections is classified among the 2n - 1 others by its cosine similarities; the
    label is the other view of its sample.
    """
    with full_precision(z1.device):
        z = normalize(wide(torch.cat([z1, z2])))
        logits = z @ z.T / temperature  # (2n, 2n)
        logits.fill_diagonal_(-torch.inf)
        labels = torch.arange(len(z), device=z.device).roll(len(z1))
        return cross_entropy(logits, labels)


class SimCLRTransformer(JointEmbeddingTransformer):
    """Learn features by contrasting two augmented views of each sample with all other samples.

    The default method for images and texts, and a good first try: the features become invariant to
    the augmentations of ``views``. The other samples in a batch are the negatives, so larger
    batches help. On tabular data it is SCARF: in the second view, random features are replaced. In
    views of texts, half of the tokens are deleted.

    Parameters
    ----------
    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities, above 0. Lower values put more weight
        on the most similar negatives.

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
    The loss is the mean over both views, half the value of the published code, which adds them.
    Optimizer, batch size and temperature are not the published ones, which need thousands of
    samples per batch and hundreds of epochs, but chosen for minutes of training.

    References
    ----------
    `Chen et al. "A simple framework for contrastive learning of visual representations",
    ICML 2020 <https://arxiv.org/abs/2002.05709>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SimCLRTransformer
    >>> images = load_digits().images[:200]
    >>> simclr = SimCLRTransformer(max_epochs=1, random_state=0).fit(images)
    >>> simclr.transform(images).shape
    (200, 256)
    """

    temperature: Positive = 0.2
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        widths = self.projection_hidden_dim, self.projection_dim
        return SimCLRObjective(encoder, n_features, *widths, self.temperature)
