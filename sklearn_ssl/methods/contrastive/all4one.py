"""All4One: contrast views with neighbors, with summaries of neighbors, and decorrelate features."""

import math

import torch
from torch import nn
from torch.nn.functional import normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import MomentumTransformer, queue_size_for
from sklearn_ssl.methods.contrastive._base import QueueObjective, info_nce
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Auto, Count, Positive
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews

CENTROID_TEMPERATURE = 0.1  # of the paper


class Centroids(nn.Module):
    """Transformer that summarizes a sequence of vectors, (n, k, dim), in its first output."""

    def __init__(self, dim, n_vectors):
        super().__init__()
        sizes = {"dim_feedforward": 2 * dim, "dropout": 0.1, "batch_first": True}
        layer = nn.TransformerEncoderLayer(dim, math.gcd(dim, 8), **sizes)
        self.encode = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        places = torch.arange(n_vectors)[:, None] / 10_000 ** (torch.arange(dim) // 2 * 2 / dim)
        waves = torch.where(torch.arange(dim) % 2 == 0, places.sin(), places.cos())
        self.register_buffer("positions", waves, persistent=False)

    def forward(self, vectors):
        """Return the summaries, (n, dim)."""
        return self.encode(vectors + self.positions)[:, 0]


class All4OneObjective(QueueObjective):
    """Sum of a neighbor, a centroid and a feature term, of which each has the weight 1/2."""

    def __init__(self, encoder, n_features, hidden_dim, dim, temperature, momentum, queue_size, k):
        projector = mlp(n_features, hidden_dim, hidden_dim, dim, last_norm=True)
        super().__init__(encoder, projector, dim, temperature, momentum, queue_size)
        self.predict, self.predict_centroid = (mlp(dim, hidden_dim, dim) for _ in range(2))
        self.n_neighbors, self.centroids = k, Centroids(dim, k)

    def forward(self, views):
        """Return the loss of a batch of two views."""
        z, keys = self.projections(views), self.taught(views)
        keys = [normalize(wide(key)) for key in keys]
        near = [self.queue.nearest(key, self.n_neighbors) for key in keys]
        queries = [self.predict_centroid(part)[:, None].to(near[0]) for part in z]
        shifted = [torch.cat([q, n[:, :-1]], dim=1) for q, n in zip(queries, near, strict=True)]
        targets, others = ([self.centroids(v) for v in parts] for parts in (near, shifted))
        terms = {"neighbors": 0, "centroids": 0, "features": 0}
        for i, j in ((0, 1), (1, 0)):  # each term is the mean over both directions
            loss = info_nce(near[i][:, 0], self.predict(z[j]), self.temperature)
            terms["neighbors"] += loss / 2
            terms["centroids"] += info_nce(targets[i], others[j], CENTROID_TEMPERATURE) / 2
            terms["features"] += feature_loss(keys[i], z[j]) / 2
        return terms | {"loss": sum(terms.values()) / 2, "embedding": z[0], "keys": keys[0]}


def feature_loss(keys, z):
    """Return 10 times the root mean square errors of the cosines between features.

    These are columns of (n, dim): equal ones should have the cosine 1, others 0.
    """
    with full_precision(z.device):
        cosines = normalize(wide(keys), dim=0).T @ normalize(wide(z), dim=0)
        same = torch.eye(len(cosines), dtype=torch.bool, device=z.device)
        errors = (cosines - same.to(cosines)).square()
        diagonal, p = errors.masked_fill(~same, 0).sum(), len(cosines)
        return 5 * ((diagonal / p).sqrt() + ((errors.sum() - diagonal) / (p * p - p)).sqrt())


class All4OneTransformer(MomentumTransformer):
    """All4One: contrast views with neighbors and their attention centroids, decorrelate features.

    Adds two terms to :class:`~sklearn_ssl.NNCLRTransformer`, whose queue has keys of a momentum
    teacher: a transformer summarizes several neighbors at once, and the features of both views
    are brought to correlate with themselves alone. ``history_`` has the parts ``neighbors``,
    ``centroids`` and ``features``; the loss is half of their sum.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of neighbors that are summarized.

    queue_size : int or "auto", default="auto"
        Number of keys in the queue, at most half of the samples. "auto" is 4,096 or half of the
        samples, if these are fewer.

    temperature : float, default=0.2
        Temperature of the softmax of the neighbor term, above 0.

    projection_dim : int, default=128
        Width of the projection in which views are compared, used during training only, at least 2.

    projection_hidden_dim : int, default=512
        Width of the hidden layers of projector and predictors.

    {momentum_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    As published but for the sizes: the queue is smaller and empty at first, instead of random.

    References
    ----------
    `Estepa et al. "All4One", ICCV 2023 <https://arxiv.org/abs/2303.09417>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import All4OneTransformer
    >>> images = load_digits().images[:200]
    >>> All4OneTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    n_neighbors: Count = 5
    queue_size: Auto | Count = "auto"
    temperature: Positive = 0.2
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        widths = self.projection_hidden_dim, self.projection_dim
        size = queue_size_for(self.queue_size, training)
        settings = self.temperature, self._resolve_momentum(training), size
        k = min(self.n_neighbors, size)
        return All4OneObjective(encoder, n_features, *widths, *settings, k)
