"""Metrics beside slow references, published values and other libraries' definitions."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from sklearn_ssl import metrics
from sklearn_ssl.metrics import geometry
from sklearn_ssl.metrics import nearest as neighbors

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Many blocks, the last one not full."""
    monkeypatch.setattr(neighbors, "BLOCK_BYTES", 4 * 50 * 7)
    monkeypatch.setattr(geometry, "BLOCK_BYTES", 4 * 50 * 7)


def best_naming(y_true, y_pred):
    """Share of right ones over all ways to give clusters distinct classes or none."""
    classes, clusters = np.unique(y_true), np.unique(y_pred)
    names = [*classes, *[-1] * len(clusters)]
    return max(
        np.mean(np.array(given)[np.searchsorted(clusters, y_pred)] == y_true)
        for given in itertools.permutations(names, len(clusters))
    )


@pytest.mark.parametrize("n_clusters", [2, 3, 5])
def test_clustering_accuracy_tries_all_names(n_clusters):
    y_true = RNG.integers(0, 3, 40)
    y_pred = RNG.integers(0, n_clusters, 40)
    expected = best_naming(y_true, y_pred)
    assert metrics.clustering_accuracy(y_true, y_pred) == pytest.approx(expected)
    named = np.array(list("vwxyz"))[y_pred]  # names of clusters do not matter
    assert metrics.clustering_accuracy(y_true, named) == pytest.approx(expected)


def test_more_clusters_than_classes_do_not_pay():
    y = np.repeat([0, 1], 10)
    assert metrics.clustering_accuracy(y, np.arange(20)) == 0.1  # where purity is 1


@pytest.mark.parametrize("maps", ["array", "list"])
def test_segmentation_beside_scikit_learn(maps):
    """Over all pixels at once; void ones are left out, and wrong where they are predicted."""
    y_true = RNG.choice([0, 1, 2, 255], (5, 6, 7), p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8)
    y_pred = RNG.choice([0, 1, 3, 255], (5, 6, 7), p=[0.6, 0.2, 0.1, 0.1]).astype(np.uint8)
    kept = y_true != 255
    t, p = y_true[kept], y_pred[kept]
    given = y_true, y_pred
    if maps == "list":  # of different sizes
        given = [[*m[:4], m[4, :, :3], m[4, :, 3:]] for m in given]
    there = {"labels": [0, 1, 2], "average": None, "zero_division": 0}
    assert metrics.pixel_accuracy(*given) == pytest.approx(np.mean(t == p))
    iou, f1 = jaccard_score(t, p, **there), f1_score(t, p, **there)
    np.testing.assert_allclose(metrics.mean_iou(*given, average=None), iou)
    np.testing.assert_allclose(metrics.segmentation_f1(*given, average=None), f1)
    assert metrics.mean_iou(*given) == pytest.approx(iou.mean())
    assert metrics.segmentation_f1(*given) == pytest.approx(f1.mean())
    everything = metrics.pixel_accuracy(*given, ignore_label=None)
    assert everything == pytest.approx(np.mean(y_true == y_pred))


@pytest.mark.parametrize("n_clusters", [2, 3, 5])
def test_segmentation_by_clusters(n_clusters):
    y_true = RNG.integers(0, 3, (4, 5, 5))
    y_true[0, 0] = 255
    y_pred = (y_true + RNG.integers(0, 2, y_true.shape)) % n_clusters + 10
    kept = y_true != 255
    accuracy = metrics.pixel_accuracy(y_true, y_pred, match=True)
    assert accuracy == pytest.approx(best_naming(y_true[kept], y_pred[kept]))
    # The same as naming them by hand.
    clusters = np.unique(y_pred[kept])
    best = max(
        (
            np.array(given)[np.searchsorted(clusters, y_pred).clip(0, len(clusters) - 1)]
            for given in itertools.permutations([0, 1, 2, 77, 78, 79, 80, 81], len(clusters))
        ),
        key=lambda named: np.mean(named[kept] == y_true[kept]),
    )
    by_hand = metrics.mean_iou(y_true, best, average=None)
    np.testing.assert_allclose(metrics.mean_iou(y_true, y_pred, match=True, average=None), by_hand)
    by_hand = metrics.segmentation_f1(y_true, best)
    assert metrics.segmentation_f1(y_true, y_pred, match=True) == pytest.approx(by_hand)
