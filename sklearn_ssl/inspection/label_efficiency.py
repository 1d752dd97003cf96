"""Plot of scores by the number of labels."""

from sklearn_ssl.evaluation.comparison import compare


class LabelEfficiencyDisplay:
    """Plot of scores by the number of labels per class, of estimators and baselines.

    Use it to see how many labels self-supervised learning saves, compared with raw values and other
    baselines.

    Parameters
    ----------
    comparison : Comparison
        Result of :func:`~sklearn_ssl.compare` for several ``n_labels``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn into.

    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import LinearProbe, PatchKMeansTransformer
    >>> from sklearn_ssl.inspection import LabelEfficiencyDisplay
    >>> X, y = load_digits().images[:300], load_digits().target[:300]
    >>> patches = PatchKMeansTransformer(n_centroids=20, patch_size=4, random_state=0)
    >>> display = LabelEfficiencyDisplay.from_estimator(
    ...     patches, X, y, n_labels=(1, 5), cv=2, probe=LinearProbe(C=0.1), ax=Figure().subplots()
    ... )
    >>> len(display.comparison.rows)
    6
    """

    def __init__(self, *, comparison):
        self.comparison = comparison

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, n_labels=(1, 10, 100), cv=5, probe=None, scoring=None,
        transductive=False, unlabeled="auto", random_state=None, verbose=0, ax=None
    ):  # fmt: skip
        """Compare estimators with few labels and plot the scores.

        Parameters
        ----------
        estimator : transformer, list of transformers, or dict of them by name
            Estimators to compare.

        X : array-like, list or DataFrame
            Samples.

        y : array-like of shape (n_samples,)
            Class labels, with -1, or ``unlabeled``, for samples without a label.

        n_labels : sequence of int, default=(1, 10, 100)
            Numbers of labels per class.

        cv : int, cross-validation generator or iterable, default=5
            Cross-validation. An int is the number of stratified folds.

        probe : classifier, default=None
            Classifier on the embedding. None is :class:`~sklearn_ssl.LinearProbe`.

        scoring : str or callable, default=None
            Scorer of the probe. None is its ``score``, accuracy.

        transductive : bool, default=False
            Whether estimators also learn from the test set, without labels.

        unlabeled : object, default="auto"
            Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which
            are two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this
            is None: then all samples must have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the choice of labels, of the probe and of random encoders.

        verbose : int, default=0
            1 prints each result of a fold.

        ax : matplotlib Axes, default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        display : LabelEfficiencyDisplay
            The display, with the comparison as an attribute.
        """
        comparison = compare(
            estimator,
            X,
            y,
            cv=cv,
            probe=probe,
            scoring=scoring,
            n_labels=n_labels,
            transductive=transductive,
            unlabeled=unlabeled,
            random_state=random_state,
            verbose=verbose,
        )
        return cls(comparison=comparison).plot(ax)

    def plot(self, ax=None):
        """Draw a curve for each estimator and each baseline.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        self : LabelEfficiencyDisplay
            The display, with the artists as attributes.
        """
        drawn = self.comparison.plot(ax)
        self.ax_, self.figure_ = drawn.ax_, drawn.figure_
        return self
