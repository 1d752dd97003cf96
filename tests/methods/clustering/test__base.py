"""Shared parts of clustering methods: labels, predict, and the history of assignments."""

import pickle

import numpy as np
import pytest
from common import shrunk
from sklearn.metrics import normalized_mutual_info_score
from torch import nn

from sklearn_ssl import DeepClusterEstimator
from sklearn_ssl.methods.clustering._base import ClusteringObjective
from sklearn_ssl.methods.clustering._feature_clustering import FeatureClustering


def test_state_is_not_shared():
    """A fit that fails does not change the clusterings of the previous one."""
    rng = np.random.default_rng(0)
    before, after = (
        ClusteringObjective(nn.Linear(4, 5), FeatureClustering(3, 4)) for _ in range(2)
    )

    def blobs():
        return rng.normal(size=(60, 5)).astype("f4")

    before.plan_epoch(blobs, rng)
    before.after_training(blobs, rng, unfinished=False)
    after.load_state_dict(before.state_dict())
    after.plan_epoch(blobs, rng)
    after.plan_epoch(blobs, rng)
    assert (len(before.clustering.assignments), len(after.clustering.assignments)) == (2, 3)


@pytest.mark.parametrize("kind", ["image", "table"])
@pytest.mark.slow
def test_labels_equal_predict(kind, images):
    X = images if kind == "image" else images.reshape(200, -1)
    model = shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=3).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.predict(X[50:60]), model.labels_[50:60])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.labels_)
    np.testing.assert_array_equal(
        shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=3).fit_predict(X), model.labels_
    )
    assert model.cluster_centers_.shape == (7, 7)
    points = model.objective_.clustering.project(model._map(X, "encoder_"))
    nearest = np.linalg.norm(points[:, None] - model.cluster_centers_, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, model.labels_)


def test_predict_uses_the_last_layer_for_every_layer(images):
    model = shrunk(DeepClusterEstimator, n_clusters=7, layer="stage1").fit(images)
    assert model.transform(images).shape == (200, 64)
    np.testing.assert_array_equal(model.predict(images), model.labels_)


def test_curves(images):
    model = shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=4).fit(images)
    assert model.assignments_.shape == (5, 200)
    assert model.assignments_.dtype == np.uint8
    np.testing.assert_array_equal(model.assignments_[-1], model.labels_)
    expected = [
        normalized_mutual_info_score(model.assignments_[t], model.assignments_[t + 1])
        for t in range(4)
    ]
    np.testing.assert_allclose(model.nmi_curve_, expected)
    assert (model.nmi_curve_[:-1] < 1).all()  # another seed each time
    chance = normalized_mutual_info_score(model.labels_, np.random.permutation(model.labels_))
    assert (model.nmi_curve_ > chance + 0.1).all()  # wired to the samples
    assert model.n_empty_clusters_.shape == (5,)
    np.testing.assert_array_equal(
        model.cluster_sizes_, [np.bincount(row, minlength=7) for row in model.assignments_]
    )
    assert (model.cluster_sizes_.sum(axis=1) == 200).all()


def test_partial_fit(images):
    """An additional epoch replaces the final assignment, on which no epoch was trained."""
    model = shrunk(DeepClusterEstimator, n_clusters=7)
    for n_epochs in (1, 2, 3):
        model.partial_fit(images)
        assert model.assignments_.shape == (n_epochs + 1, 200)
        assert len(model.nmi_curve_) == n_epochs
        np.testing.assert_array_equal(model.predict(images), model.labels_)
    first = model.labels_.copy()
    model.partial_fit(images[:150])  # another X: its history begins anew
    assert model.assignments_.shape == (2, 150)
    assert model.n_clusters_ == 7
    assert len(first) == 200


def test_of_equal_samples_has_labels_without_gaps(images):
    X = images[:5].repeat(6, axis=0)
    model = shrunk(DeepClusterEstimator, n_clusters=8).fit(X)
    assert model.n_empty_clusters_[0] == 3
    np.testing.assert_array_equal(np.unique(model.labels_), np.arange(len(model.cluster_centers_)))
    np.testing.assert_array_equal(model.predict(X), model.labels_)
