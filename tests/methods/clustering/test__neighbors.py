"""Nearest neighbors of all samples, and the order of an epoch of pairs."""

import numpy as np

from methods.clustering.references import blobs
from sklearn_ssl.methods.clustering._neighbors import in_pairs, nearest_neighbors


def test_nearest_neighbors_are_others_of_the_highest_similarity():
    features = blobs()
    features[7] *= 5  # lengths do not matter
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarities = unit @ unit.T
    np.fill_diagonal(similarities, -np.inf)
    expected = np.argsort(-similarities, axis=1)[:, :4]
    found = nearest_neighbors(features, 4)
    np.testing.assert_array_equal(found[:, 0], np.arange(60))
    np.testing.assert_array_equal(found[:, 1:], expected)
    assert nearest_neighbors(features[:3], 4).shape == (3, 3)
    twice = np.concatenate([features, features])
    assert (nearest_neighbors(twice, 1)[:, 1] == (np.arange(120) + 60) % 120).all()


def test_samples_are_followed_by_a_neighbor():
    neighbors = nearest_neighbors(blobs(61), 3)
    order = in_pairs(neighbors, np.random.default_rng(0))
    anchors, partners = order.reshape(-1, 2).T
    assert len(order) == 62
    assert len(set(anchors)) == 31
    places = [list(neighbors[a]).index(p) for a, p in zip(anchors, partners, strict=True)]
    assert set(places) == {1, 2, 3}
