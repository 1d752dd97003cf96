"""Probes, which evaluate an embedding: a linear classifier and k-nearest neighbors."""

import math
from numbers import Integral, Real

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sklearn_ssl._runtime.decompositions import symmetric_eigh
from sklearn_ssl._runtime.device import full_precision, resolve_device
from sklearn_ssl._runtime.isolation import isolated
from sklearn_ssl._runtime.sklearn_private import Interval, StrOptions, _fit_context
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.data.labels import (
    PartlyLabeledClassifier,
    check_readable,
    check_some,
    labels_of,
    readable_rows,
    tell_of_unreadable,
    with_unlabeled,
)
from sklearn_ssl.metrics.nearest import nearest, votes
from sklearn_ssl.parameters import suggesting

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # for C="auto"
FALLBACK = 1e-2  # C="auto" if a class has a single sample, so that cross-validation is impossible
FOLDS, HELD_OUT, MANY = 5, 0.2, 5000  # a single split from MANY samples on


@suggesting
class LinearProbe(PartlyLabeledClassifier, BaseEstimator):
    """Linear probe: evaluate an embedding by logistic regression on standardized features.

    Use it to measure how well classes are linearly separable in an embedding. Compared with
    scikit-learn's LogisticRegression, which has the same loss, it standardizes the features,
    selects C by cross-validation on the training samples, and runs on a GPU if one is available.

    Parameters
    ----------
    C : float or "auto", default="auto"
        Inverse of the L2 regularization strength, above 0, as in LogisticRegression. "auto" selects
        the value of 0.0001, 0.001, 0.01, 0.1, 1 and 10 with the best validation accuracy, in 5-fold
        cross-validation or, from 5000 samples on, on a held-out fifth of the training samples.
        Duplicates are in the same fold. If a class has fewer than five samples, there are as many
        folds; with a single sample C is 0.01.

    max_iter : int, default=500
        Maximum number of iterations of L-BFGS for each value of C.

    tol : float, default=0.0001
        Tolerance for stopping: the largest absolute gradient of the mean loss, with respect to
        the weights of decorrelated and rescaled features.

    unlabeled : object, default="auto"
        Value of y for unlabeled samples, which are ignored in ``fit`` and ``score``. "auto" is -1,
        scikit-learn's convention, unless y contains only -1 and 1, which are then two classes.
        Missing values (None, NaN and NA) are unlabeled as well. None means that all samples are
        labeled.

    class_weight : dict or "balanced", default=None
        Weights of the classes in the loss. "balanced" gives all classes the same total weight.

    device : str or torch.device, default="auto"
        Device to compute on: "cpu", "cuda" or "cuda:1". "auto" is the GPU if one is available.

    random_state : int, RandomState instance or None, default=None
        Seed of the validation split. Pass an int for reproducible results.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        Coefficients of the features of X, without standardization.

    intercept_ : ndarray of shape (n_classes,), or (1,) for two classes
        Intercept.

    C_ : float
        Value of C that was used.

    scores_ : dict of float to float
        Validation accuracy of each value of C; empty if none was selected.

    n_iter_ : int
        Number of iterations of L-BFGS for ``C_``.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X is a DataFrame whose column names are
        all strings.

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
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        C="auto",
        max_iter=500,
        tol=1e-4,
        unlabeled="auto",
        class_weight=None,
        device="auto",
        random_state=None,
    ):
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.unlabeled = unlabeled
        self.class_weight = class_weight
        self.device = device
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    @np.errstate(under="ignore")
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding. Rows that are NaN in every feature (unreadable images) are ignored.

        y : array-like of shape (n_samples,)
            Class labels of at least two classes.

        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights in the loss and in the standardization of features. None is uniform.

        Returns
        -------
        self : object
            Fitted probe.
        """
        device = resolve_device(self.device)
        X, y, weights = _labeled(self, X, y, sample_weight, dtype=[np.float32, np.float64])
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"LinearProbe needs samples of at least two classes. y has one class: {classes[0]}."
            )
        total = weights.sum()
        mean = weights @ X.astype(np.float64) / total
        scale = np.sqrt(weights @ np.square(X - mean) / total)
        # Constant features, up to rounding error, are ignored.
        scale[scale <= 10 * np.finfo(X.dtype).eps * np.abs(mean)] = np.inf
        of_classes = compute_class_weight(
            self.class_weight, classes=classes, y=y, sample_weight=weights
        )
        # Threads of BLAS and of torch would compete for the cores, which is many times slower.
        threads = threadpool_limits(1, user_api="blas")
        with isolated(device), full_precision(device), threads:
            Z = torch.from_numpy(((X - mean) / scale).astype(X.dtype)).to(device)
            labels = torch.from_numpy(codes).to(device)
            Z, axes = _uncorrelated(Z, torch.from_numpy(weights).to(device))
            shares = torch.from_numpy(weights * of_classes[codes]).to(Z)
            groups = _equal_rows(X, weights)
            C, scores = self._chosen(Z, labels, len(classes), shares, groups, weights)
            found, n_iter = self._minimized(Z, labels, len(classes), C, shares)
        full = found[:, :-1] @ axes.double().cpu().numpy()
        found = np.concatenate([full, found[:, -1:]], axis=1)
        if n_iter >= self.max_iter:
            tell(
                f"LinearProbe reached max_iter={self.max_iter} without convergence. Increase "
                "max_iter or tol, or decrease C.",
                ConvergenceWarning,
            )
        self.classes_, self.C_, self.scores_, self.n_iter_ = classes, C, scores, n_iter
        self.coef_ = found[:, :-1] / scale
        self.intercept_ = found[:, -1] - self.coef_ @ mean
        return self

    def _chosen(self, Z, codes, n_classes, shares, groups, weights):
        """Return C, and the validation accuracy of each value.

        ``shares`` are sample weights in the loss, ``weights`` those in the accuracy.
        """
        if self.C != "auto":
            return float(self.C), {}
        first, group = groups  # of duplicates, which are in the same fold
        labels = codes.cpu().numpy()[first]
        smallest = np.bincount(labels, minlength=n_classes).min()
        rng = check_random_state(self.random_state)
        if smallest < 2:
            return FALLBACK, {}
        if len(first) >= MANY:
            splitter = StratifiedShuffleSplit(1, test_size=HELD_OUT, random_state=rng)
        else:
            splitter = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=rng)
        right, n_held_out = dict.fromkeys(GRID, 0), 0
        weights = torch.from_numpy(weights).to(Z.device)
        for train, held_out in splitter.split(labels, labels):
            train, held_out = (
                torch.from_numpy(np.flatnonzero(np.isin(group, some))).to(Z.device)
                for some in (train, held_out)
            )
            found, n_held_out = None, n_held_out + weights[held_out].sum().item()
            for C in GRID:  # warm start from the previous one
                found, _ = self._minimized(
                    Z[train], codes[train], n_classes, C, shares[train], found
                )
                scores = _scores(Z[held_out], torch.from_numpy(found).to(Z))
                predicted = scores.argmax(dim=1) if n_classes > 2 else scores[:, 0] > 0
                right[C] += weights[held_out][predicted == codes[held_out]].sum().item()
        accuracies = {C: count / n_held_out for C, count in right.items()}
        return max(accuracies, key=accuracies.get), accuracies  # the smallest of equal ones

    def _minimized(self, Z, codes, n_classes, C, shares, start=None):
        """Return weights and intercepts, (n_outputs, n_features + 1), and the number of steps."""
        total = shares.sum().item()
        n_outputs, penalty = n_classes if n_classes > 2 else 1, 1 / (C * total)
        shares = shares / total
        shape = n_outputs, Z.shape[1] + 1
        targets = codes if n_outputs > 1 else codes.to(Z)
        # Diagonal preconditioner: second derivatives of the loss at equal probabilities.
        curvature = (n_classes - 1) / n_classes**2 * (shares @ Z.square()) + penalty
        steps = np.append(curvature.double().cpu().numpy() ** -0.5, 1.0)

        def loss_and_gradient(flat):
            weights = torch.from_numpy(flat.reshape(shape) * steps).to(Z).requires_grad_()
            scores = _scores(Z, weights)
            losses = (
                cross_entropy(scores, targets, reduction="none")
                if n_outputs > 1
                else binary_cross_entropy_with_logits(scores[:, 0], targets, reduction="none")
            )
            loss = shares @ losses + penalty / 2 * weights[:, :-1].square().sum()
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

    @np.errstate(under="ignore")
    def decision_function(self, X):
        """Return the logits of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Logits; for two classes the log-odds of the second one.
        """
        check_is_fitted(self)
        X = _checked(self, X, reset=False, dtype=[np.float32, np.float64])
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
            Class probabilities, in the order of ``classes_``.
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
            Predicted classes. Rows that are NaN in every feature get the value for unlabeled
            samples, or NaN if -1 is a class.
        """
        scores = self.decision_function(X)
        index = scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0).astype(int)
        wrong = np.isnan(scores.reshape(len(scores), -1)[:, 0])
        return with_unlabeled(self.classes_[index], wrong, self.unlabeled, self.classes_)


@suggesting
class KNNProbe(PartlyLabeledClassifier, BaseEstimator):
    """k-nearest neighbors probe: evaluate an embedding by weighted k-NN with cosine similarity.

    Use it to measure whether samples of the same class are similar in an embedding, without
    training or tuning. Neighbors are weighted by exp(similarity / temperature), as is usual in
    self-supervised learning.

    Parameters
    ----------
    n_neighbors : int, default=20
        Number of neighbors, at most the number of training samples.

    temperature : float, default=0.07
        Temperature of the weights, above 0. Lower values put more weight on the most similar
        neighbors.

    unlabeled : object, default="auto"
        Value of y for unlabeled samples, which are ignored in ``fit`` and ``score``. "auto" is -1,
        scikit-learn's convention, unless y contains only -1 and 1, which are then two classes.
        Missing values (None, NaN and NA) are unlabeled as well. None means that all samples are
        labeled.

    device : str or torch.device, default="auto"
        Device to compute on: "cpu", "cuda" or "cuda:1". "auto" is the GPU if one is available.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X is a DataFrame whose column names are
        all strings.

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

    def __init__(self, *, n_neighbors=20, temperature=0.07, unlabeled="auto", device="auto"):
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.unlabeled = unlabeled
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    @np.errstate(under="ignore")
    def fit(self, X, y):
        """Store the training samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        y : array-like of shape (n_samples,)
            Class labels.

        Returns
        -------
        self : object
            Fitted probe.
        """
        resolve_device(self.device)
        X, y, _ = _labeled(self, X, y, None, dtype=np.float32)
        self.classes_, self._codes = np.unique(y, return_inverse=True)
        self._gallery = X
        return self

    @np.errstate(under="ignore")
    def predict_proba(self, X):
        """Return the share of the neighbors' weights for each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Class probabilities, in the order of ``classes_``.
        """
        check_is_fitted(self)
        X = _checked(self, X, reset=False, dtype=np.float32)
        readable, k = readable_rows(X), min(self.n_neighbors, len(self._gallery))
        shares = np.full((len(X), len(self.classes_)), np.nan)
        if readable.any():
            found, similarity = nearest(
                X[readable], self._gallery, k, device=resolve_device(self.device)
            )
            n_classes = len(self.classes_)
            shares[readable] = votes(self._codes[found], similarity, n_classes, self.temperature)
        return shares

    def predict(self, X):
        """Return the class with the largest weight for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embedding.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted classes. Rows that are NaN in every feature get the value for unlabeled
            samples, or NaN if -1 is a class.
        """
        shares = self.predict_proba(X)
        predicted = self.classes_[shares.argmax(axis=1)]
        return with_unlabeled(predicted, np.isnan(shares[:, 0]), self.unlabeled, self.classes_)


