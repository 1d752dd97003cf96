"""Sinkhorn-Knopp: soft assignments of a batch that use all prototypes about equally."""

import torch
from torch.nn.functional import log_softmax, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.training.objective import wide


@torch.no_grad()
def sinkhorn(scores, epsilon=0.05, n_iterations=3):
    """Return the assignments of samples to prototypes, (n, k), without gradients.

    ``scores`` are similarities of all samples of a batch to the prototypes. Each iteration scales
    the exponentials of scores / epsilon, first so that the columns have equal sums, then so that
    each row sums to 1. It computes in log space, where nothing overflows or becomes zero.
    """
    with full_precision(scores.device):
        logits = wide(scores) / epsilon
        for _ in range(n_iterations):
            logits = log_softmax(log_softmax(logits, dim=0), dim=1)
        return softmax(logits, dim=1)
