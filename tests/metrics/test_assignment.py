"""Metrics, compared with slow references, published values and other libraries."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from sklearn_ssl import metrics

RNG = np.random.default_rng(0)


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


@pytest.mark.parametrize("n_clusters", [2, 3, 5])
@pytest.mark.parametrize("kind", ["numbers", "names"])
def test_matched_clusters_are_scored_as_classes(n_clusters, kind):
    y_true = RNG.integers(0, 3, (4, 5, 5))
    y_pred = (y_true + RNG.integers(0, 2, y_true.shape)) % n_clusters + 10
    y_true[0, 0] = 255
    known = y_true != 255
    unlabeled = 255
    if kind == "names":
        y_true, unlabeled = y_true.astype(str), "255"
    matched = metrics.match_clusters(y_true, y_pred, unlabeled=unlabeled)
    t, m = y_true[known], matched[known]
    assert accuracy_score(t, m) == pytest.approx(best_naming(t, y_pred[known]))
    # The same clusters have the same class, and no two clusters share one.
    pairs = set(zip(y_pred.ravel(), matched.ravel(), strict=True))
    n_clusters = len(np.unique(y_pred))
    assert len(pairs) == n_clusters
    classes = [c for _, c in pairs if str(c) != "-1"]
    assert len(set(classes)) == len(classes) == min(3, n_clusters)


def test_unmatched_clusters_and_wrong_shapes():
    matched = metrics.match_clusters([0, 0, 1], [4, 5, 6], unmatched=7)
    assert sorted(matched.tolist()) == [0, 1, 7]
    with pytest.raises(ValueError, match=r"shape \(1, 2\) and y_pred \(2,\)"):
        metrics.match_clusters([[0, 1]], [0, 1])
    with pytest.raises(ValueError, match="match_clusters"):
        metrics.match_clusters([-1, -1], [0, 1])
