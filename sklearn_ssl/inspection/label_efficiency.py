"""Scores over the number of labels."""

from sklearn_ssl.evaluation.comparison import compare


class LabelEfficiencyDisplay:
    """Curves of a score over the number of labels per class, of estimators and of baselines.

    Use it to see how many labels learning without labels saves: where the curve of an estimator
    reaches what raw values need ten times as many for.

    Parameters
    ----------
    comparison : Comparison
        What :func:`~sklearn_ssl.compare` gave for several ``n_labels``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.

    figure_ : matplotlib Figure
        Its figure.

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
        """Compare estimators with few labels, and show the curves.

        Parameters
        ----------
        estimator : transformer, list of transformers, or dict of them by name
            What is compared.

        X : array-like, list or DataFrame
            Samples.

        y : array-like of shape (n_samples,)
            Classes, and -1, or what ``unlabeled`` is, for samples without a label.

        n_labels : sequence of int, default=(1, 10, 100)
            Numbers of labels per class.

        cv : int, cross-validation generator or iterable, default=5
            The folds. An int is the number of stratified folds.

        probe : classifier, default=None
            What judges an embedding. None is :class:`~sklearn_ssl.LinearProbe`.

        scoring : str or callable, default=None
            How the probe is judged. None is the probe's own score, accuracy.

        transductive : bool, default=False
            Whether estimators learn from the test part as well, without labels.

        unlabeled : object, default="auto"
            What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y
            holds, which are two classes then. Missing values, None, NaN and NA, count as unlabeled
            as well. None says that all samples have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the labels that are drawn, of the probe and of random encoders.

        verbose : int, default=0
            1 prints each row of a fold when it is done.

        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : LabelEfficiencyDisplay
            The display, with the comparison as attribute.
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
            Where to draw. None makes a new figure.

        Returns
        -------
        self : LabelEfficiencyDisplay
            The display, with the drawn parts as attributes.
        """
        drawn = self.comparison.plot(ax)
        self.ax_, self.figure_ = drawn.ax_, drawn.figure_
        return self
