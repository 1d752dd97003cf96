"""k-means clustering of whitened PCA features, with the history of its assignments."""

import copy
import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score, pairwise_distances_argmin
from sklearn.preprocessing import normalize

from sklearn_ssl._runtime.decompositions import fit_pca
from sklearn_ssl._runtime.world import world


@dataclass
class FeatureClustering:
    """k-means on the unit sphere of whitened principal components of features.

    There is one clustering per epoch, and a final one of the trained encoder. The lists hold one
    entry per clustering; mean, axes and centers are those of the last one.
    """

    n_clusters: int
    n_components: int
    assignments: list = field(default_factory=list)  # cluster of each sample
    n_empty: list = field(default_factory=list)  # clusters that k-means left empty
    nmi: list = field(default_factory=list)  # with the previous clustering
    is_final: bool = False  # whether the last clustering belongs to no epoch
    mean: np.ndarray | None = None  # (n_features,)
    axes: np.ndarray | None = None  # whitening, (n_features, n_components)
    centers: np.ndarray | None = None  # (n_clusters, n_components)
    classes: np.ndarray | None = None  # training label of each center

    def fit(self, features, rng, start=None):
        """Cluster features, (n, n_features), and return the cluster of each sample.

        ``start`` is an earlier assignment, whose cluster means initialize k-means. Of several
        processes one computes, as sums of another order would give other clusters.
        """
        seed = int(rng.integers(2**31))
        if world().is_main:
            self._fit(features, seed, start)
        vars(self).update(world().from_main(vars(self)))
        return self.assignments[-1].astype(np.intp)

    def _fit(self, features, seed, start):
        if self.is_final:  # training continues: the next epoch replaces it
            self.forget_last()
            self.is_final = False
        if self.assignments and len(self.assignments[-1]) != len(features):
            self.assignments, self.n_empty, self.nmi = [], [], []  # X has changed
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
        self.n_empty.append(n_empty)
        if self.assignments:
            self.nmi.append(normalized_mutual_info_score(self.assignments[-1], labels))
        self.assignments.append(labels.astype(np.min_scalar_type(len(self.classes))))

    def _fit_whitening(self, features, seed):
        self.mean = features.mean(axis=0)
        n_components = min(self.n_components, len(features) - 1, features.shape[1])
        with np.errstate(invalid="ignore"):  # if all features are equal
            pca = fit_pca(features - self.mean, n_components, seed)
        variance = pca.explained_variance_
        large = variance >= 1e-6 * variance[0]  # whitening would amplify the noise of the others
        self.axes = pca.components_[large].T / np.sqrt(np.maximum(variance[large], 1e-12))

    def finish(self, features, rng, unfinished):
        """Cluster the features of the trained encoder, starting from the last epoch's clusters.

        The clusters keep the labels that a classifier has learned. ``unfinished`` says that the
        last epoch was interrupted, so that its clustering is removed from the history.
        """
        start = self.assignments[-1] if self.assignments else None
        if unfinished:
            self.forget_last()
        self.fit(features, rng, start)
        self.is_final = True
        # Drop clusters that are still empty, because samples are equal.
        used, labels = np.unique(self.assignments[-1], return_inverse=True)
        self.centers, self.classes = self.centers[used], self.classes[used]
        self.assignments[-1] = labels.astype(self.assignments[-1].dtype)

    def forget_last(self):
        """Remove the last clustering from the history."""
        del self.assignments[-1], self.n_empty[-1], self.nmi[-1:]

    def project(self, features):
        """Return the whitened features on the unit sphere, (n, n_components)."""
        return normalize((features - self.mean) @ self.axes)

    def assign(self, features):
        """Return the index of the nearest center for each sample."""
        return pairwise_distances_argmin(self.project(features), self.centers)

    def state(self):
        """Return a copy of the history and of the last clustering, without the settings."""
        settings = {"n_clusters", "n_components"}
        return {k: copy.copy(v) for k, v in vars(self).items() if k not in settings}


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
