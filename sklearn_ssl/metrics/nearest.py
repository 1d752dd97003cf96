"""Most similar vectors by cosine, exactly, in blocks; what metrics and probes share."""

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch.nn.functional import normalize

from sklearn_ssl._runtime.device import full_precision

BLOCK_BYTES = 2**27  # of similarities in memory at once


def blocks_of_similarities(X, gallery, device="cpu"):
    """Give slices of X and the cosines of their rows with all rows of a gallery, as arrays."""
    for rows, _, _, block in _blocks(X, gallery, device):
        yield rows, block.cpu().numpy()


def nearest(X, gallery, k, *, same=False, device="cpu"):
    """Return indices and cosines, (n, k), of the rows of a gallery most similar to each of X.

    With ``same``, X is the gallery, and no row finds itself. Similar ones come first.
    """
    found, similarity = np.empty((len(X), k), np.int64), np.empty((len(X), k), np.float32)
    for rows, asking, unit, block in _blocks(X, gallery, device):
        if same:
            own = torch.arange(rows.start, rows.stop, device=block.device)
            block.scatter_(1, own[:, None], -torch.inf)
        indices = block.topk(k, dim=1).indices
        # A product of matrices rounds a row by where it stands in them.
        exact = torch.stack([(asking * unit[column]).sum(dim=1) for column in indices.T], dim=1)
        found[rows], similarity[rows] = indices.cpu().numpy(), exact.cpu().numpy()
    return found, similarity


@np.errstate(under="ignore")
def votes(codes, similarity, n_classes, temperature):
    """Return the share of the votes, (n, n_classes), that neighbours give to each class.

    ``codes`` are the classes of the neighbours as numbers, (n, k); a vote weighs
    exp(similarity / temperature).
    """
    # Of the differences to the most similar one, as small temperatures overflow.
    weights = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / temperature)
    shares = np.zeros((len(codes), n_classes))
    np.add.at(shares, (np.arange(len(codes))[:, None], codes), weights)
    return shares / shares.sum(axis=1, keepdims=True)


def _blocks(X, gallery, device):
    """Give slices of X, their rows and those of a gallery of length one, and their cosines."""
    device = torch.device(device)
    gallery = normalize(_on(gallery, device))
    for rows in gen_batches(len(X), max(1, BLOCK_BYTES // (4 * len(gallery)))):
        block = normalize(_on(X[rows], device))
        with full_precision(device):  # whatever the caller's autocast is
            similarity = block @ gallery.T
        yield rows, block, gallery, similarity


@np.errstate(under="ignore")
def _on(X, device):
    """Return an embedding on a device, of which torch shares memory that is writable alone."""
    return torch.from_numpy(np.require(X, np.float32, ["C", "W"])).to(device)
