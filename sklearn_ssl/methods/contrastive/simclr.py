"""SimCLR: tell the two views of a sample from all other samples of the batch."""

import math

import torch
from torch.nn.functional import cross_entropy, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, Positive
from sklearn_ssl.training.objective import Objective, wide
from sklearn_ssl.views import ImageViews, RowViews


class SimCLRObjective(Objective):
    """NT-Xent between the projections of two views."""

    def __init__(self, encoder, n_features, projection_hidden_dim, projection_dim, temperature):
        super().__init__(encoder)
        self.project = mlp(n_features, projection_hidden_dim, projection_dim, last_norm=True)
        self.temperature = temperature

    def forward(self, views):
        """Return the loss of a batch of two views."""
        if len(views) != 2:
            raise ValueError(f"SimCLR compares two views; the view recipe gave {len(views)}.")
        z1, z2 = (self.project(self.encoder(view)) for view in views)
        return {"loss": nt_xent(z1, z2, self.temperature), "embedding": z1}

    def chance_loss(self, n):
        """Return the loss of one to whom all other projections are alike."""
        return math.log(2 * n - 1)


def nt_xent(z1, z2, temperature):
    """Normalised temperature-scaled cross entropy, the mean over both views of all samples.

    Each of the 2n projections has to find its sibling among the 2n - 1 others by their cosine
    similarity. With all projections equal it is log(2n - 1).
    """
    with full_precision(z1.device):
        z = normalize(wide(torch.cat([z1, z2])))
        logits = z @ z.T / temperature  # (2n, 2n)
        logits.fill_diagonal_(-torch.inf)
        sibling = torch.arange(len(z), device=z.device).roll(len(z1))
        return cross_entropy(logits, sibling)


class SimCLRTransformer(SSLTransformer):
    """Learn features in which two random views of a sample are close, and all others apart.

    The default method for images without labels, and a good first try: what its views change,
    crop, side and colours, is what the features learn not to notice. It learns from the other
    samples in the batch, so larger batches help. On rows of numbers it is SCARF: the second view
    of a row is the row with a random part of its features replaced.

    Parameters
    ----------
    temperature : float, default=0.2
        Divides the cosine similarities in the loss, above 0. Lower values make it care for the
        most similar of the other samples.

    projection_dim : int, default=128
        Width of the projection in which views are compared, in training alone.

    projection_hidden_dim : int, default=512
        Width of the projection's hidden layer.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The loss is the mean over both views, half the value of the published code, which adds the
    two directions. The optimizer, batch size and temperature are not the published ones, which
    need thousands of samples a batch and hundreds of epochs; they were chosen for minutes of
    training. The two views pass the encoder one after the other, so that its batch norms see each
    view on its own.

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

    default_views = {"image": ImageViews(), "rows": RowViews()}

    def _make_objective(self, encoder, n_features, training):
        return SimCLRObjective(
            encoder,
            n_features,
            self.projection_hidden_dim,
            self.projection_dim,
            self.temperature,
        )
