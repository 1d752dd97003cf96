"""What is found among the most similar samples: recall, average precision, votes of neighbours."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from sklearn_ssl.data.labels import check_readable, codes_of
from sklearn_ssl.metrics.nearest import blocks_of_similarities, nearest, votes


def recall_at_k(X, y, X_gallery=None, y_gallery=None, *, k=1, unlabeled="auto"):
    """Return the share of samples that have one of their class among the k most similar.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of the samples that ask. Similarity is the cosine.

    y : array-like of shape (n_samples,)
        Their classes. Samples without a label are left out, in the gallery too.

    X_gallery : array-like of shape (n_gallery, n_features), default=None
        Embedding of the samples among which they look. With None they look among each other, where
        no sample finds itself.

    y_gallery : array-like of shape (n_gallery,), default=None
        Classes of these.

    k : int or sequence of int, default=1
        Number of similar samples that are looked at, at most those there are.

    unlabeled : object, default="auto"
        What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y holds,
        which are two classes then. Missing values, None, NaN and NA, count as unlabeled as well.
        None says that all samples have a label.

    Returns
    -------
    recall : float or ndarray of shape (len(k),)
        From 0 to 1, larger is better. Samples whose class the gallery lacks count as not found.

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
        raise ValueError(f"k must be whole numbers from 1 to {most}, the gallery. Got {k!r}.")
    found, _ = nearest(X, gallery, int(ks.max()), same=same)
    right = y_gallery[found] == y[:, None]  # (n, k)
    recall = np.array([right[:, :n].any(axis=1).mean() for n in ks])
    return recall if np.ndim(k) else float(recall[0])


def knn_accuracy(
    X, y, X_gallery=None, y_gallery=None, *, n_neighbors=20, temperature=0.07, unlabeled="auto"
):
    """Return the share of samples whose class the most similar samples vote for.

    The votes are weighted by exp(cosine similarity / temperature), as
    :class:`~sklearn_ssl.KNNProbe` does.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of the samples that ask.

    y : array-like of shape (n_samples,)
        Their classes. Samples without a label are left out, in the gallery too.

    X_gallery : array-like of shape (n_gallery, n_features), default=None
        Embedding of the samples that vote. With None samples vote for each other, and none for
        itself.

    y_gallery : array-like of shape (n_gallery,), default=None
        Classes of these.

    n_neighbors : int, default=20
        Number of samples that vote, at least 1; all that there are, where they are fewer.

    temperature : float, default=0.07
        Divides the similarities, above 0. Lower values make the most similar count more.

    unlabeled : object, default="auto"
        What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y holds,
        which are two classes then. Missing values, None, NaN and NA, count as unlabeled as well.
        None says that all samples have a label.

    Returns
    -------
    accuracy : float
        From 0 to 1, larger is better.

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
    told = votes(codes[found], similarity, len(classes), temperature).argmax(axis=1)
    return float(np.mean(classes[told] == y))


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
    """Tell how early samples of the same class come among the others, sorted by similarity.

    The average precision of a sample is the mean, over all samples of its class in the gallery,
    of the precision at the place where each comes. Samples that have none there are left out.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of the samples that ask. Similarity is the cosine.

    y : array-like of shape (n_samples,), default=None
        Their classes. Not needed where ``relevance`` is given.

    X_gallery : array-like of shape (n_gallery, n_features), default=None
        Embedding of the samples that are sorted. With None those that ask are sorted, where no
        sample finds itself.

    y_gallery : array-like of shape (n_gallery,), default=None
        Classes of these.

    relevance : array-like of shape (n_samples, n_gallery), default=None
        What each sample of the gallery is to each that asks, instead of classes: 1 right, 0 wrong,
        and -1 junk, which is taken out before places are counted, as the benchmarks Oxford5k and
        Paris6k have it. In their revisited protocols easy images are right and hard ones junk
        ("easy"), both are right ("medium"), or hard ones are right and easy ones junk ("hard").

    trapezoid : bool, default=False
        Whether precision is the mean of those before and at each right sample, as the Oxford
        benchmark has it: the area below the curve of precision over recall, by trapezoids.

    unlabeled : object, default="auto"
        What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y holds,
        which are two classes then. Missing values, None, NaN and NA, count as unlabeled as well.
        None says that all samples have a label.

    Returns
    -------
    mean_average_precision : float
        From 0 to 1, larger is better.

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
                f"relevance must hold 1, 0 or -1 for each of {len(X)} samples and {len(gallery)} "
                f"of the gallery. Got shape {relevance.shape}, values "
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
            ranked = kind[np.argsort(-similar)]  # by rows, as indices are larger than similarities
            right = ranked[ranked >= 0]
            places = np.flatnonzero(right == 1)  # from 0
            if not len(places):
                continue
            nth = np.arange(1, len(places) + 1)
            precision = nth / (places + 1)
            if trapezoid:
                # Before the first place all is right so far.
                before = np.where(places == 0, 1.0, (nth - 1) / np.maximum(places, 1))
                precision = (before + precision) / 2
            precisions.append(precision.mean())
    if not precisions:
        raise ValueError("No sample has one of its class in the gallery: there is nothing to find.")
    return float(np.mean(precisions))


def _checked(X, y, X_gallery, y_gallery, unlabeled):
    """Return samples and gallery with their classes, and whether they are the same."""
    same = X_gallery is None
    if (y_gallery is None) != same or y is None:
        raise ValueError(
            "Pass y with X, and X_gallery and y_gallery together, or none of the two to look "
            "among the samples themselves."
        )
    check = {"dtype": [np.float32, np.float64], "ensure_all_finite": False}
    parts = [check_array(part, **check) for part in ([X] if same else [X, X_gallery])]
    for part, labels in zip(parts, (y, y_gallery), strict=False):
        check_consistent_length(part, labels)
    if parts[0].shape[1] != parts[-1].shape[1]:
        raise ValueError(
            f"X has {parts[0].shape[1]} features and X_gallery {parts[1].shape[1]}. Embed both "
            "alike."
        )
    # Of both together, as -1 is a class in both or in none.
    _, codes = codes_of(y if same else [*y, *y_gallery], unlabeled)
    found = []
    for part in parts:
        own, codes = codes[: len(part)], codes[len(part) :]
        used = (own >= 0) & check_readable(part)
        if used.sum() < 1 + same:
            raise ValueError(
                f"{used.sum()} of {len(part)} samples have a label and can be read, {1 + same} or "
                "more are needed."
            )
        found += [part[used], own[used]]
    return *found[:2], *found[-2:], same
