"""Spherical k-means of projections, several times."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize

from sklearn_ssl.methods.clustering._history import ClusteringHistory


@dataclass
class SphericalClustering(ClusteringHistory):
    """Spherical k-means of vectors of length one, several times from other samples.

    The history and the centers are those of the first one.
    """

    n_clusterings: int
    all_centers: np.ndarray | None = None  # (n_clusterings, n_clusters, dim)

    def cluster(self, points, seed, start):
        """Set centers and classes; return the cluster of each sample and how many are empty."""
        rng, n, k = np.random.default_rng(seed), len(points), self.n_clusters
        first = self.all_centers
        if start is None:
            draws = [rng.choice(n, k, replace=n < k) for _ in range(self.n_clusterings)]
            first = points[np.stack(draws)]
        self.all_centers = np.stack([spherical_k_means(points, centers) for centers in first])
        self.centers, self.classes = self.all_centers[0], np.arange(k)
        labels = self.assign(points)
        return labels, k - len(np.unique(labels))

    def assign(self, points):
        """Return the index of the nearest center for each sample."""
        return pairwise_distances_argmin(points, self.centers)

    def assign_all(self, points):
        """Return the index of the nearest center in each clustering, (n, n_clusterings)."""
        return np.stack([pairwise_distances_argmin(points, c) for c in self.all_centers], axis=1)


def spherical_k_means(points, centers, n_iterations=10):
    """Return centers of length one after k-means by cosine similarity.

    A center to which no sample is assigned stays where it is.
    """
    n, k = len(points), len(centers)
    for _ in range(n_iterations):
        labels = pairwise_distances_argmin(points, centers)
        members = csr_array((np.ones(n, points.dtype), (labels, np.arange(n))), shape=(k, n))
        is_empty = np.bincount(labels, minlength=k) == 0
        centers = np.where(is_empty[:, None], centers, normalize(members @ points))
    return centers
