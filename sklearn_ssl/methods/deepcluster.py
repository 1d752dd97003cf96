"""DeepCluster: cluster the features, learn to tell the clusters apart, and begin again."""

import warnings
from dataclasses import replace
from numbers import Integral

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score, pairwise_distances_argmin
from sklearn.preprocessing import normalize
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_ssl._sklearn import Interval, StrOptions
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.engine import Epoch, Objective, full_precision
from sklearn_ssl.layers import wide
from sklearn_ssl.views import ImageViews, RowViews

FINAL_LR = 1.0  # of lr: constant after the warm-up


class DeepClusterObjective(Objective):
    """Cross entropy of a linear classifier with the clusters that k-means found."""

    def __init__(self, encoder, n_features, n_clusters, n_components):
        super().__init__(encoder)
        self.classify = nn.Linear(n_features, n_clusters)
        self.n_components = n_components
        # Of each clustering, one an epoch and one of the trained encoder: the cluster of each
        # sample, how many were empty, and the mutual information with the clustering before.
        self.assignments, self.n_empty, self.nmi, self.is_final = [], [], [], False
        self.mean = self.axes = self.centers = self.classes = None  # of the last clustering

    def forward(self, views, clusters):
        """Return the loss of a batch of views and the clusters of their samples."""
        scores = torch.cat([self.classify(self.encoder(view)) for view in views])
        with full_precision(scores.device):
            return {"loss": cross_entropy(wide(scores), clusters.repeat(len(views)))}

    def before_epoch(self, embed, rng):
        """Cluster all samples and begin a new classifier; for judging, only assign them."""
        features = embed()
        if self.training:
            labels = self.cluster(features, rng)
            nn.init.normal_(self.classify.weight, std=0.01)
            nn.init.zeros_(self.classify.bias)
        else:
            labels = self.classes[self.assign(features)]
        return Epoch(
            order=uniform_over_clusters(labels, rng),
            targets=torch.from_numpy(labels).to(self.classify.weight.device),
            renewed=tuple(self.classify.parameters()),
        )

    def after_training(self, embed, rng):
        """Cluster what the trained encoder gives, from the means of the last epoch's clusters.

        So they keep their numbers, which the classifier has learned.
        """
        self.cluster(embed(), rng, start=self.assignments[-1])

    def cluster(self, features, rng, start=None):
        """Whiten, normalise and cluster features; return the class of each sample."""
        if self.is_final:  # the epoch to come takes its place
            del self.assignments[-1], self.n_empty[-1], self.nmi[-1:]
        if self.assignments and len(self.assignments[-1]) != len(features):
            self.assignments, self.n_empty, self.nmi = [], [], []  # X is another one
        seed = int(rng.integers(2**31))
        n_components = min(self.n_components, len(features) - 1, features.shape[1])
        pca = PCA(n_components, random_state=seed).fit(features)
        variance = pca.explained_variance_
        kept = variance > 1e-6 * variance[0]  # whitening would blow up the noise of the others
        self.mean = pca.mean_
        self.axes = pca.components_[kept].T / np.sqrt(np.maximum(variance[kept], 1e-12))
        points = self.project(features)
        k = min(self.classify.out_features, len(points))
        self.classes = np.arange(k)
        init = "k-means++" if k <= 256 else "random"  # k-means++ takes minutes for thousands
        if start is not None:
            self.classes = np.unique(start)
            init = np.stack([points[start == label].mean(axis=0) for label in self.classes])
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            # Fewer distinct samples than clusters: some are empty.
            model = KMeans(len(self.classes), init=init, n_init=1, max_iter=20, random_state=seed)
            self.centers = model.fit(points).cluster_centers_
        labels = pairwise_distances_argmin(points, self.centers)
        self.n_empty.append(len(self.centers) - len(np.unique(labels)))
        if self.n_empty[-1]:
            self.centers = split_largest(points, self.centers, labels)
            labels = pairwise_distances_argmin(points, self.centers)
        self.is_final = start is not None
        if self.is_final:  # what is still empty, as samples are equal, goes
            full, labels = np.unique(labels, return_inverse=True)
            self.centers, self.classes = self.centers[full], self.classes[full]
        if self.assignments:
            self.nmi.append(normalized_mutual_info_score(self.assignments[-1], labels))
        self.assignments.append(labels.astype(np.min_scalar_type(k)))
        return self.classes[labels]

    def project(self, features):
        """Return the whitened features on the unit sphere, (n, n_components)."""
        return normalize((features - self.mean) @ self.axes)

    def assign(self, features):
        """Return the nearest center of each sample."""
        return pairwise_distances_argmin(self.project(features), self.centers)

    def get_extra_state(self):
        """Return the clustering, which goes into the state dict."""
        lists = {name: list(getattr(self, name)) for name in ("assignments", "n_empty", "nmi")}
        names = "is_final", "mean", "axes", "centers", "classes"
        return lists | {name: getattr(self, name) for name in names}

    def set_extra_state(self, state):
        """Take over a clustering."""
        vars(self).update(state)


