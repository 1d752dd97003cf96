"""Agreement of clusters with classes."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_ssl.data.labels import check_some, labels_of


def clustering_accuracy(labels_true, labels_pred, *, unlabeled="auto"):
    """Return the share of samples that are right under the best naming of clusters by classes.

    Each cluster is given at most one class and each class at most one cluster, so that most
    samples are right (the Hungarian method). Samples of clusters that get no class, where there
    are more clusters than classes, count as wrong; so it does not rise with the number of
    clusters, as purity does.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        True classes, of any type.

    labels_pred : array-like of shape (n_samples,)
        Clusters, of any type. -1 is a cluster like others, as that of outliers.

    unlabeled : object, default="auto"
        What ``labels_true`` has for samples without a label, which are left out. "auto" is -1,
        unless -1 and 1 are all that it holds, which are two classes then. Missing values, None, NaN
        and NA, count as unlabeled as well. None says that all samples have a label.

    Returns
    -------
    accuracy : float
        From 0 to 1, larger is better.

    Examples
    --------
    >>> from sklearn_ssl.metrics import clustering_accuracy
    >>> clustering_accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 2])
    0.75
    """
    labels_pred = column_or_1d(labels_pred)
    check_consistent_length(labels_true, labels_pred)
    if not len(labels_pred):
        raise ValueError("clustering_accuracy needs a sample or more. Got none.")
    has_label, labels_true = labels_of(labels_true, unlabeled)
    check_some(has_label, unlabeled, "clustering_accuracy")
    counts = contingency_matrix(labels_true, labels_pred[has_label])  # (classes, clusters)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def match_clusters(y_true, y_pred, *, unlabeled="auto", unmatched=-1):
    """Rename clusters to the classes that they match best, for any metric of classification.

    Each cluster gets at most one class and each class at most one cluster, so that most samples
    are right (the Hungarian method). With it, scikit-learn's metrics of classifiers score clusters
    of samples, and of the pixels of segmentation maps.

    Parameters
    ----------
    y_true : array-like of any shape
        True classes: of samples (n_samples,), or of pixels (n_samples, height, width).

    y_pred : array-like of the same shape
        Clusters, of any type.

    unlabeled : object, default="auto"
        What ``y_true`` has where there is no label, such as 255 in segmentation maps; it counts
        nowhere. "auto" is as in :func:`clustering_accuracy`.

    unmatched : object, default=-1
        Becomes the class of clusters that get none, which therefore count as wrong.

    Returns
    -------
    y_matched : ndarray of the same shape
        ``y_pred`` with classes for clusters.

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
            f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}; they must be the same."
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
