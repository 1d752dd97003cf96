"""NNCLR: contrast views with the nearest neighbors of the other view in a queue."""

import math

import torch
from torch.nn.functional import normalize

from sklearn_ssl.methods._joint_embedding import JointEmbeddingTransformer, queue_size_for
from sklearn_ssl.methods.contrastive._base import ContrastiveObjective, info_nce
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.networks.queue import Queue
from sklearn_ssl.parameters import Auto, Count, Positive
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class NNCLRObjective(ContrastiveObjective):
    """InfoNCE of the neighbor of a view and the prediction of the other one."""

    near_chance = 0.99  # a prediction cannot be as near to many neighbors as to its own sample

    def __init__(self, encoder, n_features, hidden_dim, dim, temperature, queue_size):
        projector = mlp(n_features, hidden_dim, hidden_dim, dim, last_norm=True)
        super().__init__(encoder, projector, temperature)
        self.queue = Queue(queue_size, dim)
        self.predict = mlp(dim, hidden_dim, dim)

    def forward(self, views):
        """Return the loss of a batch of two views."""
        z1, z2 = self.projections(views)
        keys = [normalize(wide(z.detach())) for z in (z1, z2)]
        near1, near2 = self.queue.nearest(torch.cat(keys))[:, 0].chunk(2)
        pairs = (near1, self.predict(z2)), (near2, self.predict(z1))
        loss = sum(info_nce(near, p, self.temperature) for near, p in pairs) / 2
        return {"loss": loss, "embedding": z1, "keys": keys[0]}

    def after_update(self, terms, progress):
        """Add the projections of the first view to the queue."""
        self.queue.push(terms["keys"])

    def chance_loss(self, n):
        """Return the loss at chance level, where all projections are equal."""
        return math.log(n)


class NNCLRTransformer(JointEmbeddingTransformer):
    """Nearest-neighbor contrastive learning: a view's neighbor is the positive of the other view.

    The neighbor is the most similar projection of an earlier sample, in a queue: features become
    invariant to more than the augmentations of ``views``. Use it where these are weak, and for
    hundreds of steps or more, as neighbors are arbitrary at first.

    Parameters
    ----------
    queue_size : int or "auto", default="auto"
        Number of projections in the queue, at most half of the samples, as others would be
        neighbors of themselves. "auto" is 4,096 or half of the samples, if these are fewer.

    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities, above 0.

    projection_dim : int, default=128
        Width of the projection in which views are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layers of projector and predictor.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The queue is empty at first, instead of random: in the first step, each view is its own
    neighbor. It has the projections of the first view. The paper has 98,304 of them.

    References
    ----------
    `Dwibedi et al. "With a little help from my friends: nearest-neighbor contrastive learning of
    visual representations", ICCV 2021 <https://arxiv.org/abs/2104.14548>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import NNCLRTransformer
    >>> images = load_digits().images[:200]
    >>> nnclr = NNCLRTransformer(max_epochs=1, random_state=0).fit(images)
    >>> nnclr.transform(images).shape
    (200, 256)
    """

    queue_size: Auto | Count = "auto"
    temperature: Positive = 0.2
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        widths = self.projection_hidden_dim, self.projection_dim
        size = queue_size_for(self.queue_size, training)
        return NNCLRObjective(encoder, n_features, *widths, self.temperature, size)
