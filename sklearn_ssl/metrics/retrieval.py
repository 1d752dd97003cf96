"""Metrics of retrieval and nearest neighbors: recall at k, average precision, accuracy."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from sklearn_ssl.data.labels import check_readable, codes_of
from sklearn_ssl.metrics.nearest import blocks_of_similarities, nearest, votes


def recall_at_k(X, y, X_gallery=None, y_gallery=None, *, k=1, unlabeled="auto"):
    """Return recall at k: the share of queries with a sample of their class among the k nearest.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of the queries. Similarity is the cosine.

    y : array-like of shape (n_samples,)
        Class labels of the queries. Samples without a label are left out, in the gallery too.

    X_gallery : array-like of shape (n_gallery, n_features), default=None
        Embedding of the gallery, which is searched. With None, X is the gallery, and no sample is
        its own neighbor.

    y_gallery : array-like of shape (n_gallery,), default=None
        Class labels of the gallery.

    k : int or sequence of int, default=1
        Number of nearest neighbors, at most the size of the gallery.

    unlabeled : object, default="auto"
        Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which are
        two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this is None:
        then all samples must have a label.

    Returns
    -------
    recall : float or ndarray of shape (len(k),)
        Recall in [0, 1], larger is better. Queries of a class that the gallery lacks count as not
        found.

    Examples
    --------
    >>> from sklearn_ssl.metrics import recall_at_k
    >>> X = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.4], [1.0, 0.0]]
    >>> recall_at_k(X, [0, 0, 1, 0], k=[1, 2, 3])
    array([0.5 , 0.75, 0.75])
    """
    X, y, gallery, y_gallery, same = _checked(X, y, X_gallery, y_gallery, unlabeled)
    ks = np.atleast_1d(k)
    most = len(gallery) - same
    if ks.dtype.kind not in "iu" or ks.min() < 1 or ks.max() > most:
        raise ValueError(f"k must be ints from 1 to {most}, the size of the gallery. Got {k!r}.")
    found, _ = nearest(X, gallery, int(ks.max()), same=same)
    right = y_gallery[found] == y[:, None]  # (n, k)
    recall = np.array([right[:, :n].any(axis=1).mean() for n in ks])
    return recall if np.ndim(k) else float(recall[0])


def knn_accuracy(
    X, y, X_gallery=None, y_gallery=None, *, n_neighbors=20, temperature=0.07, unlabeled="auto"
):
    """Return the accuracy of a weighted vote of the nearest neighbors.

    Votes are weighted by exp(cosine similarity / temperature), as in
    :class:`~sklearn_ssl.KNNProbe`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of the queries.

    y : array-like of shape (n_samples,)
        Class labels of the queries. Samples without a label are left out, in the gallery too.

    X_gallery : array-like of shape (n_gallery, n_features), default=None
        Embedding of the gallery, whose samples vote. With None, X is the gallery, and no sample is
        its own neighbor (leave-one-out).

    y_gallery : array-like of shape (n_gallery,), default=None
        Class labels of the gallery.

    n_neighbors : int, default=20
        Number of neighbors, at least 1; all of a smaller gallery.

    temperature : float, default=0.07
        Temperature of the weights, above 0. Lower values give more weight to the most similar
        neighbors.

    unlabeled : object, default="auto"
        Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which are
        two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this is None:
        then all samples must have a label.

    Returns
    -------
    accuracy : float
        Accuracy in [0, 1], larger is better.

    Examples
    --------
    >>> from sklearn_ssl.metrics import knn_accuracy
    >>> X = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.4], [1.0, 0.0]]
    >>> knn_accuracy(X, [0, 0, 1, 1], n_neighbors=1)
    1.0
    """
    X, y, gallery, y_gallery, same = _checked(X, y, X_gallery, y_gallery, unlabeled)
    for name, value in (("n_neighbors", n_neighbors), ("temperature", temperature)):
        if not value > 0:
            raise ValueError(f"{name} must be above 0. Got {value!r} instead.")
    classes, codes = np.unique(y_gallery, return_inverse=True)
    k = min(n_neighbors, len(gallery) - same)
    found, similarity = nearest(X, gallery, k, same=same)
    predicted = votes(codes[found], similarity, len(classes), temperature).argmax(axis=1)
    return float(np.mean(classes[predicted] == y))


def mean_average_precision(
    X,
    y=None,
    X_gallery=None,
    y_gallery=None,
    *,
    relevance=None,
    trapezoid=False,
    unlabeled="auto",
):
    """Return the mean average precision (mAP) of retrieval by similarity.

    The average precision of a query is the mean of the precisions at the ranks of all samples of
    its class in the gallery. Queries without such samples are left out.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of the queries. Similarity is the cosine.

    y : array-like of shape (n_samples,), default=None
        Class labels of the queries. Not used with ``relevance``.

    X_gallery : array-like of shape (n_gallery, n_features), default=None
        Embedding of the gallery, which is ranked. With None, X is the gallery, and no sample is
        its own neighbor.

    y_gallery : array-like of shape (n_gallery,), default=None
        Class labels of the gallery.

    relevance : array-like of shape (n_samples, n_gallery), default=None
        Relevance of each sample of the gallery for each query, instead of classes: 1 is positive, 0
        negative, and -1 junk, which is removed from the ranking, as in the benchmarks Oxford5k and
        Paris6k. In their revisited protocols, easy images are positive and hard ones junk ("easy"),
        both are positive ("medium"), or hard ones are positive and easy ones junk ("hard").

    trapezoid : bool, default=False
        Whether to use the trapezoidal area below the precision-recall curve, as in the Oxford
        benchmark: the mean of the precisions before and at each positive.

    unlabeled : object, default="auto"
        Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which are
        two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this is None:
        then all samples must have a label.

    Returns
    -------
    mean_average_precision : float
        Mean average precision in [0, 1], larger is better.

    References
    ----------
    `Radenović et al. "Revisiting Oxford and Paris: large-scale image retrieval benchmarking",
    CVPR 2018 <https://arxiv.org/abs/1803.11285>`_

    Examples
    --------
    >>> from sklearn_ssl.metrics import mean_average_precision
    >>> X = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.4], [1.0, 0.0]]
    >>> round(mean_average_precision(X, [0, 0, 1, 0]), 2)
    0.75
    """
    if relevance is None:
        X, y, gallery, y_gallery, same = _checked(X, y, X_gallery, y_gallery, unlabeled)
    else:
        same = X_gallery is None
        X = check_array(X, dtype=[np.float32, np.float64])
        gallery = X if same else check_array(X_gallery, dtype=[np.float32, np.float64])
        relevance = np.asarray(relevance)
        if relevance.shape != (len(X), len(gallery)) or not np.isin(relevance, (-1, 0, 1)).all():
            raise ValueError(
                f"relevance must be 1, 0 or -1 for each of {len(X)} queries and {len(gallery)} "
                f"samples of the gallery. Got shape {relevance.shape}, values "
                f"{np.unique(relevance)[:5].tolist()}."
            )
    precisions = []
    for rows, similarity in blocks_of_similarities(X, gallery):
        if relevance is None:
            kinds = (y[rows, None] == y_gallery).astype(np.int8)
        else:
            kinds = relevance[rows].astype(np.int8)
        if same:
            kinds[np.arange(len(kinds)), np.arange(rows.start, rows.stop)] = -1
        for kind, similar in zip(kinds, similarity, strict=True):
            ranked = kind[np.argsort(-similar)]  # one row at a time, as indices take more memory
            right = ranked[ranked >= 0]
            ranks = np.flatnonzero(right == 1)  # from 0
            if not len(ranks):
                continue
            nth = np.arange(1, len(ranks) + 1)
            precision = nth / (ranks + 1)
            if trapezoid:
                # Before the first rank the precision is 1.
                before = np.where(ranks == 0, 1.0, (nth - 1) / np.maximum(ranks, 1))
                precision = (before + precision) / 2
            precisions.append(precision.mean())
    if not precisions:
        raise ValueError(
            "No query has a sample of its class in the gallery, so there is nothing to retrieve."
        )
    return float(np.mean(precisions))


def _checked(X, y, X_gallery, y_gallery, unlabeled):
    """Return queries and gallery with their classes, and whether they are the same."""
    same = X_gallery is None
    if (y_gallery is None) != same or y is None:
        raise ValueError(
            "Pass y with X, and X_gallery and y_gallery together, or neither of the two to use X "
            "as the gallery."
        )
    check = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}
    parts = [check_array(part, **check) for part in ([X] if same else [X, X_gallery])]
    for part, labels in zip(parts, (y, y_gallery), strict=False):
        check_consistent_length(part, labels)
    if parts[0].shape[1] != parts[-1].shape[1]:
        raise ValueError(
            f"X has {parts[0].shape[1]} features and X_gallery {parts[1].shape[1]}. Embed both "
            "with the same estimator."
        )
    # Of both at once, as -1 is a class in both or in neither.
    _, codes = codes_of(y if same else [*y, *y_gallery], unlabeled)
    found = []
    for part in parts:
        own, codes = codes[: len(part)], codes[len(part) :]
        used = (own >= 0) & check_readable(part)
        if used.sum() < 1 + same:
            raise ValueError(
                f"{used.sum()} of {len(part)} samples have a label and can be read, but at least "
                f"{1 + same} are needed."
            )
        found += [part[used], own[used]]
    return *found[:2], *found[-2:], same
