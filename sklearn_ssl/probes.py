"""Classifiers that judge an embedding: a linear model, and votes of the nearest neighbours."""

import math
from numbers import Integral, Real

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sklearn_ssl._sklearn import Interval, StrOptions, _fit_context
from sklearn_ssl.engine import resolve_device, torch_defaults
from sklearn_ssl.neighbors import nearest, votes
from sklearn_ssl.telling import tell

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # what C="auto" tries
FALLBACK = 1e-2  # where a class has a single sample, so that none can be held out
FOLDS, HELD_OUT, MANY = 5, 0.2, 5000  # from so many samples on one part is held out once


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Judge an embedding by a linear model: logistic regression on standardised features.

    Use it to see what an embedding holds, beside scikit-learn's LogisticRegression, whose loss it
    minimises: it standardises the features, chooses C by itself, among the training samples alone,
    and computes on a GPU where there is one.

    Parameters
    ----------
    C : float or "auto", default="auto"
        Inverse strength of the penalty on the squared weights, above 0, as in LogisticRegression.
        "auto" is the one of .0001, .001, .01, .1, 1 and 10 with the best accuracy on training
        samples that are held out: in five folds, or, from 5,000 samples on, a fifth of them once.
        Where a class has fewer than five samples there are as few folds, and with one it is .01.

    max_iter : int, default=500
        Largest number of steps of L-BFGS for a value of C.

    tol : float, default=0.0001
        It stops where no derivative of the mean loss is larger, along directions in which the
        features are uncorrelated and the loss is about equally curved.

    unlabeled : object, default=None
        What y has for samples without a label, as -1, which are left out in fit. None leaves out
        none.

    device : str or torch.device, default="auto"
        Where to compute: "cpu", "cuda" or "cuda:1". "auto" is the GPU where there is one.

    random_state : int, RandomState instance or None, default=None
        Seed of the choice of the samples that are held out. An int makes fit reproducible.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.

    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) of two classes
        Weights of the features as they are in X, not standardised.

    intercept_ : ndarray of shape (n_classes,) or (1,)
        What is added.

    C_ : float
        The value of C that was used.

    scores_ : dict of float to float
        Accuracy on held-out samples of each value of C that was tried.

    n_iter_ : int
        Steps that the last minimisation took.

    n_features_in_ : int
        Number of features in X.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X is a DataFrame whose column names are all strings.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import LinearProbe
    >>> X, y = load_digits(return_X_y=True)
    >>> probe = LinearProbe(C=0.1).fit(X[:1000], y[:1000])
    >>> probe.score(X[1000:], y[1000:]) > 0.9
    True
    """

    _parameter_constraints = {
        "C": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "unlabeled": "no_validation",
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(
        self, *, C="auto", max_iter=500, tol=1e-4, unlabeled=None, device="auto", random_state=None
    ):
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.unlabeled = unlabeled
        self.device = device
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        y : array-like of shape (n_samples,)
            Classes, two or more.

        Returns
        -------
        self : object
            The fitted probe.
        """
        device = resolve_device(self.device)
        X, y = _labeled(self, X, y, dtype=[np.float32, np.float64])
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"LinearProbe needs two classes or more to tell apart. y has one class: "
                f"{classes[0]}."
            )
        mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
        # Of what is all the same, but for rounding, nothing is told.
        scale[scale <= 10 * np.finfo(X.dtype).eps * np.abs(mean)] = np.inf
        Z = torch.from_numpy(((X - mean) / scale).astype(X.dtype)).to(device)
        codes = torch.from_numpy(codes).to(device)
        with torch_defaults(device):
            Z, axes = _uncorrelated(Z)
        # Between two steps of torch's threads those of BLAS would wait for the cores, and they for
        # them: 27 times the seconds, on two cores.
        with torch_defaults(device), threadpool_limits(1, user_api="blas"):
            C, scores = self._chosen(Z, codes, len(classes))
            weights, n_iter = self._minimised(Z, codes, len(classes), C)
        full = weights[:, :-1] @ axes.double().cpu().numpy()
        weights = np.concatenate([full, weights[:, -1:]], axis=1)
        if n_iter >= self.max_iter:
            tell(
                f"LinearProbe stopped at max_iter={self.max_iter}, before its weights had settled. "
                "Raise max_iter or tol, or lower C.",
                ConvergenceWarning,
            )
        self.classes_, self.C_, self.scores_, self.n_iter_ = classes, C, scores, n_iter
        self.coef_ = weights[:, :-1] / scale
        self.intercept_ = weights[:, -1] - self.coef_ @ mean
        return self

    def _chosen(self, Z, codes, n_classes):
        """Return C, and the accuracy of each value that was tried."""
        if self.C != "auto":
            return float(self.C), {}
        labels, smallest = codes.cpu().numpy(), int(codes.bincount().min())
        rng = check_random_state(self.random_state)
        if smallest < 2:
            return FALLBACK, {}
        if len(Z) >= MANY:
            splitter = StratifiedShuffleSplit(1, test_size=HELD_OUT, random_state=rng)
        else:
            splitter = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=rng)
        right, n_judged = dict.fromkeys(GRID, 0), 0
        for train, held_out in splitter.split(labels, labels):
            train, held_out = (torch.from_numpy(i).to(Z.device) for i in (train, held_out))
            weights, n_judged = None, n_judged + len(held_out)
            for C in GRID:  # each starts where the one before ended
                weights, _ = self._minimised(Z[train], codes[train], n_classes, C, weights)
                scores = _scores(Z[held_out], torch.from_numpy(weights).to(Z))
                told = scores.argmax(dim=1) if n_classes > 2 else scores[:, 0] > 0
                right[C] += int((told == codes[held_out]).sum())
        accuracies = {C: count / n_judged for C, count in right.items()}
        return max(accuracies, key=accuracies.get), accuracies  # of equal ones the smallest

    def _minimised(self, Z, codes, n_classes, C, start=None):
        """Return weights and intercepts, (n_outputs, n_features + 1), and the number of steps."""
        n_outputs, penalty = n_classes if n_classes > 2 else 1, 1 / (C * len(Z))
        shape = n_outputs, Z.shape[1] + 1
        targets = codes if n_outputs > 1 else codes.to(Z)
        # Steps along features that are about as steep as each other: by the second derivatives of
        # the loss at equal probabilities, whatever the features' spread.
        curvature = (n_classes - 1) / n_classes**2 * Z.square().mean(dim=0) + penalty
        steps = np.append(curvature.double().cpu().numpy() ** -0.5, 1.0)

        def loss_and_gradient(flat):
            weights = torch.from_numpy(flat.reshape(shape) * steps).to(Z).requires_grad_()
            scores = _scores(Z, weights)
            loss = (
                cross_entropy(scores, targets)
                if n_outputs > 1
                else binary_cross_entropy_with_logits(scores[:, 0], targets)
            )
            loss = loss + penalty / 2 * weights[:, :-1].square().sum()
            loss.backward()
            return loss.item(), (weights.grad.double().cpu().numpy() * steps).ravel()

        flat = np.zeros(math.prod(shape)) if start is None else (start / steps).ravel()
        with torch.enable_grad():
            found = minimize(
                loss_and_gradient,
                flat,
                method="L-BFGS-B",
                jac=True,
                options={
                    "maxiter": self.max_iter,
                    "gtol": self.tol,
                    "ftol": 64 * np.finfo(np.float64).eps,
                },
            )
        return found.x.reshape(shape) * steps, found.nit

    def decision_function(self, X):
        """Return the scores of the classes: the logarithms of their odds, or their logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) of two classes
            Those of the second class, of two.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        scores = X @ self.coef_.T + self.intercept_
        return scores if len(self.classes_) > 2 else scores[:, 0]

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return probabilities(self.decision_function(X))

    def predict(self, X):
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Classes.
        """
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0).astype(int)]


