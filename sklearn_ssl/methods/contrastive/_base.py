"""Contrastive learning: what methods share that compare projections by cosine similarity."""

import torch
from torch.nn.functional import cross_entropy, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import JointEmbeddingObjective, MomentumObjective
from sklearn_ssl.networks.queue import Queue
from sklearn_ssl.training.objective import wide


class ContrastiveObjective(JointEmbeddingObjective):
    """Objective on projections of views, whose cosine similarities a temperature divides."""

    def __init__(self, encoder, projector, temperature):
        super().__init__(encoder, projector)
        self.temperature = temperature


def info_nce(queries, keys, temperature, queue=None):
    """Return the cross entropy of the key of each query, the mean over queries.

    Queries and keys, (n, dim), are compared by cosine similarity. The key of a query is classified
    among all keys, or among itself and the vectors of a :class:`Queue`.
    """
    with full_precision(queries.device):
        queries, keys = normalize(wide(queries)), normalize(wide(keys))
        if queue is None:
            logits, labels = queries @ keys.T, torch.arange(len(keys), device=keys.device)
        else:
            own = (queries * keys).sum(dim=1, keepdim=True)
            logits = torch.cat([own, queue.similarities(queries)], dim=1)
            labels = torch.zeros(len(keys), dtype=torch.long, device=keys.device)
        return cross_entropy(logits / temperature, labels)


class QueueObjective(MomentumObjective):
    """Objective with a queue of the teacher's keys of the first view; with size 0 it is None."""

    def __init__(self, encoder, projector, projection_dim, temperature, momentum, queue_size):
        super().__init__(encoder, projector, momentum)
        self.temperature = temperature
        self.queue = Queue(queue_size, projection_dim) if queue_size else None

    def after_update(self, terms, progress):
        """Update the teacher, and add ``"keys"`` of the terms to the queue."""
        super().after_update(terms, progress)
        if self.queue is not None:
            self.queue.push(terms["keys"])


def check_several(z):
    """Raise if there is one sample only, which has no negatives."""
    if len(z) < 2:
        raise ValueError("The loss compares samples with each other: at least 2 are needed.")
