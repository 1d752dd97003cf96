"""Metrics, compared with slow references, published values and other libraries."""

import numpy as np
import pytest

from sklearn_ssl import metrics

RNG = np.random.default_rng(0)


X, Y = RNG.normal(size=(60, 5)), RNG.integers(0, 4, 60)


GALLERY, Y_GALLERY = RNG.normal(size=(50, 5)), RNG.integers(0, 4, 50)


WRONG = {
    "k must be": lambda: metrics.recall_at_k(X, Y, k=60),
    "together": lambda: metrics.recall_at_k(X, Y, GALLERY),
    "5 features and X_gallery 4": lambda: metrics.knn_accuracy(X, Y, GALLERY[:, :4], Y_GALLERY),
    "temperature must be": lambda: metrics.knn_accuracy(X, Y, temperature=0),
    "n_neighbors must be": lambda: metrics.knn_accuracy(X, Y, n_neighbors=0),
    "relevance must be": lambda: metrics.mean_average_precision(X, relevance=[[1]]),
    "inconsistent numbers": lambda: metrics.clustering_accuracy([1, 2], [1]),
    "needs at least one sample": lambda: metrics.clustering_accuracy([], []),
    "rank 0": lambda: metrics.rankme(np.zeros((3, 2))),
    "All samples of X are equal": lambda: metrics.effective_rank(np.ones((3, 2))),
    "alpha_req needs": lambda: metrics.alpha_req(X[:4]),
    "alpha must be": lambda: metrics.alignment(X, X, alpha=0),
    "t must be": lambda: metrics.uniformity(X, t=-1),
    "same samples": lambda: metrics.alignment(X, X[:5]),
    "contains NaN": lambda: metrics.rankme([[np.nan, 1], [1, 1]]),
}


@pytest.mark.parametrize("message", WRONG)
def test_invalid_input_raises(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message]()
