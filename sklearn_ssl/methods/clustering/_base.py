"""Shared by methods that train on clusters of their own features."""

import math

import numpy as np
import torch
from sklearn.base import ClusterMixin
from torch.nn.functional import normalize

from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.parameters import Auto, Count
from sklearn_ssl.training.objective import Epoch, Objective


class ClusteringObjective(Objective):
    """Objective whose targets are the clusters of its features, computed again for each epoch.

    ``clustering`` is a :class:`ClusteringHistory`.
    """

    if_one_dominates = "Decrease lr"

    def __init__(self, encoder, clustering):
        super().__init__(encoder)
        self.clustering = clustering

    def plan_epoch(self, embed, rng):
        """Cluster all samples."""
        labels = self.clustering.fit(self.points(embed()), rng)
        figures = {
            "empty_clusters": self.clustering.n_empty[-1],
            "largest_cluster": np.bincount(labels).max().item() / len(labels),
        }
        return Epoch(targets=self._on_device(labels), figures=figures)

    def points(self, features):
        """Return what is clustered of an array of features: the features."""
        return features

    def assign(self, features):
        """Return the cluster of each sample of an array of features."""
        return self.clustering.assign(self.points(features))

    def scoring_targets(self, embed):
        """Assign samples to the existing clusters."""
        return self._on_device(self.clustering.classes[self.assign(embed())])

    def _on_device(self, labels):
        return torch.from_numpy(labels).to(next(self.parameters()).device)

    def after_training(self, embed, rng, unfinished):
        """Cluster all samples with the trained encoder."""
        self.clustering.finish(self.points(embed()), rng, unfinished)

    def chance_loss(self, n):
        """Return the cross entropy of equal probabilities for all clusters."""
        return math.log(len(self.clustering.centers))

    def diagnose(self, row):
        """Report many empty clusters, and a cluster with more than half of the samples."""
        found, k, share = {}, self.clustering.n_clusters, row["largest_cluster"]
        if row["empty_clusters"] > 0.1 * k:
            found["empty clusters"] = (
                f"k-means left {row['empty_clusters']} of {k} clusters empty in epoch "
                f"{row['epoch']}: the features do not form that many groups. Decrease n_clusters "
                "or lr."
            )
        if share > 0.5 and k > 3:
            found["dominating cluster"] = (
                f"One of {k} clusters contains {share:.0%} of the samples in epoch {row['epoch']}. "
                f"{self.if_one_dominates}, or check whether most samples are equal."
            )
        return found

    def get_extra_state(self):
        """Return the clustering, which becomes part of the state dict."""
        return self.clustering.state()

    def set_extra_state(self, state):
        """Restore the clustering."""
        vars(self.clustering).update(state)


class ClusterTransformer(ClusterMixin, SSLTransformer):
    """Base of the methods that are clusterers as well."""

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: a clusterer that is also a transformer to float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class ClusterEstimator(ClusterTransformer):
    """Base of the methods whose objective has a ``clustering``.

    Attributes
    ----------
    n_clusters_ : int
        Requested number of clusters, with "auto" resolved.

    labels_ : ndarray of shape (n_samples,)
        Cluster of each sample, from the trained encoder. Equal to ``predict(X)``; -1 for images
        that could not be read.

    cluster_centers_ : ndarray of shape (n_clusters, dim)
        Cluster centers in the space that is clustered, whose vectors have length one. There are
        fewer than ``n_clusters_`` if X has fewer distinct samples.

    assignments_ : ndarray of shape (n_iter_ + 1, n_samples)
        Cluster of each sample at the start of each epoch, followed by ``labels_``. Cluster indices
        of different epochs are unrelated. After ``partial_fit`` on another number of samples, only
        the epochs on the latest X are included.

    nmi_curve_ : ndarray of shape (n_iter_,)
        Normalized mutual information between consecutive assignments, 1 if nothing changed. The
        last value is higher than the others, because the final clustering is initialized with the
        clusters of the last epoch and the others are initialized at random.

    n_empty_clusters_ : ndarray of shape (n_iter_ + 1,)
        Number of clusters that k-means left empty.

    cluster_sizes_ : ndarray of shape (n_iter_ + 1, n_clusters_)
        Number of samples in each cluster.
    """

    doc_name = "clustering"

    n_clusters: Auto | Count = "auto"

    def _resolve_n_clusters(self, training):
        if self.n_clusters != "auto":
            return self.n_clusters
        if training.first_epoch:  # training continues
            return self.n_clusters_
        return min(100, max(2, training.n_samples // 20))

    def _warn_above(self, training, n_features, **limits):
        """Warn if parameters exceed the largest values that the samples allow."""
        for name, limit in limits.items():
            value = getattr(self, name)
            if value != "auto" and value > limit:
                tell(
                    f"{name}={value} is more than {limit}, the most that {training.n_samples} "
                    f"samples with {n_features} features allow. {limit} will be used."
                )

    def _fitted(self, objective, source):
        clustering, k = objective.clustering, objective.clustering.n_clusters
        assignments = np.stack(clustering.assignments)
        return {
            "n_clusters_": k,
            "labels_": source.aligned(assignments[-1].astype(np.intp)),
            "cluster_centers_": clustering.centers,
            "assignments_": source.aligned(assignments.T).T,
            "nmi_curve_": np.array(clustering.nmi),
            "n_empty_clusters_": np.array(clustering.n_empty),
            "cluster_sizes_": np.stack([np.bincount(row, minlength=k) for row in assignments]),
        }

    def predict(self, X):
        """Assign samples to the clusters found by fit.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the same shape.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Index of the nearest center in ``cluster_centers_``, -1 for images that could not be
            read.
        """

        def assign(features):  # empty if no image could be read
            if not len(features):
                return np.empty(0, np.intp)
            return self.objective_.assign(features)

        return self._map(X, "objective_.encoder", finish=assign)


@torch.no_grad()
def unit_projections(projector, features):
    """Return the projections of an array of features, of length one."""
    projector.eval()  # training sets it back
    z = projector(torch.from_numpy(features).to(next(projector.parameters())))
    return normalize(z.float()).cpu().numpy()


def number_of_prototypes(value, training, fitted):
    """Return a number of prototypes, where "auto" is that of ``fitted`` if training continues."""
    if value != "auto":
        return value
    return len(fitted) if training.first_epoch else min(500, max(10, training.n_samples // 20))


class AssignmentMixin:
    """Mixin of the methods whose objective assigns samples to clusters by ``assigned``."""

    def predict(self, X):
        """Assign samples to clusters.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the same shape.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Index of the cluster of each sample, -1 for images that could not be read.
        """
        return self._map(X, "objective_", lambda objective, samples: objective.assigned(samples))
