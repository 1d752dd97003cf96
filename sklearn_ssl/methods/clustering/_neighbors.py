"""Nearest neighbors of all samples, and epochs in which samples are next to one of theirs."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from sklearn_ssl._runtime.world import world


def nearest_neighbors(features, n_neighbors):
    """Return the index of each sample, followed by those of its neighbors, (n, 1 + k).

    They are the other samples with the highest cosine similarity. Of several processes one
    computes.
    """
    found = None
    if world().is_main:
        k = min(n_neighbors, len(features) - 1)
        model = NearestNeighbors(n_neighbors=max(1, k)).fit(normalize(features))
        others = model.kneighbors(return_distance=False)
        found = np.concatenate([np.arange(len(others))[:, None], others], axis=1)
    return world().from_main(found)


def in_pairs(neighbors, rng):
    """Return indices in which every other sample is followed by one of its neighbors.

    They are those of a random half of the samples and their neighbors, as many as X has samples.
    """
    n, k = neighbors.shape
    anchors = rng.permutation(n)[: (n + 1) // 2]
    partners = neighbors[anchors, rng.integers(1, k, size=len(anchors))]
    return np.stack([anchors, partners], axis=1).ravel()
