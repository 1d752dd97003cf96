"""SupCon: contrastive learning in which all samples of a class are positives."""

import torch
from torch.nn.functional import normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.training.objective import wide


def supcon(z, labels, temperature):
    """Return the supervised contrastive loss of projections, (m, dim), and their labels, (m,).

    Anchors are those with another projection of their label, a positive: the loss is the mean over
    anchors of the mean cross entropy of their positives among all other projections.
    """
    with full_precision(z.device):
        z = normalize(wide(z))
        own = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = (z @ z.T / temperature).masked_fill(own, -torch.inf)
        positive = (labels[:, None] == labels) & ~own
        cross_entropies = (logits.logsumexp(dim=1, keepdim=True) - logits).masked_fill(~positive, 0)
        n_positive = positive.sum(dim=1)
        losses = cross_entropies.sum(dim=1) / n_positive.clamp(min=1)
        return losses.sum() / (n_positive > 0).sum().clamp(min=1)
