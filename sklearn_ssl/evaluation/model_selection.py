"""Splits of samples of which few have labels."""

import numpy as np
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils import column_or_1d

from sklearn_ssl.data.labels import check_some, labels_of


class SemiSupervisedSplit(BaseCrossValidator):
    """Split samples with labels, and train on those without in every fold.

    Use it as ``cv`` of :func:`~sklearn.model_selection.cross_val_score` or
    :class:`~sklearn.model_selection.GridSearchCV` where most samples have no label: what learns
    without labels sees them all, but for the labeled ones of the fold's test part, on which scores
    are computed. The classifier that follows has to leave unlabeled samples out, as
    ``FineTuneClassifier``, ``LinearProbe``, ``KNNProbe`` and scikit-learn's SelfTrainingClassifier
    do.

    Parameters
    ----------
    cv : int, cross-validation generator or iterable, default=5
        How the samples with labels are split; an int is the number of stratified folds.

    unlabeled : object, default="auto"
        What y has for samples without a label. "auto" is -1, scikit-learn's convention, unless -1
        and 1 are all that y holds, which are two classes then. Missing values, None, NaN and NA,
        count as unlabeled as well. None says that all samples have a label.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ssl import SemiSupervisedSplit
    >>> y = np.array([-1, 0, -1, 0, 1, 1])
    >>> for train, test in SemiSupervisedSplit(2).split(y, y):
    ...     print(train, test)
    [0 2 3 5] [1 4]
    [0 1 2 4] [3 5]
    """

    def __init__(self, cv=5, *, unlabeled="auto"):
        self.cv = cv
        self.unlabeled = unlabeled

    def split(self, X, y, groups=None):
        """Give the indices of training and test samples of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples. Only their number counts.

        y : array-like of shape (n_samples,)
            Classes, and -1, or what ``unlabeled`` is, for samples without a label.

        groups : array-like of shape (n_samples,), default=None
            What ``cv`` shall keep together.

        Yields
        ------
        train : ndarray
            Indices of the samples without a label, and of those with one in the training part.

        test : ndarray
            Indices of the samples with a label in the test part.
        """
        has_label, known = labels_of(y, self.unlabeled)
        check_some(has_label, self.unlabeled, "SemiSupervisedSplit")
        labeled, unlabeled = np.flatnonzero(has_label), np.flatnonzero(~has_label)
        groups = None if groups is None else column_or_1d(groups)[labeled]
        splitter = check_cv(self.cv, known, classifier=True)
        for train, test in splitter.split(labeled, known, groups):
            yield np.sort(np.concatenate([labeled[train], unlabeled])), labeled[test]

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X : object
            Passed on to ``cv``.

        y : array-like of shape (n_samples,)
            Classes, as in ``split``; needed by some splitters alone.

        groups : array-like of shape (n_samples,), default=None
            Passed on to ``cv``.

        Returns
        -------
        n_splits : int
            The number of folds.
        """
        if y is not None:
            has_label, y = labels_of(y, self.unlabeled)
            groups = None if groups is None else column_or_1d(groups)[has_label]
        return check_cv(self.cv, y, classifier=y is not None).get_n_splits(y, y, groups)