def split_largest(points, centers, labels):
    """Return centers in which each empty cluster takes half of the largest one."""
    centers, labels = centers.copy(), labels.copy()
    sizes = np.bincount(labels, minlength=len(centers))
    signs = np.where(np.arange(points.shape[1]) % 2, -1, 1).astype(points.dtype)
    for empty in np.flatnonzero(sizes == 0):
        largest = sizes.argmax()
        members = np.flatnonzero(labels == largest)
        # Both centers move off the old one a little, in opposite directions.
        side = (points[members] - points[members].mean(axis=0)) @ signs > 0
        if side.any() and not side.all():
            labels[members[side]] = empty
            for cluster in (empty, largest):
                centers[cluster] = points[labels == cluster].mean(axis=0)
            sizes = np.bincount(labels, minlength=len(centers))
    return centers


def uniform_over_clusters(labels, rng):
    """Draw as many samples of each cluster as of the others, about len(labels) in all."""
    order = np.argsort(labels, kind="stable")
    clusters = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    share = len(labels) // len(clusters)
    # Small clusters repeat: each sample as often as the others of its cluster, or once more.
    return rng.permutation(np.concatenate([np.resize(rng.permutation(c), share) for c in clusters]))


class DeepClusterEstimator(ClusterMixin, SSLTransformer):
    """Cluster samples and learn features at once: k-means on the features gives their labels.

    Use it to find groups in samples, or as a method that asks for no pairs of views. More
    clusters than there are classes give better features: five to ten times as many.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of clusters. "auto" is a twentieth of the number of samples, at least 2
        and at most 100.

    n_components : int or "auto", default="auto"
        Number of principal components of the features that are whitened and clustered. "auto" is
        a tenth of the number of samples, at least 2 and at most 64.

    {shared_parameters}

    Attributes
    ----------
    n_clusters_ : int
        The number of clusters that was looked for.

    labels_ : ndarray of shape (n_samples,)
        Cluster of each sample, by the trained encoder. It equals ``predict(X)``.

    cluster_centers_ : ndarray of shape (n_clusters, n_components)
        Centers of the clusters, among whitened principal components on the unit sphere. They are
        fewer than ``n_clusters_`` where X has fewer distinct samples.

    assignments_ : ndarray of shape (n_iter_ + 1, n_samples)
        Cluster of each sample in the clustering at the start of each epoch, and at last
        ``labels_``. An epoch's numbers have nothing to do with those of the epoch before. Epochs
        on another number of samples are left out.

    nmi_curve_ : ndarray of shape (n_iter_,)
        Normalised mutual information of each assignment with the one before: 1 if nothing
        changed. It rises, and levels off where training has settled. The last value is higher
        than the others would be: the last clustering starts from the clusters of the last epoch,
        and the others start anew.

    n_empty_clusters_ : ndarray of shape (n_iter_ + 1,)
        Number of clusters that k-means left empty, each of which took half of the largest one.

    cluster_sizes_ : ndarray of shape (n_iter_ + 1, n_clusters_)
        Number of samples in each cluster.

    {shared_attributes}

    Notes
    -----
    TUNING

    References
    ----------
    `Caron et al. "Deep clustering for unsupervised learning of visual features", ECCV 2018
    <https://arxiv.org/abs/1807.05520>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DeepClusterEstimator
    >>> images = load_digits().images[:200]
    >>> model = DeepClusterEstimator(n_clusters=10, max_epochs=1, random_state=0)
    >>> model.fit_predict(images).shape
    (200,)
    >>> model.transform(images).shape
    (200, 256)
    """

    n_clusters: int | str = "auto"
    n_components: int | str = "auto"

    _parameter_constraints = {
        **SSLTransformer._parameter_constraints,
        "n_clusters": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    }
    default_views = {"image": ImageViews(n_views=1), "rows": RowViews(n_views=1, keep_first=False)}

    def _resolve_training(self, *args):
        # The new classifier of each epoch has to learn, in the last one as well.
        return replace(super()._resolve_training(*args), final_lr=FINAL_LR)

    def _make_objective(self, encoder, n_features, training):
        n = training.n_samples
        n_clusters, n_components = self.n_clusters, self.n_components
        if training.first_epoch:
            n_clusters = self.n_clusters_
        elif n_clusters == "auto":
            n_clusters = min(100, max(2, n // 20))
        if n_components == "auto":
            n_components = min(64, max(2, n // 10))
        if n_clusters > n:
            warnings.warn(
                f"n_clusters={n_clusters} is more than the {n} samples in X. There will be at "
                "most as many clusters as samples.",
                stacklevel=2,
            )
        return DeepClusterObjective(encoder, n_features, n_clusters, n_components)

    def _fitted(self, objective):
        assignments, k = np.stack(objective.assignments), objective.classify.out_features
        return {
            "n_clusters_": k,
            "labels_": assignments[-1].astype(np.intp),
            "cluster_centers_": objective.centers,
            "assignments_": assignments,
            "nmi_curve_": np.array(objective.nmi),
            "n_empty_clusters_": np.array(objective.n_empty),
            "cluster_sizes_": np.stack([np.bincount(row, minlength=k) for row in assignments]),
        }

    def predict(self, X):
        """Assign samples to the clusters that fit found.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the same shape.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Index of the nearest center in ``cluster_centers_``.
        """
        features = self._map(X, "_objective", lambda objective, x: objective.encoder(x))
        return self._objective.assign(features)
