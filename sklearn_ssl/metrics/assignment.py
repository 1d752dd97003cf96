"""Agreement between clusters and classes."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_ssl.data.labels import check_some, labels_of


def clustering_accuracy(labels_true, labels_pred, *, unlabeled="auto"):
    """Return the clustering accuracy (ACC), by the best one-to-one matching to the classes.

    Clusters are matched to classes by the Hungarian method. If there are more clusters than
    classes, samples of unmatched clusters count as wrong, so the accuracy does not increase with
    the number of clusters, as purity does.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        True class labels, of any type.

    labels_pred : array-like of shape (n_samples,)
        Cluster labels, of any type. -1, such as for outliers, is a cluster like others.

    unlabeled : object, default="auto"
        Value in ``labels_true`` of samples without a label, which are left out. "auto" is -1,
        unless there are only -1 and 1, which are two classes then. Missing values (None, NaN, NA)
        are unlabeled as well, unless this is None: then all samples must have a label.

    Returns
    -------
    accuracy : float
        Accuracy in [0, 1], larger is better.

    Examples
    --------
    >>> from sklearn_ssl.metrics import clustering_accuracy
    >>> clustering_accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 2])
    0.75
    """
    labels_pred = column_or_1d(labels_pred)
    check_consistent_length(labels_true, labels_pred)
    if not len(labels_pred):
        raise ValueError("clustering_accuracy needs at least one sample. Got none.")
    has_label, labels_true = labels_of(labels_true, unlabeled)
    check_some(has_label, unlabeled, "clustering_accuracy")
    counts = contingency_matrix(labels_true, labels_pred[has_label])  # (classes, clusters)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def match_clusters(y_true, y_pred, *, unlabeled="auto", unmatched=-1):
    """Replace cluster labels by the classes that they match best, for classification metrics.

    Clusters are matched to classes one to one, by the Hungarian method, such that most samples are
    right. The result can be passed to scikit-learn's classification metrics, also for unsupervised
    segmentation, such as the mean intersection over union (mIoU) of segmentation maps.

    Parameters
    ----------
    y_true : array-like of any shape
        True class labels of samples (n_samples,) or of pixels (n_samples, height, width).

    y_pred : array-like of the same shape
        Cluster labels, of any type.

    unlabeled : object, default="auto"
        Value in ``y_true`` where there is no label, such as 255 in segmentation maps, which is
        ignored. "auto" is as in :func:`clustering_accuracy`.

    unmatched : object, default=-1
        Class of unmatched clusters, which therefore count as wrong.

    Returns
    -------
    y_matched : ndarray of the same shape
        ``y_pred`` with classes instead of clusters.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics import jaccard_score
    >>> from sklearn_ssl.metrics import match_clusters
    >>> maps, clusters = np.array([[0, 0, 1, 1, 255]]), np.array([[7, 7, 7, 3, 3]])
    >>> matched = match_clusters(maps, clusters, unlabeled=255)
    >>> matched
    array([[0, 0, 0, 1, 1]])
    >>> known = maps != 255
    >>> float(jaccard_score(maps[known], matched[known], average="macro"))
    0.583...
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}; the shapes must be equal."
        )
    has_label, labels = labels_of(y_true.ravel(), unlabeled)
    check_some(has_label, unlabeled, "match_clusters")
    clusters, codes = np.unique(y_pred.ravel(), return_inverse=True)
    classes, rows = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(classes), len(clusters)), np.int64)
    np.add.at(counts, (rows, codes[has_label]), 1)
    matched = np.full(len(clusters), len(classes))
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matched[columns] = rows
    return np.array([*classes.tolist(), unmatched])[matched[codes]].reshape(y_pred.shape)
