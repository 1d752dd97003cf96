"""History of the clusterings of a training: assignments, empty clusters, and their agreement."""

import copy
from dataclasses import KW_ONLY, MISSING, dataclass, field, fields

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from sklearn_ssl._runtime.world import world


@dataclass
class ClusteringHistory:
    """Base of clusterings that are computed again for each epoch.

    There is one clustering per epoch, and a final one of the trained encoder. The lists hold one
    entry per clustering; the centers are those of the last one. A class defines ``cluster`` and
    ``assign``; its fields without defaults are settings.
    """

    n_clusters: int
    _: KW_ONLY
    assignments: list = field(default_factory=list)  # cluster of each sample
    n_empty: list = field(default_factory=list)  # clusters that k-means left empty
    nmi: list = field(default_factory=list)  # with the previous clustering
    is_final: bool = False  # whether the last clustering belongs to no epoch
    centers: np.ndarray | None = None  # (n_clusters, dim)
    classes: np.ndarray | None = None  # training label of each center

    def cluster(self, features, seed, start):
        """Set centers and classes; return the cluster of each sample and how many were empty."""
        raise NotImplementedError

    def assign(self, features):
        """Return the index of the nearest center for each sample."""
        raise NotImplementedError

    def fit(self, features, rng, start=None):
        """Cluster features, (n, n_features), and return the cluster of each sample.

        ``start`` is an earlier assignment, from whose clusters k-means starts. Of several processes
        one computes, as sums of another order would give other clusters.
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
        labels, n_empty = self.cluster(features, seed, start)
        self.n_empty.append(n_empty)
        if self.assignments:
            self.nmi.append(normalized_mutual_info_score(self.assignments[-1], labels))
        self.assignments.append(labels.astype(np.min_scalar_type(len(self.classes))))

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

    def state(self):
        """Return a copy of the history and of the last clustering, without the settings."""
        states = [f for f in fields(self) if (f.default, f.default_factory) != (MISSING, MISSING)]
        return {f.name: copy.copy(getattr(self, f.name)) for f in states}
