"""Cross-validation with few labels."""

import numpy as np
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils import column_or_1d

from sklearn_ssl.data.labels import check_some, labels_of


class SemiSupervisedSplit(BaseCrossValidator):
    """Cross-validator for semi-supervised learning: unlabeled samples are in every training set.

    Use it as ``cv`` of :func:`~sklearn.model_selection.cross_val_score` or
    :class:`~sklearn.model_selection.GridSearchCV` if most samples are unlabeled. Labeled samples
    are split into training and test sets; unlabeled ones are only used for training. The final
    classifier has to ignore unlabeled samples, like ``FineTuneClassifier``, ``LinearProbe``,
    ``KNNProbe`` and scikit-learn's SelfTrainingClassifier.

    Parameters
    ----------
    cv : int, cross-validation generator or iterable, default=5
        Splitting strategy of the labeled samples. An int is the number of stratified folds.

    unlabeled : object, default="auto"
        Value of y for unlabeled samples. "auto" is -1, scikit-learn's convention, unless y contains
        only -1 and 1, which are then two classes. Missing values (None, NaN and NA) are unlabeled
        as well. None means that all samples are labeled.

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
        """Generate indices to split data into training and test set.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples. Only their number is used.

        y : array-like of shape (n_samples,)
            Class labels, and -1, or the value of ``unlabeled``, for unlabeled samples.

        groups : array-like of shape (n_samples,), default=None
            Group labels of the samples, for ``cv``.

        Yields
        ------
        train : ndarray
            Indices of all unlabeled samples, and of the labeled samples in the training set.

        test : ndarray
            Indices of the labeled samples in the test set.
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
            Passed to ``cv``.

        y : array-like of shape (n_samples,)
            Class labels, as in ``split``. Only needed by some splitters.

        groups : array-like of shape (n_samples,), default=None
            Passed to ``cv``.

        Returns
        -------
        n_splits : int
            Number of splits.
        """
        if y is not None:
            has_label, y = labels_of(y, self.unlabeled)
            groups = None if groups is None else column_or_1d(groups)[has_label]
        return check_cv(self.cv, y, classifier=y is not None).get_n_splits(y, y, groups)
