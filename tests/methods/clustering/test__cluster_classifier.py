"""Classifier of clusters: it starts from k-means, once."""

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

from methods.clustering.references import blobs
from sklearn_ssl.methods.clustering._cluster_classifier import ClusterClassifier


def test_starts_from_clusters():
    torch.manual_seed(0)
    classifier, features, rng = ClusterClassifier(5, 3), blobs(), np.random.default_rng(0)
    assert {id(p) for p in classifier.start(features, rng)} == {
        id(p) for p in classifier.parameters()
    }
    found = classifier.probabilities(features)
    assert found.shape == (60, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert adjusted_rand_score(np.arange(60) % 3, found.argmax(axis=1)) == 1
    np.testing.assert_allclose(classifier.probabilities(3 * features), found, rtol=1e-4)

    # A logit is -5 times the squared distance to a center, relative to the mean of those within.
    points = features / np.linalg.norm(features, axis=1, keepdims=True)
    labels = found.argmax(axis=1)
    centers = np.stack([points[labels == c].mean(axis=0) for c in range(3)])
    distances = ((points[:, None] - centers) ** 2).sum(axis=2)
    logits = -5 * distances / distances.min(axis=1).mean()
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, shares, rtol=0.05, atol=1e-4)

    weight = classifier.weight.detach().clone()
    assert classifier.start(features, rng) == ()
    assert torch.equal(classifier.weight, weight)
    loaded = ClusterClassifier(5, 3)
    loaded.load_state_dict(classifier.state_dict())
    assert loaded.start(features, rng) == ()


def test_of_few_or_equal_samples_is_finite():
    for features in (blobs(4), np.ones((20, 5), "f4"), np.zeros((20, 5), "f4")):
        classifier = ClusterClassifier(5, 6)
        classifier.start(features, np.random.default_rng(0))
        assert np.isfinite(classifier.probabilities(features)).all()


def test_logits_stay_in_full_precision():
    classifier, features = ClusterClassifier(5, 3), torch.from_numpy(blobs())
    assert classifier(features.bfloat16()).dtype == torch.float32
