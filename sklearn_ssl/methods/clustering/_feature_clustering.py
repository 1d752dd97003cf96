"""k-means clustering of whitened PCA features."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize

from sklearn_ssl._runtime.decompositions import fit_pca
from sklearn_ssl.methods.clustering._history import ClusteringHistory


@dataclass
class FeatureClustering(ClusteringHistory):
    """k-means on the unit sphere of whitened principal components of features.

    Mean, axes and centers are those of the last clustering.
    """

    n_components: int
    mean: np.ndarray | None = None  # (n_features,)
    axes: np.ndarray | None = None  # whitening, (n_features, n_components)

    def cluster(self, features, seed, start):
        """Set centers and classes; return the cluster of each sample and how many were empty."""
        self._fit_whitening(features, seed)
        points = self.project(features)
        self.classes = np.arange(min(self.n_clusters, len(points)))
        # With a thousand clusters, k-means++ takes ten times as long as all iterations.
        init = "k-means++" if len(self.classes) <= 256 else "random"
        if start is not None:
            self.classes = np.unique(start).astype(np.intp)
            init = np.stack([points[start == label].mean(axis=0) for label in self.classes])
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            # Fewer distinct samples than clusters: empty clusters are repaired below.
            model = KMeans(len(self.classes), init=init, n_init=1, max_iter=20, random_state=seed)
            self.centers = model.fit(points).cluster_centers_
        labels = pairwise_distances_argmin(points, self.centers)
        n_empty = len(self.centers) - len(np.unique(labels))
        if n_empty:
            self.centers = split_largest(points, self.centers, labels)
            labels = pairwise_distances_argmin(points, self.centers)
        return labels, n_empty

    def _fit_whitening(self, features, seed):
        self.mean = features.mean(axis=0)
        n_components = min(self.n_components, len(features) - 1, features.shape[1])
        with np.errstate(invalid="ignore"):  # if all features are equal
            pca = fit_pca(features - self.mean, n_components, seed)
        variance = pca.explained_variance_
        large = variance >= 1e-6 * variance[0]  # whitening would amplify the noise of the others
        self.axes = pca.components_[large].T / np.sqrt(np.maximum(variance[large], 1e-12))

    def project(self, features):
        """Return the whitened features on the unit sphere, (n, n_components)."""
        return normalize((features - self.mean) @ self.axes)

    def assign(self, features):
        """Return the index of the nearest center for each sample."""
        return pairwise_distances_argmin(self.project(features), self.centers)


def split_largest(points, centers, labels):
    """Return centers in which each empty cluster takes half of the largest splittable cluster.

    A cluster of equal samples cannot be split.
    """
    centers, labels = centers.copy(), labels.copy()
    sizes = np.bincount(labels, minlength=len(centers))
    signs = np.where(np.arange(points.shape[1]) % 2, -1, 1).astype(points.dtype)
    for empty in np.flatnonzero(sizes == 0):
        for largest in np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes > 1)]:
            members = np.flatnonzero(labels == largest)
            # Both centers move a little off the old one, in opposite directions.
            side = (points[members] - points[members].mean(axis=0)) @ signs > 0
            if side.any() and not side.all():
                labels[members[side]] = empty
                for cluster in (empty, largest):
                    centers[cluster] = points[labels == cluster].mean(axis=0)
                sizes = np.bincount(labels, minlength=len(centers))
                break
    return centers


def uniform_over_clusters(labels, rng):
    """Return indices of samples, equally many per cluster, about len(labels) in total.

    Samples of small clusters are repeated, each equally often up to one.
    """
    order = np.argsort(labels, kind="stable")
    clusters = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    share = len(labels) // len(clusters)
    return rng.permutation(np.concatenate([np.resize(rng.permutation(c), share) for c in clusters]))
