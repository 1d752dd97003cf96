"""Missing labels: a common convention for classifiers, splitters, metrics and displays."""

from numbers import Real

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d

from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl._runtime.world import world

UNLABELED = -1  # the convention of scikit-learn
UNREADABLE = "are NaN in every feature, as for unreadable images"


def labels_of(y, unlabeled="auto", classes=None):
    """Return the mask of labeled samples (n,), and their labels.

    ``unlabeled`` is the value in y of unlabeled samples. "auto" is -1, unless -1 is a class: one
    of ``classes``, or, if these are unknown, if all labels are -1 or 1. None means that all
    samples are labeled. Missing values, None, NaN and NA, are never labels. Numbers and NaN also
    match the strings that they become in an array of strings.
    """
    y = column_or_1d(as_labels(y), warn=True)
    missing = _missing(y)
    if unlabeled is None:
        if missing.any():
            raise ValueError(
                f"Input y contains NaN or None, first at sample {int(missing.argmax())}, but with "
                'unlabeled=None all samples must have a label. Set unlabeled="auto".'
            )
        return np.ones(len(y), bool), y
    has_label = ~missing
    if isinstance(unlabeled, str) and unlabeled == "auto":
        missing = missing | _equal(y, "nan") if y.dtype.kind in "UT" else missing
        has_label, marked = ~missing, _is(y, UNLABELED)
        if classes is not None:
            is_class = _is(classes, UNLABELED).any()
        else:
            ones = _is(y, 1)
            is_class = ones.any() and (marked | ones | missing).all()
        has_label &= ~marked | is_class
    elif not isinstance(unlabeled, str | np.generic | Real) and not _is_missing(unlabeled):
        raise ValueError(
            'unlabeled must be a label (a string or number), None, NaN or "auto". Got '
            f"{unlabeled!r} instead."
        )
    elif not _is_missing(unlabeled):
        has_label &= ~_is(y, unlabeled)
    known = y[has_label]
    if known.dtype == object and len(known):  # converted to an array of strings or numbers
        words = np.array([isinstance(label, str) for label in known])
        if words.any() and not words.all():
            i, j = (np.flatnonzero(has_label)[kind.argmax()] for kind in (words, ~words))
            raise ValueError(
                f"y mixes strings, such as {str(y[i])!r} (sample {i}), and other labels, such as "
                f"{y[j]} (sample {j}). Convert all labels to strings, or to numbers."
            )
        known = np.array(known.tolist())
    return has_label, known


def ids_of(y):
    """Return an integer for each sample, equal for equal labels; unlabeled ones have their own."""
    has_label, known = labels_of(y)
    ids = len(has_label) + np.arange(len(has_label))
    ids[has_label] = np.unique(known, return_inverse=True)[1]
    return ids


def ids_of_groups(groups):
    """Return an integer for each sample, equal in a group; those of None, NaN or NA are alone."""
    n_dims = getattr(groups, "ndim", 1)
    if n_dims != 1 or isinstance(groups, str) or not hasattr(groups, "__len__"):
        found = f"an array of {n_dims} dimensions" if n_dims != 1 else repr(groups)
        raise ValueError(f"groups must have one value per sample. Got {found} instead.")
    values = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    known, ids = {}, np.arange(len(values)) + len(values)
    for i, value in enumerate(values):
        if not _is_missing(value):
            ids[i] = known.setdefault(value, len(known))
    return ids


def read_mask(source):
    """Return the mask of samples of X that its source could read, (n,)."""
    return source.aligned(np.zeros(len(source), np.int8)) == 0


def of_read(values, source, name):
    """Return those values, one per sample of X, whose samples the source could read.

    They are those of the main process, in all processes.
    """
    is_read = read_mask(source)
    if len(values) != len(is_read):
        raise ValueError(f"{name} has {len(values)} values, but X has {len(is_read)} samples.")
    return world().from_main(values[is_read])


def check_some(has_label, unlabeled, name):
    """Raise if no sample has a label."""
    if not has_label.any():
        raise ValueError(
            f"{name} needs labeled samples. All of y is unlabeled, which is "
            f"{'-1, None or NaN' if str(unlabeled) == 'auto' else repr(unlabeled)}."
        )


