"""DeepCluster: cluster the features, learn to tell the clusters apart, and begin again."""

import math
import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score, pairwise_distances_argmin
from sklearn.preprocessing import normalize
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_ssl._runtime.decompositions import fit_pca
from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.parameters import Auto, Count
from sklearn_ssl.training.objective import Epoch, Objective, wide
from sklearn_ssl.views import ImageViews, RowViews


class DeepClusterObjective(Objective):
    """Cross entropy of a linear classifier with the clusters that k-means found."""

    near_chance = 0.98  # the classifier of each epoch begins with a guess

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
        features = torch.cat([self.encoder(view) for view in views])
        scores = self.classify(features)
        with full_precision(scores.device):
            loss = cross_entropy(wide(scores), clusters.repeat(len(views)))
        return {"loss": loss, "embedding": features[: len(clusters)]}

    def before_epoch(self, embed, rng):
        """Cluster all samples and begin a new classifier; for judging, only assign them."""
        device = self.classify.weight.device
        if not self.training:
            labels = self.classes[self.assign(embed())]
            return Epoch(targets=torch.from_numpy(labels).to(device))
        labels = self.cluster(embed(), rng)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)
        return Epoch(
            order=uniform_over_clusters(labels, rng),
            targets=torch.from_numpy(labels).to(device),
            renewed=tuple(self.classify.parameters()),
            figures={
                "empty_clusters": self.n_empty[-1],
                "largest_cluster": np.bincount(labels).max().item() / len(labels),
            },
        )

    def chance_loss(self, n):
        """Return the loss of one to whom all clusters are alike."""
        return math.log(len(self.centers))

    def symptoms(self, row):
        """Tell of clusters that are empty, and of one that has most of the samples."""
        told, k, share = {}, self.classify.out_features, row["largest_cluster"]
        if row["empty_clusters"] > 0.1 * k:
            told["empty clusters"] = (
                f"k-means left {row['empty_clusters']} of {k} clusters empty in epoch "
                f"{row['epoch']}: the features do not tell so many groups apart. Lower n_clusters, "
                "or lr."
            )
        if share > 0.5 and k > 3:
            told["dominating cluster"] = (
                f"One of {k} clusters has {share:.0%} of the samples in epoch {row['epoch']}. "
                "Lower lr, raise n_components, or look for samples that are all alike."
            )
        return told

    def after_training(self, embed, rng, unfinished):
        """Cluster what the trained encoder gives, from the means of the last epoch's clusters.

        So they keep their numbers, which the classifier has learned.
        """
        start = self.assignments[-1] if self.assignments else None
        if unfinished:
            self.forget_last()
        self.cluster(embed(), rng, start)
        self.is_final = True
        # What is still empty, as samples are equal, goes.
        full, labels = np.unique(self.assignments[-1], return_inverse=True)
        self.centers, self.classes = self.centers[full], self.classes[full]
        self.assignments[-1] = labels.astype(self.assignments[-1].dtype)

    def cluster(self, features, rng, start=None):
        """Whiten, normalise and cluster features, from an earlier clustering if one is given."""
        if self.is_final:  # the epoch to come takes its place
            self.forget_last()
            self.is_final = False
        if self.assignments and len(self.assignments[-1]) != len(features):
            self.assignments, self.n_empty, self.nmi = [], [], []  # X is another one
        seed = int(rng.integers(2**31))
        self.mean = features.mean(axis=0)
        n_components = min(self.n_components, len(features) - 1, features.shape[1])
        with np.errstate(invalid="ignore"):  # of features that are all equal
            pca = fit_pca(features - self.mean, n_components, seed)
        variance = pca.explained_variance_
        large = variance >= 1e-6 * variance[0]  # whitening would blow up the noise of the others
        self.axes = pca.components_[large].T / np.sqrt(np.maximum(variance[large], 1e-12))
        points = self.project(features)
        self.classes = np.arange(min(self.classify.out_features, len(points)))
        # k-means++ takes ten times as long as all iterations for a thousand clusters.
        init = "k-means++" if len(self.classes) <= 256 else "random"
        if start is not None:
            self.classes = np.unique(start).astype(np.intp)
            init = np.stack([points[start == label].mean(axis=0) for label in self.classes])
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            # Fewer distinct samples than clusters: some are empty.
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
        return labels

    def forget_last(self):
        """Forget the assignment of a clustering that counts as no epoch's any more."""
        del self.assignments[-1], self.n_empty[-1], self.nmi[-1:]

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
    """Return centers in which each empty cluster takes half of the largest one that has halves."""
    centers, labels = centers.copy(), labels.copy()
    sizes = np.bincount(labels, minlength=len(centers))
    signs = np.where(np.arange(points.shape[1]) % 2, -1, 1).astype(points.dtype)
    for empty in np.flatnonzero(sizes == 0):
        for largest in np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes > 1)]:
            members = np.flatnonzero(labels == largest)
            # Both centers move off the old one a little, in opposite directions.
            side = (points[members] - points[members].mean(axis=0)) @ signs > 0
            if side.any() and not side.all():
                labels[members[side]] = empty
                for cluster in (empty, largest):
                    centers[cluster] = points[labels == cluster].mean(axis=0)
                sizes = np.bincount(labels, minlength=len(centers))
                break
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

    Use it to find groups in samples, or for features where one view of a sample is all there is.
    The paper found that features are better with more clusters than there are classes.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of clusters. "auto" is a twentieth of the number of samples, at least 2
        and at most 100.

    n_components : int or "auto", default="auto"
        Number of principal components of the features that are whitened and clustered. "auto" is
        the number of clusters, at most 64 and a tenth of the number of samples, at least 2. Many
        more than clusters are noise: of scikit-learn's digits, 10 clusters agreed much less with
        64 components than with 10 (``benchmarks/README.md``).

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
        ``labels_``. An epoch's numbers have nothing to do with those of the epoch before. After
        partial_fit, epochs on another number of samples are left out; of other samples of the
        same number, rows cannot be compared.

    nmi_curve_ : ndarray of shape (n_iter_,)
        Normalised mutual information of each assignment with the one before: 1 if nothing
        changed. In the paper it rises and then levels off. The last value is higher
        than the others would be: the last clustering starts from the clusters of the last epoch,
        and the others start anew.

    n_empty_clusters_ : ndarray of shape (n_iter_ + 1,)
        Number of clusters that k-means left empty, each of which took half of the largest one
        whose samples are not all equal.

    cluster_sizes_ : ndarray of shape (n_iter_ + 1, n_clusters_)
        Number of samples in each cluster.

    {shared_attributes}

    Notes
    -----
    k-means is scikit-learn's, with at most 20 iterations, from k-means++ up to 256 clusters and
    from random samples above. The learning rate stays where the warm-up took it, since every
    epoch has a new classifier to train. As the paper's networks see edges instead of colours, its
    views change no colours; here they do. An epoch draws about as many samples as X has, the same
    number from each cluster. On processors with more than two threads, scikit-learn's k-means adds
    up numbers in the order in which threads finish, so that a sample between two clusters may
    change sides from fit to fit.

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

    n_clusters: Auto | Count = "auto"
    n_components: Auto | Count = "auto"

    default_views = {"image": ImageViews(n_views=1), "rows": RowViews(n_views=1, keep_first=False)}

    def _resolve_training(self, *args):
        # The new classifier of each epoch has to learn, in the last one as well.
        return replace(super()._resolve_training(*args), final_lr=1.0)

    def _make_objective(self, encoder, n_features, training):
        n, n_clusters, n_components = training.n_samples, self.n_clusters, self.n_components
        for name, limit in {"n_clusters": n, "n_components": min(n - 1, n_features)}.items():
            if getattr(self, name) != "auto" and getattr(self, name) > limit:
                tell(
                    f"{name}={getattr(self, name)} is more than {limit}, the most that {n} samples "
                    f"with {n_features} features can have. There will be {limit}."
                )
        if n_clusters == "auto":  # as many as before where training goes on
            n_clusters = self.n_clusters_ if training.first_epoch else min(100, max(2, n // 20))
        if n_components == "auto":
            n_components = max(2, min(64, n // 10, n_clusters))
        return DeepClusterObjective(encoder, n_features, n_clusters, n_components)

    def _fitted(self, objective, source):
        assignments, k = np.stack(objective.assignments), objective.classify.out_features
        return {
            "n_clusters_": k,
            "labels_": source.aligned(assignments[-1].astype(np.intp)),
            "cluster_centers_": objective.centers,
            "assignments_": source.aligned(assignments.T).T,
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

        def assign(features):  # none where no image could be read
            return self._objective.assign(features) if len(features) else np.empty(0, np.intp)

        return self._map(X, "_objective.encoder", finish=assign)

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: a clusterer that also is a transformer to float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