class KNNProbe(ClassifierMixin, BaseEstimator):
    """Judge an embedding by votes of the most similar training samples.

    Use it to see what an embedding holds without training anything: it has nothing to tune, and
    shows whether similar samples are of one class. Similarity is the cosine, a vote weighs
    exp(similarity / temperature), as is usual for self-supervised learning.

    Parameters
    ----------
    n_neighbors : int, default=20
        Number of samples that vote; all training samples, where they are fewer.

    temperature : float, default=0.07
        Divides the similarities, above 0. Lower values make the most similar count more.

    unlabeled : object, default=None
        What y has for samples without a label, as -1, which are left out in fit. None leaves out
        none.

    device : str or torch.device, default="auto"
        Where to compute: "cpu", "cuda" or "cuda:1". "auto" is the GPU where there is one.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.

    n_features_in_ : int
        Number of features in X.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X is a DataFrame whose column names are all strings.

    References
    ----------
    `Wu et al. "Unsupervised feature learning via non-parametric instance discrimination",
    CVPR 2018 <https://arxiv.org/abs/1805.01978>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import KNNProbe
    >>> X, y = load_digits(return_X_y=True)
    >>> KNNProbe().fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    """

    _parameter_constraints = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "unlabeled": "no_validation",
        "device": [str, torch.device],
    }

    def __init__(self, *, n_neighbors=20, temperature=0.07, unlabeled=None, device="auto"):
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.unlabeled = unlabeled
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Remember the training samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        y : array-like of shape (n_samples,)
            Classes.

        Returns
        -------
        self : object
            The fitted probe.
        """
        resolve_device(self.device)
        X, y = _labeled(self, X, y, dtype=np.float32)
        self.classes_, self._codes = np.unique(y, return_inverse=True)
        self._gallery = X
        return self

    def predict_proba(self, X):
        """Return the share of the votes for each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        k = min(self.n_neighbors, len(self._gallery))
        found, similarity = nearest(X, self._gallery, k, device=resolve_device(self.device))
        return votes(self._codes[found], similarity, len(self.classes_), self.temperature)

    def predict(self, X):
        """Return the class with most votes for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Classes.
        """
        shares = self.predict_proba(X)
        return self.classes_[shares.argmax(axis=1)]


def _uncorrelated(Z):
    """Return features turned so that they are uncorrelated, and the axes, (r, n_features), for it.

    A turn changes nothing of what is minimised. Of few samples r is their number.
    """
    if len(Z) < Z.shape[1]:
        left, lengths, axes = torch.linalg.svd(Z, full_matrices=False)
        return left * lengths, axes
    axes = torch.linalg.eigh(Z.T @ Z).eigenvectors.T
    return Z @ axes.T, axes


def probabilities(scores):
    """Return the probabilities of the classes, (n, n_classes), by scores of a decision function."""
    scores = torch.from_numpy(scores).double()
    if scores.ndim == 1:
        return torch.stack([-scores, scores], dim=1).sigmoid().numpy()
    return scores.softmax(dim=1).numpy()


def _scores(Z, weights):
    """Return the scores of standardised features, by weights whose last column is added."""
    return torch.addmm(weights[:, -1], Z, weights[:, :-1].T)


def _labeled(probe, X, y, dtype):
    """Return samples and classes, checked, of those that have a label."""
    X, y = validate_data(probe, X, y, dtype=dtype)
    check_classification_targets(y)
    if probe.unlabeled is None:
        return X, y
    has_label = y != probe.unlabeled
    if not has_label.any():
        raise ValueError(f"All of y is unlabeled={probe.unlabeled!r}: there is nothing to learn.")
    return X[has_label], y[has_label]