def with_unlabeled(labels, wrong, unlabeled, classes):
    """Return labels in which those in the mask ``wrong`` (n,) are marked as unlabeled.

    The default mark is -1, or NaN if -1 is one of the classes.
    """
    if not wrong.any():
        return labels
    mark = unlabeled
    if mark is None or (isinstance(mark, str) and mark == "auto"):
        mark = np.nan if _is(classes, UNLABELED).any() else UNLABELED
    numbers = labels.dtype.kind in "biuf" and isinstance(mark, int | float | np.number)
    labels = labels.astype(
        np.promote_types(labels.dtype, np.min_scalar_type(mark)) if numbers else object
    )
    labels[wrong] = mark
    return labels


def readable_rows(X):
    """Return the mask of samples of an embedding (n,) that are not unreadable images."""
    return ~np.isnan(X).all(axis=1)


def check_readable(X, name=None, n_needed=0):
    """Return the mask of samples of an embedding (n,) that are not unreadable images.

    Raises for other NaN or infinite values, and for fewer than ``n_needed`` readable samples.
    """
    readable = readable_rows(X)
    if readable.sum() < min(n_needed, len(X)):
        raise ValueError(
            f"{readable.sum()} of the {len(X)} samples of X can be used, at least {n_needed} are "
            f"needed. Input X contains NaN: the other samples {UNREADABLE}."
        )
    finite = X if readable.all() else X[readable]
    assert_all_finite(finite, input_name="X", estimator_name=name)
    return readable


def tell_of_unreadable(readable):
    """Warn of samples that are ignored."""
    if not readable.all():
        n = int((~readable).sum())
        tell(f"{n} of the {len(readable)} samples of X {UNREADABLE}. They are ignored.")


class PartlyLabeledClassifier(ClassifierMixin):
    """Classifier that is scored on labeled and readable samples only."""

    def score(self, X, y, sample_weight=None):
        """Return the accuracy on labeled samples that can be read.

        Parameters
        ----------
        X : array-like
            Samples, as in ``predict``.

        y : array-like of shape (n_samples,)
            True labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
            Accuracy of ``predict`` on the labeled, readable samples.
        """
        has_label, known = labels_of(y, self.unlabeled, self.classes_)
        check_some(has_label, self.unlabeled, "score")
        probabilities = self.predict_proba(X)
        check_consistent_length(probabilities, y)
        probabilities = probabilities[has_label]
        readable = readable_rows(probabilities)
        if not readable.any():
            raise ValueError("None of the images in X could be read: there is nothing to score.")
        predicted = self.classes_[probabilities[readable].argmax(axis=1)]
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[has_label][readable]
        return float(accuracy_score(known[readable], predicted, sample_weight=sample_weight))


def as_labels(y):
    """Return labels as an array, without conversion of numbers in a mixed list to strings."""
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
    """Return the mask of labels that are None, NaN or NA."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind != "O":
        return np.zeros(len(y), bool)
    return np.array([_is_missing(label) for label in y], bool)


def _is_missing(value):
    """Return whether a value is None, NaN or NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, Real) and bool(value != value)


def _is(y, mark):
    """Return the mask of labels equal to a mark, or to the string of a number in string arrays."""
    found = _equal(y, mark)
    if y.dtype.kind not in "OUT" or isinstance(mark, str):
        return found
    words = {str(mark), str(float(mark))} | (
        {str(int(mark))} if float(mark).is_integer() else set()
    )
    return np.any([found, *(_equal(y, word) for word in words)], axis=0)


def _equal(y, value):
    """Return the mask of labels equal to a value; strings never equal numbers."""
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


def codes_of(y, unlabeled="auto"):
    """Return the classes, and the class index of each sample (n,), -1 if unlabeled."""
    has_label, known = labels_of(y, unlabeled)
    classes, codes = np.unique(known, return_inverse=True)
    found = np.full(len(has_label), UNLABELED)
    found[has_label] = codes
    return classes, found
