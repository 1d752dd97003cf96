"""MoCo: contrast views with the outputs of a momentum teacher, of a queue or of the batch."""

import math

from torch import nn
from torch.nn.functional import normalize

from sklearn_ssl.methods._joint_embedding import MomentumTransformer, queue_size_for
from sklearn_ssl.methods.contrastive._base import QueueObjective, info_nce
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Auto, Count, Positive, at_least
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class MoCoObjective(QueueObjective):
    """InfoNCE of each view and the teacher's key of the other one; ``queue_size`` may be 0."""

    def __init__(self, encoder, n_features, hidden_dim, dim, temperature, momentum, queue_size):
        projector = mlp(n_features, hidden_dim, dim, last_norm=not queue_size)
        super().__init__(encoder, projector, dim, temperature, momentum, queue_size)
        self.predict = nn.Identity() if queue_size else mlp(dim, hidden_dim, dim)

    def forward(self, views):
        """Return the loss of a batch of two views."""
        z1, z2 = self.projections(views)
        k1, k2 = self.taught(views)
        pairs = (self.predict(z1), k2), (self.predict(z2), k1)
        loss = sum(info_nce(q, k, self.temperature, self.queue) for q, k in pairs) / 2
        return {"loss": loss, "embedding": z1, "keys": normalize(wide(k1))}

    def chance_loss(self, n):
        """Return the loss at chance level, where all projections are equal."""
        return math.log(n if self.queue is None else 1 + len(self.queue.vectors))


class MoCoTransformer(MomentumTransformer):
    """Momentum contrast: learn features by contrasting views with keys of a momentum teacher.

    The negatives are the keys of earlier batches in a queue (MoCo v2), or with ``queue_size=0``
    the other samples of the batch (MoCo v3). Use it instead of
    :class:`~sklearn_ssl.SimCLRTransformer` if batches have to be small. ``transform`` uses the
    student.

    Parameters
    ----------
    queue_size : int or "auto", default="auto"
        Number of keys in the queue, at most half of the samples, as others would be compared with
        older keys of themselves. "auto" is 4,096 or half of the samples, if these are fewer. With
        0, a predictor follows the student's projector, and keys are those of the batch.

    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities, above 0.

    projection_dim : int, default=128
        Width of the projection in which views are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layers of projector and predictor.

    {momentum_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The loss is the mean over both views as queries; the queue has the keys of the first view. It
    is empty at first, instead of random. The loss of MoCo v3 is not multiplied by twice the
    temperature, and the patch embedding of vision transformers is trained. Batch norms see a view
    as a whole: keys are not shuffled, as there is no other device that they could be computed on.

    References
    ----------
    `He et al. "Momentum contrast for unsupervised visual representation learning", CVPR 2020
    <https://arxiv.org/abs/1911.05722>`_

    `Chen et al. "An empirical study of training self-supervised vision transformers", ICCV 2021
    <https://arxiv.org/abs/2104.02057>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import MoCoTransformer
    >>> images = load_digits().images[:200]
    >>> moco = MoCoTransformer(max_epochs=1, random_state=0).fit(images)
    >>> moco.transform(images).shape
    (200, 256)
    """

    queue_size: Auto | at_least(0) = "auto"
    temperature: Positive = 0.2
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _make_objective(self, encoder, n_features, training):
        widths = self.projection_hidden_dim, self.projection_dim
        settings = self.temperature, self._resolve_momentum(training)
        size = queue_size_for(self.queue_size, training)
        return MoCoObjective(encoder, n_features, *widths, *settings, size)
