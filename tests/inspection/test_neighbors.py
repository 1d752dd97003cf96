"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import matplotlib
import numpy as np

from inspection.helpers import shown
from sklearn_ssl import (
    PatchKMeansTransformer,
)
from sklearn_ssl.inspection import (
    NeighborsDisplay,
)


def test_neighbors_are_the_nearest_and_compared_by_labels(data):
    X, y = data
    embedding = X.reshape(100, -1)
    asking = [3, 50, 99]
    display = NeighborsDisplay.from_embeddings(embedding, X, y, queries=asking, n_neighbors=4)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    for i, sample in enumerate(asking):
        order = np.argsort(-cosine[sample])[:4]
        np.testing.assert_allclose(display.similarity[i], cosine[sample][order], atol=1e-5)
        assert display.right[i].tolist() == (y[order] == y[sample]).tolist()
        expected = X[[sample, *order]] / X.max()
        np.testing.assert_allclose(display.images[i, ..., 0], expected, atol=1e-5)
        for axis, picture in zip(display.axes_[i], expected, strict=True):
            np.testing.assert_allclose(shown(axis), picture, atol=1e-5)
        for axis, right in zip(display.axes_[i, 1:], display.right[i], strict=True):
            color = matplotlib.colors.to_rgba("tab:green" if right else "tab:red")
            assert axis.spines["left"].get_edgecolor() == color
        assert not display.axes_[i, 0].spines["left"].get_visible()
    assert 0 < display.right.mean() < 1


def test_equal_samples_are_neighbors_but_none_is_its_own(data):
    X = np.repeat(data[0][:10], 3, axis=0)
    y = np.arange(30)
    display = NeighborsDisplay.from_embeddings(X.reshape(30, -1), X, y, queries=30, n_neighbors=2)
    np.testing.assert_allclose(display.similarity, 1, atol=1e-5)
    assert not display.right.any()  # each has a label of its own


def test_neighbors_by_an_estimator(fitted, data):
    X, y = data
    display = NeighborsDisplay.from_estimator(fitted, X, y, queries=[1, 2], n_neighbors=3)
    expected = NeighborsDisplay.from_embeddings(
        fitted.transform(X), X, y, queries=[1, 2], n_neighbors=3
    )
    np.testing.assert_array_equal(display.similarity, expected.similarity)
    np.testing.assert_allclose(display.images, expected.images, atol=1e-6)
    patches = PatchKMeansTransformer(n_centroids=8, patch_size=4, random_state=0).fit(X)
    assert NeighborsDisplay.from_estimator(patches, X).right is None
