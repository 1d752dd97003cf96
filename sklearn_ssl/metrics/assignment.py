"""Agreement of labels with true ones: of clusters, and of the pixels of label maps."""

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


def pixel_accuracy(y_true, y_pred, *, ignore_label=255, match=False):
    """Return the share of pixels whose label is right, over all images together.

    Parameters
    ----------
    y_true : array-like of int, or list of them
        True label maps, (n, height, width), or a list of maps (height, width), of any sizes.

    y_pred : array-like of int, or list of them
        Predicted label maps, each of the size of the true one.

    ignore_label : int, default=255
        Pixels that truly have this label count nowhere. Where it is predicted for another pixel,
        that pixel is wrong. None counts all pixels.

    match : bool, default=False
        Whether predicted labels are clusters, which are given the classes under which most pixels
        are right, each class once, as in :func:`clustering_accuracy`; pixels of the clusters that
        are left over are wrong.

    Returns
    -------
    accuracy : float
        From 0 to 1, larger is better.

    Examples
    --------
    >>> from sklearn_ssl.metrics import pixel_accuracy
    >>> pixel_accuracy([[[0, 0, 1, 255]]], [[[0, 0, 0, 0]]])
    0.6666666666666666
    """
    counts = _pixel_counts(y_true, y_pred, ignore_label, match)
    return float(np.trace(counts) / counts.sum())


def mean_iou(y_true, y_pred, *, ignore_label=255, match=False, average="macro"):
    """Return intersection over union of true and predicted pixels, of all images together.

    Pixels are counted over all images first, then divided: it is not the mean over images.

    Parameters
    ----------
    y_true : array-like of int, or list of them
        True label maps, (n, height, width), or a list of maps (height, width), of any sizes.

    y_pred : array-like of int, or list of them
        Predicted label maps, each of the size of the true one.

    ignore_label : int, default=255
        Pixels that truly have this label count nowhere. Where it is predicted for another pixel,
        that pixel is wrong. None counts all pixels.

    match : bool, default=False
        Whether predicted labels are clusters, see :func:`pixel_accuracy`.

    average : {"macro", None}, default="macro"
        "macro" is the mean over the classes that ``y_true`` has, None one value for each of them,
        in sorted order.

    Returns
    -------
    iou : float or ndarray of shape (n_classes,)
        From 0 to 1, larger is better.

    Examples
    --------
    >>> from sklearn_ssl.metrics import mean_iou
    >>> mean_iou([[[0, 0, 1, 1]]], [[[0, 0, 0, 1]]], average=None)
    array([0.66666667, 0.5       ])
    """
    counts = _pixel_counts(y_true, y_pred, ignore_label, match)
    right, true, told = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return _averaged(right / np.maximum(1, true + told - right), true, average)


def segmentation_f1(y_true, y_pred, *, ignore_label=255, match=False, average="macro"):
    """Return the harmonic mean of precision and recall of pixels, of all images together.

    Parameters
    ----------
    y_true : array-like of int, or list of them
        True label maps, (n, height, width), or a list of maps (height, width), of any sizes.

    y_pred : array-like of int, or list of them
        Predicted label maps, each of the size of the true one.

    ignore_label : int, default=255
        Pixels that truly have this label count nowhere. Where it is predicted for another pixel,
        that pixel is wrong. None counts all pixels.

    match : bool, default=False
        Whether predicted labels are clusters, see :func:`pixel_accuracy`.

    average : {"macro", None}, default="macro"
        "macro" is the mean over the classes that ``y_true`` has, None one value for each of them,
        in sorted order.

    Returns
    -------
    f1 : float or ndarray of shape (n_classes,)
        From 0 to 1, larger is better.

    Examples
    --------
    >>> from sklearn_ssl.metrics import segmentation_f1
    >>> segmentation_f1([[[0, 0, 1, 1]]], [[[0, 0, 0, 1]]], average=None)
    array([0.8       , 0.66666667])
    """
    counts = _pixel_counts(y_true, y_pred, ignore_label, match)
    right, true, told = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return _averaged(2 * right / np.maximum(1, true + told), true, average)


def _averaged(values, true, average):
    """Return the values of the classes that truly are there, or their mean."""
    if average not in ("macro", None):
        raise ValueError(f'average must be "macro" or None. Got {average!r} instead.')
    values = values[true > 0]
    return values if average is None else float(values.mean())


def _pixel_counts(y_true, y_pred, ignore_label, match):
    """Return counts of pixels, (labels, labels), true ones in rows, predicted ones in columns."""
    maps = [(np.asarray(t), np.asarray(p)) for t, p in zip(y_true, y_pred, strict=False)]
    if len(y_true) != len(y_pred) or not maps:
        raise ValueError(
            "y_true and y_pred must hold as many label maps, one or more. "
            f"Got {len(y_true)} and {len(y_pred)}."
        )
    for i, pair in enumerate(maps):
        if pair[0].shape != pair[1].shape:
            raise ValueError(
                f"Label map {i} of y_true has shape {pair[0].shape} and that of y_pred "
                f"{pair[1].shape}. Resize the scores to the true size before labels are taken."
            )
        for name, labels in zip(("y_true", "y_pred"), pair, strict=True):
            if labels.dtype.kind not in "iub":
                raise ValueError(f"{name} must hold whole numbers. Map {i} is {labels.dtype}.")
    if ignore_label is not None:
        labeled = [t != ignore_label for t, _ in maps]
        maps = [(t[k], p[k]) for (t, p), k in zip(maps, labeled, strict=True)]
    classes = _found(t for t, _ in maps)
    told = _found(p for _, p in maps)
    if not len(classes):
        raise ValueError(f"All pixels of y_true have the ignored label, {ignore_label}.")
    # Without matching, labels of both sides are the same names; with it, clusters are columns.
    rows = classes if match else np.union1d(classes, told)
    columns = told if match else rows
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for t, p in maps:
        cells = np.searchsorted(rows, t) * len(columns) + np.searchsorted(columns, p)
        counts += np.bincount(cells.ravel(), minlength=counts.size).reshape(counts.shape)
    if not match:
        return counts
    # Clusters with a class come in its place, the others behind, where no true label is.
    chosen_rows, chosen = linear_sum_assignment(counts, maximize=True)
    rest = np.setdiff1d(np.arange(len(columns)), chosen)
    n = len(rows) + len(rest)
    matched = np.zeros((n, n), np.int64)
    matched[: len(rows), chosen_rows] = counts[:, chosen]
    matched[: len(rows), len(rows) :] = counts[:, rest]
    return matched


def _found(maps):
    """Return the sorted labels of all maps."""
    return np.unique(np.concatenate([np.unique(labels) for labels in maps]))
