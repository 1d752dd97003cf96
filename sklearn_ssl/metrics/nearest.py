"""Exact nearest neighbors by cosine similarity, in blocks, for metrics and probes."""

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch.nn.functional import normalize

from sklearn_ssl._runtime.device import full_precision

BLOCK_BYTES = 2**27  # of similarities in memory at once


def blocks_of_similarities(X, gallery, device="cpu"):
    """Yield slices of X and their cosine similarities to all rows of a gallery, as arrays."""
    for rows, _, _, block in _blocks(X, gallery, device):
        yield rows, block.cpu().numpy()


def nearest(X, gallery, k, *, same=False, device="cpu"):
    """Return indices and cosine similarities (n, k) of the k nearest neighbors in a gallery.

    They are in order of decreasing similarity. With ``same``, X is the gallery, and no sample is
    its own neighbor.
    """
    found, similarity = np.empty((len(X), k), np.int64), np.empty((len(X), k), np.float32)
    for rows, queries, unit, block in _blocks(X, gallery, device):
        if same:
            own = torch.arange(rows.start, rows.stop, device=block.device)
            block.scatter_(1, own[:, None], -torch.inf)
        indices = block.topk(k, dim=1).indices
        # Rounding of a matrix product depends on the position of a row.
        exact = torch.stack([(queries * unit[column]).sum(dim=1) for column in indices.T], dim=1)
        found[rows], similarity[rows] = indices.cpu().numpy(), exact.cpu().numpy()
    return found, similarity


@np.errstate(under="ignore")
def votes(codes, similarity, n_classes, temperature):
    """Return the shares of the votes of neighbors for each class, (n, n_classes).

    ``codes`` are the class indices of the neighbors, (n, k); votes have weights
    exp(similarity / temperature).
    """
    # Differences to the maximum avoid an overflow for small temperatures.
    weights = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / temperature)
    shares = np.zeros((len(codes), n_classes))
    np.add.at(shares, (np.arange(len(codes))[:, None], codes), weights)
    return shares / shares.sum(axis=1, keepdims=True)


def _blocks(X, gallery, device):
    """Yield slices of X, their normalized rows, the normalized gallery, and similarities."""
    device = torch.device(device)
    gallery = normalize(_on(gallery, device))
    for rows in gen_batches(len(X), max(1, BLOCK_BYTES // (4 * len(gallery)))):
        block = normalize(_on(X[rows], device))
        with full_precision(device):  # also under autocast
            similarity = block @ gallery.T
        yield rows, block, gallery, similarity


@np.errstate(under="ignore")
def _on(X, device):
    """Return an embedding as a tensor on a device; torch needs writable memory."""
    return torch.from_numpy(np.require(X, np.float32, ["C", "W"])).to(device)
