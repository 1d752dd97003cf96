"""Splits of samples of which few have labels."""

import numpy as np
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils import column_or_1d

UNLABELED = -1


class SemiSupervisedSplit(BaseCrossValidator):
    """Split samples with labels, and train on those without in every fold.

    Use it as ``cv`` of :func:`~sklearn.model_selection.cross_val_score` or
    :class:`~sklearn.model_selection.GridSearchCV` where most samples have no label, y == -1: what
    learns without labels sees them all, but for the labelled ones of the fold's test part, on which
    scores are computed. The classifier that follows has to know that -1 is no class: as
    ``FineTuneClassifier``, ``LinearProbe(unlabeled=-1)``, ``KNNProbe(unlabeled=-1)`` and
    scikit-learn's SelfTrainingClassifier do.

    Parameters
    ----------
    cv : int, cross-validation generator or iterable, default=5
        How the samples with labels are split; an int is the number of stratified folds.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ssl.model_selection import SemiSupervisedSplit
    >>> y = np.array([-1, 0, -1, 0, 1, 1])
    >>> for train, test in SemiSupervisedSplit(2).split(y, y):
    ...     print(train, test)
    [0 2 3 5] [1 4]
    [0 1 2 4] [3 5]
    """

    def __init__(self, cv=5):
        self.cv = cv

    def split(self, X, y, groups=None):
        """Give the indices of training and test samples of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples. Only their number counts.

        y : array-like of shape (n_samples,)
            Classes as whole numbers, -1 for samples without a label.

        groups : array-like of shape (n_samples,), default=None
            What ``cv`` shall keep together.

        Yields
        ------
        train : ndarray
            Indices of the samples without a label, and of those with one in the training part.

        test : ndarray
            Indices of the samples with a label in the test part.
        """
        y = column_or_1d(y)
        has_label = y != UNLABELED
        labeled, unlabeled = np.flatnonzero(has_label), np.flatnonzero(~has_label)
        if not len(labeled):
            raise ValueError("SemiSupervisedSplit needs samples with a label. All of y is -1.")
        groups = None if groups is None else column_or_1d(groups)[labeled]
        splitter = check_cv(self.cv, y[labeled], classifier=True)
        for train, test in splitter.split(labeled, y[labeled], groups):
            yield np.sort(np.concatenate([labeled[train], unlabeled])), labeled[test]

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X : object
            Passed on to ``cv``.

        y : array-like of shape (n_samples,)
            Classes, -1 for samples without a label; needed by some splitters alone.

        groups : array-like of shape (n_samples,), default=None
            Passed on to ``cv``.

        Returns
        -------
        n_splits : int
            The number of folds.
        """
        if y is not None:
            y = column_or_1d(y)
            labeled = y != UNLABELED
            y, groups = y[labeled], None if groups is None else column_or_1d(groups)[labeled]
        return check_cv(self.cv, y, classifier=y is not None).get_n_splits(y, y, groups)
