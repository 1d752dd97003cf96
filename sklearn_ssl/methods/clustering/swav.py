"""SwAV: predict the cluster assignment of a view from other views of the sample."""

import math

import torch
from torch import nn
from torch.nn.functional import linear, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import JointEmbeddingObjective, queue_size_for
from sklearn_ssl.methods._multi_crop import MultiCropTransformer, multi_crop_loss
from sklearn_ssl.methods._sinkhorn import sinkhorn
from sklearn_ssl.methods.clustering._base import AssignmentMixin, number_of_prototypes
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.networks.queue import Queue
from sklearn_ssl.parameters import Auto, Count, NonNegative, Positive, at_least
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews


class SwAVObjective(JointEmbeddingObjective):
    """Cross entropy between the codes of the two global views and the scores of other views."""

    most_views = math.inf

    def __init__(self, encoder, projector, prototypes, queue, temperature, epsilon, freeze_until):
        super().__init__(encoder, projector)
        self.prototypes, self.queue = nn.Parameter(normalize(prototypes)), queue
        self.temperature, self.epsilon = temperature, epsilon
        self.freeze_until = freeze_until  # progress up to which the prototypes are fixed

    def forward(self, views):
        """Return the loss of a batch of views, global views first."""
        z = self.projections(views)
        with full_precision(z[0].device):
            z = normalize(wide(torch.stack(z)), dim=2)  # (v, n, p)
            scores = self.scores(z)
            codes = torch.stack([self.codes(part) for part in scores[:2]])
            loss = multi_crop_loss(codes, scores, self.temperature)
        return {"loss": loss, "embedding": z[0], "queued": z[:2].flatten(0, 1)}

    def scores(self, z):
        """Return the similarities of unit vectors to the prototypes."""
        return linear(z, normalize(self.prototypes))

    def codes(self, scores):
        """Return the assignments of the samples of a batch; a full queue is assigned with it."""
        queued = self.scores(self.queue.vectors.to(scores))
        together = sinkhorn(torch.cat([scores, queued]), self.epsilon)[: len(scores)]
        alone = sinkhorn(scores, self.epsilon)
        return torch.where(self.queue.is_filled.all(), together, alone)

    def assigned(self, samples):
        """Return the nearest prototype of each sample."""
        return self.scores(normalize(self.projected(samples))).argmax(dim=1)

    def before_update(self, progress):
        """Drop the gradient of the prototypes while they are fixed."""
        if progress < self.freeze_until:
            self.prototypes.grad = None

    @torch.no_grad()
    def after_update(self, terms, progress):
        """Let the prototypes have length one, and update the queue."""
        self.prototypes.copy_(normalize(self.prototypes))
        if len(self.queue.vectors):
            self.queue.push(terms["queued"])

    def chance_loss(self, n):
        """Return the cross entropy of equal probabilities for all prototypes."""
        return math.log(len(self.prototypes))


class SwAVTransformer(AssignmentMixin, MultiCropTransformer):
    """Learn features by predicting the cluster of a view from other views of the sample.

    Clusters are learned prototypes, to which ``predict`` assigns samples. The assignments of each
    batch use all prototypes about equally (Sinkhorn-Knopp), which prevents collapse without
    negatives or a teacher. For tabular data, each view replaces a random share of the features.

    Parameters
    ----------
    n_prototypes : int or "auto", default="auto"
        Number of prototypes, at least 2. "auto" is ``n_samples // 20``, at least 10 and at most
        500. Use several times as many as there are classes.

    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities to prototypes, above 0.

    epsilon : float, default=0.03
        Temperature of the assignments, above 0. If the loss stays at chance level, decrease it.

    queue_size : int, default=0
        Number of projections of earlier batches that are assigned together with a batch, at least
        0 and at most half of the samples, once it is full. For batches much smaller than
        ``n_prototypes`` and long training: earlier projections are outdated while the network
        changes fast.

    freeze_prototypes : float, default=1
        Number of epochs at the start in which the prototypes are fixed, at most half of training.

    projection_dim : int, default=128
        Width of the projection that is compared with prototypes.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {multi_crop_parameters}

    {shared_parameters}

    Attributes
    ----------
    prototypes_ : ndarray of shape (n_prototypes, projection_dim)
        Prototypes, of length one.

    {shared_attributes}

    Notes
    -----
    Differences from the paper: defaults are for small networks and short training, as is the batch
    norm after the projector, without which features collapsed on digits. There is no queue by
    default, and it is one for both global views.

    References
    ----------
    `Caron et al. "Unsupervised learning of visual features by contrasting cluster assignments",
    NeurIPS 2020 <https://arxiv.org/abs/2006.09882>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SwAVTransformer
    >>> images = load_digits().images[:200]
    >>> swav = SwAVTransformer(max_epochs=1, random_state=0).fit(images)
    >>> swav.transform(images).shape, swav.predict(images).shape
    ((200, 256), (200,))
    """

    n_prototypes: Auto | at_least(2) = "auto"
    temperature: Positive = 0.2
    epsilon: Positive = 0.03
    queue_size: at_least(0) = 0
    freeze_prototypes: NonNegative = 1
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(scale=(0.4, 1.0)), "table": TableViews(keep_first=False)}

    def _make_objective(self, encoder, n_features, training):
        dim, known = self.projection_dim, getattr(self, "prototypes_", ())
        n = number_of_prototypes(self.n_prototypes, training, known)
        projector = mlp(n_features, self.projection_hidden_dim, dim, last_norm=True)
        queue = Queue(queue_size_for(self.queue_size, training), dim)
        freeze_until = min(0.5, self.freeze_prototypes / training.max_epochs)
        settings = self.temperature, self.epsilon, freeze_until
        return SwAVObjective(encoder, projector, torch.randn(n, dim), queue, *settings)

    def _fitted(self, objective, source):
        return {"prototypes_": objective.prototypes.detach().numpy().copy()}
