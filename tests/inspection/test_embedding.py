"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import sys

import numpy as np
import pytest

from sklearn_ssl.inspection import (
    EmbeddingDisplay,
)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_maps_keep_groups_apart(method):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    embedding = rng.normal(size=(90, 10)) + 30 * np.eye(10)[y]
    display = EmbeddingDisplay.from_embeddings(embedding, y=y, method=method, random_state=0)
    centers = np.stack([display.positions[y == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(display.positions[:, None] - centers, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, y)
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["0", "1", "2"]


def test_maps_show_images_at_their_coordinates(fitted, data):
    X, y = data
    display = EmbeddingDisplay.from_estimator(
        fitted, X, y, method="pca", n_samples=60, random_state=0
    )
    boxes = [a for a in display.ax_.artists if hasattr(a, "xy")]
    assert 5 < len(boxes) <= 60
    at = {
        tuple(position): picture
        for position, picture in zip(display.positions, display.pictures, strict=True)
    }
    for box in boxes:
        picture = box.offsetbox.get_data()
        np.testing.assert_array_equal(picture, at[tuple(box.xy)].squeeze(-1))
    places = np.array([box.xy for box in boxes]) / np.ptp(display.positions, axis=0)
    apart = np.abs(places[:, None] - places).max(axis=2) + np.eye(len(places))
    assert apart.min() > 0.07


def test_umap_names_the_missing_package(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        EmbeddingDisplay.from_embeddings(data[0].reshape(100, -1), method="umap")
    with pytest.raises(ValueError, match='"pca", "tsne" or "umap"'):
        EmbeddingDisplay.from_embeddings(data[0].reshape(100, -1), method="mds")