def _uncorrelated(Z, weights):
    """Return features rotated to be uncorrelated, and the axes, (r, n_features).

    Rotations do not change the minimum. If there are fewer samples than features, r is their rank.
    """
    exact = Z.double() * weights.double().sqrt()[:, None]
    if len(Z) >= Z.shape[1]:
        axes = symmetric_eigh(exact.T @ exact)[1].T.to(Z)
        return Z @ axes.T, axes
    values, vectors = symmetric_eigh(exact @ exact.T)
    known = values > values[-1] * len(Z) * torch.finfo(values.dtype).eps
    values, vectors = values[known].to(Z.device), vectors[:, known].to(Z.device)
    axes = ((vectors.T @ exact) / values.sqrt()[:, None]).to(Z)
    return Z @ axes.T, axes


def _equal_rows(X, weights):
    """Return the first row of each group of equal rows, and the group of each row, as indices.

    Groups are in the order of X, so that folds do not depend on values. With unequal weights they
    are ordered by content, so that sample weights are equivalent to duplicates.
    """
    rows = np.ascontiguousarray(X + 0.0)  # -0 and 0 are equal
    rows = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    weights = np.bincount(group, weights)
    if (weights == weights[0]).all():
        order = np.argsort(first)
        first, group = first[order], np.argsort(order)[group]
    return first, group


