"""Clustering of features: whitening, empty clusters, history, and uniform sampling."""

import numpy as np
from sklearn.cluster import KMeans

from methods.clustering.references import blobs
from sklearn_ssl.methods.clustering._feature_clustering import (
    FeatureClustering,
    split_largest,
    uniform_over_clusters,
)


def test_uniform_over_clusters():
    labels = np.repeat([3, 0, 7], [50, 2, 48])
    order = uniform_over_clusters(labels, np.random.default_rng(0))
    values, counts = np.unique(labels[order], return_counts=True)
    np.testing.assert_array_equal(values, [0, 3, 7])
    np.testing.assert_array_equal(counts, [33, 33, 33])
    times = np.bincount(order, minlength=100)
    assert set(times[:50]) == {0, 1}
    assert set(times[50:52]) == {16, 17}
    assert (np.diff(labels[order]) != 0).sum() > 40  # shuffled


def test_split_largest():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(40, 4)), rng.normal(size=(5, 4)) + 20]).astype("f4")
    labels = np.repeat([0, 2], [40, 5])
    centers = np.stack([points[:40].mean(0), np.full(4, 99.0, "f4"), points[40:].mean(0)])
    before = centers.copy()
    split = split_largest(points, centers, labels)
    np.testing.assert_array_equal(centers, before)
    np.testing.assert_array_equal(split[2], centers[2])
    nearest = np.linalg.norm(points[:, None] - split, axis=2).argmin(axis=1)
    assert min(np.bincount(nearest, minlength=3)) >= 5
    # The largest cluster has only equal samples: the next one is split.
    equal = np.concatenate([np.ones((60, 4), "f4"), points[:40]])
    labels = np.repeat([0, 2], [60, 40])
    centers = np.stack([np.ones(4), np.full(4, 99.0), points[:40].mean(0)]).astype("f4")
    split = split_largest(equal, centers, labels)
    np.testing.assert_array_equal(split[0], np.ones(4))
    assert np.abs(split[1:]).max() < 5
    same = np.ones((4, 3), "f4")  # equal samples cannot be split
    np.testing.assert_array_equal(
        split_largest(same, np.ones((2, 3), "f4"), np.zeros(4, int)), np.ones((2, 3))
    )


def test_components_of_tiny_variance_are_dropped():
    """Whitening would scale them up to the size of the others."""
    clustering, rng = FeatureClustering(3, 4), np.random.default_rng(0)
    features = np.hstack([blobs()[:, :2], 1e-6 * blobs()[:, :3]])
    clustering.fit(features, rng)
    assert clustering.axes.shape == (5, 2)


def test_fills_clusters_that_k_means_left_empty(monkeypatch):
    def fit(self, points):
        self.cluster_centers_ = np.stack([points[0], np.full_like(points[0], 99.0), points[1]])
        return self

    monkeypatch.setattr(KMeans, "fit", fit)
    clustering = FeatureClustering(3, 4)
    labels = clustering.fit(blobs(), np.random.default_rng(0))
    assert clustering.n_empty == [1]
    assert min(np.bincount(labels, minlength=3)) > 0


def test_final_labels_have_no_gaps():
    """Also if samples of three clusters have become equal."""
    clustering, rng = FeatureClustering(3, 4), np.random.default_rng(0)
    clustering.fit(blobs(), rng)
    clustering.finish(np.ones((60, 5), "f4"), rng, unfinished=False)
    assert len(clustering.centers) == len(clustering.classes) == 1
    assert set(clustering.assignments[-1]) == {0}


def test_equal_features():
    """A collapsed encoder gives nothing to cluster, and no error."""
    clustering = FeatureClustering(3, 4)
    features = np.ones((20, 5), "f4")
    labels = clustering.fit(features, np.random.default_rng(0))
    assert len(set(labels)) == 1
    assert np.isfinite(clustering.centers).all()


def test_forgets_an_epoch_that_was_stopped():
    clustering, features = FeatureClustering(3, 4), blobs()
    rng = np.random.default_rng(0)
    for _ in range(2):
        last = clustering.fit(features, rng)
    clustering.finish(features, rng, unfinished=True)
    histories = clustering.assignments, clustering.n_empty, clustering.nmi
    assert [len(history) for history in histories] == [2, 2, 1]
    np.testing.assert_array_equal(clustering.assignments[-1], last)  # where it starts from
    untrained = FeatureClustering(3, 4)
    untrained.finish(features, rng, unfinished=False)  # stopped before all epochs
    assert len(untrained.assignments) == 1
