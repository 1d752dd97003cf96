"""Spherical k-means: centers beside a plain one, empty clusters, several clusterings."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

from methods.clustering.references import blobs
from sklearn_ssl.methods.clustering._spherical_clustering import (
    SphericalClustering,
    spherical_k_means,
)


def slow_spherical_k_means(points, centers, n_iterations):
    for _ in range(n_iterations):
        labels = [max(range(len(centers)), key=lambda c, x=x: x @ centers[c]) for x in points]
        for c in set(labels):
            mean = sum(x for x, label in zip(points, labels, strict=True) if label == c)
            centers[c] = mean / np.linalg.norm(mean)
    return centers


@pytest.mark.parametrize("n_iterations", [1, 10])
def test_spherical_k_means(n_iterations):
    points, rng = normalize(blobs(40)), np.random.default_rng(0)
    first = normalize(rng.normal(size=(9, 5)).astype("f4"))
    first[4] = first[5]  # one of them is empty, and stays where it is
    expected = slow_spherical_k_means(points, first.copy(), n_iterations)
    given = () if n_iterations == 10 else (n_iterations,)
    centers = spherical_k_means(points, first, *given)
    np.testing.assert_allclose(centers, expected, rtol=1e-4, atol=1e-6)
    assert centers.dtype == np.float32
    if n_iterations == 10:
        np.testing.assert_array_equal(centers[5], first[5])


def test_clusterings_differ_and_the_first_is_in_the_history():
    clustering, points = SphericalClustering(6, 3), normalize(blobs())
    labels = clustering.fit(points, np.random.default_rng(0))
    assert clustering.all_centers.shape == (3, 6, 5)
    found = clustering.assign_all(points)
    np.testing.assert_array_equal(found[:, 0], labels)
    np.testing.assert_array_equal(found[:, 0], (points @ clustering.centers.T).argmax(axis=1))
    np.testing.assert_array_equal(found[:, 2], (points @ clustering.all_centers[2].T).argmax(1))
    assert adjusted_rand_score(found[:, 0], found[:, 1]) < 1


def test_last_clustering_starts_from_the_centers():
    clustering, points = SphericalClustering(6, 2), normalize(blobs())
    rng = np.random.default_rng(0)
    clustering.fit(points, rng)
    before = clustering.assign_all(points)
    clustering.finish(normalize(points + 0.01), rng, unfinished=False)
    assert (clustering.assign_all(points) == before).mean() > 0.9
    clustering.fit(points, rng)  # in the place of the last one, which no epoch had
    assert len(clustering.assignments) == 2
    assert (clustering.assign_all(points) == before).mean() < 0.9


def test_clusters_start_from_different_samples():
    clustering = SphericalClustering(60, 1)
    clustering.fit(normalize(blobs(60)), np.random.default_rng(0))
    assert clustering.n_empty == [0]


def test_fewer_samples_than_clusters():
    clustering, points = SphericalClustering(8, 2), normalize(blobs(5))
    rng = np.random.default_rng(0)
    labels = clustering.fit(points, rng)
    assert clustering.n_empty[0] == 8 - len(set(labels)) >= 3
    assert clustering.all_centers.shape == (2, 8, 5)
    clustering.finish(points, rng, unfinished=False)
    labels = clustering.assign(points)
    np.testing.assert_array_equal(np.unique(labels), np.arange(len(clustering.centers)))
    np.testing.assert_array_equal(labels, clustering.assignments[-1])
    assert np.isfinite(clustering.fit(np.zeros((20, 5), "f4"), rng)).all()  # a collapsed encoder
