"""Labels of which some are missing: one convention for all that takes labels."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_ssl.telling import tell

UNLABELED = -1  # scikit-learn's
UNREADABLE = "are NaN in every feature, as those of unreadable images are"


def labels_of(y, unlabeled="auto"):
    """Return which samples have a label (n,), and the labels of these.

    ``unlabeled`` is what y holds for the others. "auto" is -1, also as the word that it becomes in
    an array of words, unless -1 and 1 are two classes: where y holds no other values. None says
    that all samples have a label. Missing values, None, NaN and NA, are never one.
    """
    y = column_or_1d(as_labels(y), warn=True)
    missing = _missing(y)
    if unlabeled is None:
        if missing.any():
            raise ValueError(
                f"Input y contains NaN or None, first at sample {int(missing.argmax())}, but "
                'unlabeled=None says that all samples have a label. Set unlabeled="auto".'
            )
        return np.ones(len(y), bool), y
    has_label = ~missing
    if isinstance(unlabeled, str) and unlabeled == "auto":
        marked = _equal(y, UNLABELED) | _equal(y, str(UNLABELED))
        ones = _equal(y, 1) | _equal(y, "1")
        two_classes = ones.any() and (marked | ones | missing).all()
        has_label &= ~marked | two_classes
    elif not _missing(np.array([unlabeled], object))[0]:
        has_label &= ~_equal(y, unlabeled)
    known = y[has_label]
    if known.dtype == object and len(known):  # words alone, or numbers alone, once again
        kinds = {isinstance(label, str) for label in known}
        known = np.array(known.tolist()) if len(kinds) == 1 else known
    return has_label, known


def check_some(has_label, unlabeled, name):
    """Raise where no sample has a label."""
    if not has_label.any():
        raise ValueError(
            f"{name} needs samples with a label. All of y is unlabeled, which is "
            f"{'-1, None or NaN' if unlabeled == 'auto' else repr(unlabeled)}."
        )


def with_unlabeled(labels, wrong, unlabeled):
    """Return labels with the mark of unlabeled samples for those that are ``wrong`` (n,)."""
    if not wrong.any():
        return labels
    mark = UNLABELED if unlabeled is None or isinstance(unlabeled, str) else unlabeled
    mark = unlabeled if isinstance(unlabeled, str) and unlabeled != "auto" else mark
    numbers = labels.dtype.kind in "biuf" and isinstance(mark, int | float | np.number)
    labels = labels.astype(
        np.promote_types(labels.dtype, np.min_scalar_type(mark)) if numbers else object
    )
    labels[wrong] = mark
    return labels


def readable_rows(X):
    """Return which rows of an embedding (n,) are not those of unreadable images."""
    return ~np.isnan(X).all(axis=1)


def tell_of_unreadable(readable):
    """Warn of rows that are left out."""
    if not readable.all():
        tell(
            f"{int((~readable).sum())} of the {len(readable)} rows of X {UNREADABLE}, and left out."
        )


class PartlyLabeledClassifier(ClassifierMixin):
    """A classifier that is scored on the samples that have a label and an embedding."""

    def score(self, X, y, sample_weight=None):
        """Return the accuracy on samples that have a label, and can be read.

        Parameters
        ----------
        X : array-like
            Samples, as in ``predict``.

        y : array-like of shape (n_samples,)
            True classes.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            Share of the samples whose class is right.
        """
        has_label, known = labels_of(y, self.unlabeled)
        check_some(has_label, self.unlabeled, "score")
        probabilities = self.predict_proba(X)
        check_consistent_length(probabilities, y)
        probabilities = probabilities[has_label]
        readable = readable_rows(probabilities)
        if not readable.any():
            raise ValueError("None of the images in X could be read: there is nothing to score.")
        told = self.classes_[probabilities[readable].argmax(axis=1)]
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[has_label][readable]
        return float(accuracy_score(known[readable], told, sample_weight=sample_weight))


def as_labels(y):
    """Return labels as an array, in which words and numbers of a list stay what they are."""
    if hasattr(y, "to_numpy"):
        kind = getattr(y, "dtype", None)
        return (
            y.to_numpy() if isinstance(kind, np.dtype) else np.array(y.to_numpy().tolist(), object)
        )
    if isinstance(y, list | tuple):
        kinds = {isinstance(label, str) for label in y}
        mixed = len(kinds) > 1 or any(label is None for label in y)
        if mixed and np.ndim(np.array(y, object)) == 1:
            return np.array(y, object)
    return np.asarray(y)


def _missing(y):
    """Return where labels are None, NaN or NA."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind != "O":
        return np.zeros(len(y), bool)
    return np.array([v is None or type(v).__name__ == "NAType" or bool(v != v) for v in y], bool)


def _equal(y, value):
    """Return where labels are a value; words are no numbers."""
    words = y.dtype.kind in "UT"
    if y.dtype.kind == "O":
        return np.array(
            [
                not missing and isinstance(v, str) == isinstance(value, str) and bool(v == value)
                for v, missing in zip(y, _missing(y), strict=True)
            ],
            bool,
        )
    if words != isinstance(value, str):
        return np.zeros(len(y), bool)
    return y == value


def codes_of(y):
    """Return classes, and the number of the class of each sample (n,), -1 without a label."""
    has_label, known = labels_of(y)
    classes, codes = np.unique(known, return_inverse=True)
    found = np.full(len(has_label), UNLABELED)
    found[has_label] = codes
    return classes, found
