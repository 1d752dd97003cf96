"""Metrics, compared with slow references, published values and other libraries."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from sklearn_ssl import metrics

RNG = np.random.default_rng(0)


X, Y = RNG.normal(size=(60, 5)), RNG.integers(0, 4, 60)


GALLERY, Y_GALLERY = RNG.normal(size=(50, 5)), RNG.integers(0, 4, 50)


asked = pytest.mark.parametrize("same", [True, False], ids=["among themselves", "gallery"])


def cosines(same):
    """Return similarities with the gallery, with nan on the diagonal where it is X itself."""
    gallery = X if same else GALLERY
    unit, unit_gallery = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (X, gallery))
    found = unit @ unit_gallery.T
    if same:
        np.fill_diagonal(found, np.nan)
    return found, Y if same else Y_GALLERY, () if same else (GALLERY, Y_GALLERY)


@asked
def test_recall_at_k(same):
    found, y_gallery, more = cosines(same)
    ks = [1, 3, 10]
    expected = np.zeros(3)
    for row, label in zip(found, Y, strict=True):
        order = np.argsort(-np.nan_to_num(row, nan=-9))
        expected += [label in y_gallery[order[:k]] for k in ks]
    recall = metrics.recall_at_k(X, Y, *more, k=ks)
    np.testing.assert_allclose(recall, expected / len(X))
    assert metrics.recall_at_k(X, Y, *more, k=3) == recall[1]
    assert recall[0] < recall[1] < recall[2]


@asked
def test_knn_accuracy(same):
    found, y_gallery, more = cosines(same)
    right = 0
    for row, label in zip(found, Y, strict=True):
        order = np.argsort(-np.nan_to_num(row, nan=-9))[:10]
        shares = [np.exp(row[order][y_gallery[order] == c] / 0.5).sum() for c in range(4)]
        right += np.argmax(shares) == label
    accuracy = metrics.knn_accuracy(X, Y, *more, n_neighbors=10, temperature=0.5)
    assert accuracy == pytest.approx(right / len(X))
    # All that there are, where they are fewer; with a small temperature the first one decides.
    few = metrics.knn_accuracy(X, Y, *more, n_neighbors=10**6, temperature=1e-4)
    assert few == pytest.approx(metrics.recall_at_k(X, Y, *more, k=1))


@asked
def test_mean_average_precision_is_that_of_scikit_learn(same):
    found, y_gallery, more = cosines(same)
    expected = []
    for row, label in zip(found, Y, strict=True):
        there = ~np.isnan(row)
        expected.append(average_precision_score(y_gallery[there] == label, row[there]))
    found = metrics.mean_average_precision(X, Y, *more)
    assert found == pytest.approx(np.mean(expected), abs=1e-6)


def oxford(ranked):
    """Average precision by the loop of the Oxford benchmark, over kinds in order of rank."""
    n_right, old_recall, old_precision, area = 0, 0.0, 1.0, 0.0
    total, place = sum(kind == 1 for kind in ranked), 0
    for kind in ranked:
        if kind == -1:
            continue
        n_right += kind == 1
        recall, precision = n_right / total, n_right / (place + 1)
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision, place = recall, precision, place + 1
    return area


def test_mean_average_precision_as_in_oxford():
    relevance = RNG.choice([-1, 0, 1], (60, 50), p=[0.2, 0.6, 0.2])
    relevance[3] = np.minimum(relevance[3], 0)  # nothing to find: it is left out
    found, *_ = cosines(False)
    order = np.argsort(-found, axis=1)
    ranked = np.take_along_axis(relevance, order, axis=1)
    expected = np.mean([oxford(row) for i, row in enumerate(ranked) if i != 3])
    given = {"X_gallery": GALLERY, "relevance": relevance}
    assert metrics.mean_average_precision(X, **given, trapezoid=True) == pytest.approx(expected)
    # Junk is as if it were not there.
    kept = [row[row >= 0] for row in ranked]
    plain = [average_precision_score(row, -np.arange(len(row))) for row in kept if row.any()]
    assert metrics.mean_average_precision(X, **given) == pytest.approx(np.mean(plain))


def test_empty_folder_is_an_error():
    with pytest.raises(ValueError, match="No query has a sample of its class"):
        metrics.mean_average_precision(X[:4], np.arange(4))
