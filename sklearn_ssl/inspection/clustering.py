"""Plot of a clustering during training."""

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import check_cv, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ssl.data.labels import check_some, labels_of
from sklearn_ssl.inference.batches import transformed


class ClusteringDisplay:
    """Plot of a clustering during training: its stability, and its agreement with classes.

    Use it to see whether :class:`~sklearn_ssl.DeepClusterEstimator` was trained for long enough,
    and to choose the number of clusters. The curves are those of the DeepCluster paper. Agreement
    is measured by normalized mutual information (NMI): 0 for independent clusterings, 1 for
    clusterings that are equal up to the order of the clusters.

    Parameters
    ----------
    nmi_reassignment : ndarray of shape (n_epochs,)
        NMI between the clusters before and after each epoch. It is higher after the last epoch, as
        DeepClusterEstimator initializes the final clustering with the previous clusters.

    nmi_labels : ndarray of shape (n_epochs + 1,), default=None
        NMI between clusters and true classes, before the first epoch and after each one.

    n_clusters : ndarray of shape (n_settings,), default=None
        Numbers of clusters that are compared.

    scores : ndarray of shape (n_settings,), default=None
        Mean accuracy of a linear classifier on the embedding, for each number of clusters.

    scores_std : ndarray of shape (n_settings,), default=None
        Standard deviation of the accuracy over the folds, drawn as a band.

    nmi_n_clusters : ndarray of shape (n_settings,), default=None
        NMI between the final clusters and the true classes, for each number of clusters.

    Attributes
    ----------
    ax_ : ndarray of shape (n_panels,)
        The axes that were drawn into: agreement with the classes, agreement with the previous
        epoch, and influence of the number of clusters, if available.

    figure_ : matplotlib Figure
        The figure of the first axes.

    lines_ : list of matplotlib Line2D
        The curves, ordered by panel; in the last panel accuracy precedes NMI.

    References
    ----------
    `Caron et al. "Deep clustering for unsupervised learning of visual features", ECCV 2018
    <https://arxiv.org/abs/1807.05520>`_

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DeepClusterEstimator
    >>> from sklearn_ssl.inspection import ClusteringDisplay
    >>> digits = load_digits()
    >>> X, y = digits.images[:100], digits.target[:100]
    >>> model = DeepClusterEstimator(n_clusters=10, max_epochs=2, random_state=0).fit(X)
    >>> axes = Figure().subplots(1, 2)  # by default, a new figure
    >>> display = ClusteringDisplay.from_estimator(model, X, y, ax=axes)
    >>> display.nmi_labels.shape, display.nmi_reassignment.shape
    ((3,), (2,))
    """

    def __init__(
        self,
        *,
        nmi_reassignment,
        nmi_labels=None,
        n_clusters=None,
        scores=None,
        scores_std=None,
        nmi_n_clusters=None,
    ):
        self.nmi_reassignment = nmi_reassignment
        self.nmi_labels = nmi_labels
        self.n_clusters = n_clusters
        self.scores = scores
        self.scores_std = scores_std
        self.nmi_n_clusters = nmi_n_clusters

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, n_clusters=None, cv=5, unlabeled="auto", ax=None
    ):
        """Compute the curves of an estimator and plot them.

        Parameters
        ----------
        estimator : DeepClusterEstimator
            If it is fitted, it is used as is; otherwise a clone is fitted on X.

        X : array-like or tensor
            The samples that the estimator was fitted on, in the same order, or the samples to fit
            a clone on.

        y : array-like of shape (n_samples,), default=None
            True classes, which are not used in training. With None, only the agreement with the
            previous epoch is shown. Samples without a label and images that could not be read are
            left out of comparisons with the classes.

        n_clusters : sequence of int, default=None
            Numbers of clusters to compare, sorted and without duplicates. A clone is fitted on X
            for each of them, which takes as many trainings.

        cv : int, cross-validation generator or iterable, default=5
            Cross-validation of the linear classifier on the embedding, for each number of clusters.
            An int is the number of stratified folds. The estimator learns from all of X, without
            labels.

        unlabeled : object, default="auto"
            Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which
            are two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this
            is None: then all samples must have a label.

        ax : array-like of matplotlib Axes, default=None
            Axes to draw into, one for each panel; see ``plot``.

        Returns
        -------
        display : ClusteringDisplay
            The display, with the computed curves as attributes.
        """
        import matplotlib  # noqa: F401  # raises before training if it is missing

        if y is None and n_clusters is not None:
            raise ValueError("n_clusters compares clusters with classes and needs y. Pass labels.")
        if y is not None and len(y) != len(X):
            raise ValueError(f"X has {len(X)} samples, y has {len(y)}. Pass one label per sample.")
        if y is not None:
            has_label, known = labels_of(y, unlabeled)
            check_some(has_label, unlabeled, cls.__name__)
        _check_axes(ax, 1 + (y is not None) + (n_clusters is not None))
        fitted = estimator if hasattr(estimator, "assignments_") else clone(estimator).fit(X)
        n_samples = fitted.assignments_.shape[1]
        if n_samples != len(X):
            raise ValueError(
                f"The estimator was last fitted on {n_samples} samples, X has {len(X)}. Pass the "
                "samples it was fitted on, or a clone of the estimator, which is fitted on X."
            )
        curves = {"nmi_reassignment": _of_all_epochs(fitted.nmi_curve_, fitted.n_iter_)}
        if y is not None:
            used = has_label & (fitted.assignments_[0] >= 0)  # -1 for images that were not read
            known = known[used[has_label]]
            nmi_labels = [
                normalized_mutual_info_score(known, row[used]) for row in fitted.assignments_
            ]
            curves["nmi_labels"] = _of_all_epochs(nmi_labels, fitted.n_iter_ + 1)
        if n_clusters is not None:
            curves["n_clusters"] = np.unique(n_clusters)
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            cv = check_cv(cv, known, classifier=True)  # the same folds for all numbers
            scores, nmi = [], []
            for k in curves["n_clusters"].tolist():
                model = clone(estimator).set_params(n_clusters=k).fit(X)
                embedding = transformed(model, X)[used]
                scores.append(cross_val_score(probe, embedding, known, cv=cv))
                nmi.append(normalized_mutual_info_score(known, model.labels_[used]))
            curves["scores"], curves["scores_std"] = np.mean(scores, axis=1), np.std(scores, axis=1)
            curves["nmi_n_clusters"] = np.array(nmi)
        return cls(**curves).plot(ax)

    def plot(self, ax=None):
        """Draw a panel for each kind of curves that is available.

        Parameters
        ----------
        ax : array-like of matplotlib Axes, default=None
            Axes to draw into: for ``nmi_labels``, if not None, for ``nmi_reassignment``, and for
            ``n_clusters``, if not None. None creates a new figure.

        Returns
        -------
        self : ClusteringDisplay
            The display, with the artists as attributes.
        """
        import matplotlib.pyplot as plt

        n_panels = 1 + (self.nmi_labels is not None) + (self.n_clusters is not None)
        axes = _check_axes(ax, n_panels)
        if axes is None:
            size = (4 * n_panels, 3.2)
            axes = np.ravel(plt.subplots(1, n_panels, figsize=size, layout="constrained")[1])
        self.ax_, self.figure_, self.lines_ = axes, axes[0].figure, []
        panels = iter(axes)
        for title, curve, first_epoch in (
            ("Clusters and classes", self.nmi_labels, 0),
            ("Clusters and those of the previous epoch", self.nmi_reassignment, 1),
        ):
            if curve is not None:
                panel = next(panels)
                self.lines_ += panel.plot(np.arange(len(curve)) + first_epoch, curve, ".-")
                panel.set(title=title, xlabel="epochs trained", ylabel="NMI")
                panel.locator_params(axis="x", integer=True)
        if self.n_clusters is not None:
            panel, k = next(panels), np.asarray(self.n_clusters)
            if self.scores is not None:
                self.lines_ += panel.plot(k, self.scores, ".-", label="accuracy, linear classifier")
                if self.scores_std is not None:
                    mean, std = np.asarray(self.scores), np.asarray(self.scores_std)
                    panel.fill_between(k, mean - std, mean + std, alpha=0.3, linewidth=0)
            if self.nmi_n_clusters is not None:
                self.lines_ += panel.plot(k, self.nmi_n_clusters, ".-", label="NMI with classes")
            panel.set(title="Influence of the number of clusters", xlabel="n_clusters")
            panel.set_xscale("log")
            panel.set_xticks(k, labels=k)
            panel.minorticks_off()
            panel.legend()
        return self


def _check_axes(ax, n_panels):
    """Return axes as a flat array, or None; raise if their number is not that of panels."""
    axes = None if ax is None else np.ravel(ax)
    if axes is not None and len(axes) != n_panels:
        raise ValueError(
            f"ax must contain one axes per panel, {n_panels}. Got {len(axes)}. None creates a new "
            "figure."
        )
    return axes


def _of_all_epochs(curve, n_values):
    """Return a curve padded with nan for epochs on another number of samples."""
    return np.concatenate([np.full(n_values - len(curve), np.nan), curve])