def probabilities(scores):
    """Return class probabilities, (n, n_classes), from the logits of a decision function."""
    scores = torch.from_numpy(scores).double()
    if scores.ndim == 1:
        return torch.stack([-scores, scores], dim=1).sigmoid().numpy()
    return scores.softmax(dim=1).numpy()


def _scores(Z, weights):
    """Return the logits of standardized features; the last column of weights is the bias."""
    return torch.addmm(weights[:, -1], Z, weights[:, :-1].T)


def _checked(probe, X, *, reset, dtype):
    """Check an embedding; rows that are NaN in every feature (unreadable images) are allowed."""
    X = validate_data(probe, X, dtype=dtype, reset=reset, ensure_all_finite=False)
    check_readable(X, type(probe).__name__, n_needed=int(reset))
    return X


def _labeled(probe, X, y, sample_weight, dtype):
    """Return checked samples, labels and weights, without unlabeled and unreadable samples."""
    name = type(probe).__name__
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    X = _checked(probe, X, reset=True, dtype=dtype)
    has_label, known = labels_of(y, probe.unlabeled)
    check_consistent_length(X, has_label)
    check_some(has_label, probe.unlabeled, name)
    assert_all_finite(known, input_name="y")
    check_classification_targets(known)
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    readable = readable_rows(X)
    tell_of_unreadable(readable)
    used = has_label & readable & (weights > 0)
    if not used.any():
        raise ValueError(
            f"{name} has no training samples: all labeled samples have a weight of 0 or are "
            "unreadable images."
        )
    return X[used], known[used[has_label]], weights[used]
