"""Comparison of self-supervised methods with baselines."""

import functools
import itertools
import time
import warnings
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state, get_tags
from torch import nn

from sklearn_ssl._runtime.decompositions import fit_pca
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.data.arrays import taken
from sklearn_ssl.data.labels import labels_of
from sklearn_ssl.data.recognition import recognized
from sklearn_ssl.data.spec import PADDING
from sklearn_ssl.evaluation.model_selection import SemiSupervisedSplit
from sklearn_ssl.evaluation.probes import LinearProbe
from sklearn_ssl.inference.batches import transformed
from sklearn_ssl.methods.baselines.encoder import EncoderTransformer

N_COMPONENTS = 256  # maximum for PCA
NOISE = 1e-7  # variance of a component, as a share of the largest
DRAWS = 5  # of n_labels labels per class in each fold
NOISE_ERRORS = 2  # a difference of at most this many standard errors is within noise
COLORS = ["C" + number for number in "012345689"]  # without C7, gray like baselines
NOISE_NOTE = "within noise of best baseline"
HOLLOW = {"facecolor": "white", "s": 25, "zorder": 3}
READING = "input", "device"


def compare(
    estimators,
    X,
    y,
    *,
    cv=5,
    probe=None,
    scoring=None,
    n_labels=None,
    transductive=False,
    unlabeled="auto",
    random_state=None,
    verbose=0,
):
    """Compare methods with baselines by cross-validation of a probe on their embeddings.

    In each fold, every estimator is fitted on the training samples without labels, and a probe is
    trained on the embedding of the labeled ones and scored on the test set. Baselines, with the
    same folds and probe, are the raw values of the samples, PCA, and the encoder of each estimator
    before training: untrained, or pretrained if it has ``weights``. For a method in a
    :class:`~sklearn.pipeline.Pipeline`, the input of the baselines is the output of the previous
    steps.

    Parameters
    ----------
    estimators : transformer, list of transformers, or dict of them by name
        Estimators to compare; they are cloned. If one has the name of a baseline, the name of the
        baseline ends with "(baseline)". A :class:`~sklearn.frozen.FrozenEstimator` is not fitted;
        the table reports how many test samples it was trained on (data leakage).

    X : array-like, list or DataFrame
        Samples, as in fit of the estimators.

    y : array-like of shape (n_samples,)
        Class labels, and -1, or the value of ``unlabeled``, for unlabeled samples, which are only
        used to fit the estimators.

    cv : int, cross-validation generator or iterable, default=5
        Splitting strategy. An int is the number of stratified folds.

    probe : classifier, default=None
        Classifier to evaluate embeddings. None is :class:`~sklearn_ssl.LinearProbe`.

    scoring : str or callable, default=None
        Metric, as in :func:`~sklearn.model_selection.cross_val_score`. None is the ``score`` of the
        probe: accuracy, unless the probe is a search with another ``scoring``.

    n_labels : int or sequence of int, default=None
        Number of labels per class that the probe is trained with, or several, such as
        (1, 10, None). Labels are drawn five times in each fold, the same for all estimators. None
        is all labels. If a class has fewer labels, all of them are used, which the table reports.

    transductive : bool, default=False
        Whether estimators are also fitted on the test samples, without labels.

    unlabeled : object, default="auto"
        Value of y for unlabeled samples. "auto" is -1, scikit-learn's convention, unless y contains
        only -1 and 1, which are then two classes. Missing values (None, NaN and NA) are unlabeled
        as well. None means that all samples are labeled.

    random_state : int, RandomState instance or None, default=None
        Seed of the drawn labels, the probe and untrained encoders. Estimators have their own.

    verbose : int, default=0
        1 prints the score of each estimator in each fold.

    Returns
    -------
    comparison : Comparison
        Table of results, to print or plot.

    Notes
    -----
    A difference to the best baseline is within noise if it is at most two standard errors, which
    are corrected for the overlap of training sets (Nadeau & Bengio). For accuracy, the standard
    deviation over folds is at least that of one sample. With two or three folds, standard errors
    are rough estimates.

    References
    ----------
    `Nadeau & Bengio "Inference for the generalization error", Machine Learning 52, 2003
    <https://doi.org/10.1023/A:1024068626366>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import PatchKMeansTransformer, compare
    >>> X, y = load_digits().images[:300], load_digits().target[:300]
    >>> patches = PatchKMeansTransformer(n_centroids=20, patch_size=4, random_state=0)
    >>> comparison = compare({"patches": patches}, X, y, cv=3, random_state=0)
    >>> [row["name"] for row in comparison.rows]
    ['patches', 'raw values', 'PCA']
    """
    estimators = _named(estimators)
    recognized(X)  # raises if it is not a collection of samples
    has_label, known = labels_of(y, unlabeled)
    if not len(known):
        raise ValueError("compare needs samples with a label. All of y is unlabeled.")
    y = np.full(len(has_label), known[0])  # not used for unlabeled samples
    y[has_label] = known
    rng = check_random_state(random_state)
    seed = rng.randint(np.iinfo(np.int32).max)
    probe = LinearProbe(random_state=seed) if probe is None else probe
    if not is_classifier(probe):
        raise ValueError(f"probe must be a classifier. Got {probe!r} instead.")
    # The probe only gets labeled samples, among which -1 may be a class.
    names = [name for name in probe.get_params() if name.split("__")[-1] == "unlabeled"]
    probe = clone(probe).set_params(**dict.fromkeys(names))
    metric = _metric_name(probe, scoring)
    check_scoring(probe, scoring)
    numbers = [None] if n_labels is None else _checked_numbers(n_labels)
    splitter, given = check_cv(cv, y, classifier=True), y
    if not has_label.all():
        splitter, given = (
            SemiSupervisedSplit(cv),
            np.where(has_label, np.unique(y, return_inverse=True)[1] + 2, -1),
        )
    rows, folds = {}, list(splitter.split(X, given))
    _check_scoring(scoring, y[np.unique(np.concatenate([test for _, test in folds]))])
    for fold, (train, test) in enumerate(folds, start=1):
        labeled = train[has_label[train]]
        learned = np.arange(len(y)) if transductive else train
        parts = learned, labeled, test
        to_fit, to_probe, to_test = (taken(X, part) for part in parts)
        draws = {n: _drawn(y[labeled], n, rng) for n in numbers}
        smallest = int(np.unique(y[labeled], return_counts=True)[1].min())
        for name, model, minutes, is_baseline in _fitted(estimators, to_fit, seed):
            embedded, tested = transformed(model, to_probe), transformed(model, to_test)
            if (len(embedded), len(tested)) != (len(labeled), len(test)):
                raise ValueError(
                    f"{name!r} must return a row for each sample. Got {len(embedded)} and "
                    f"{len(tested)} for {len(labeled)} and {len(test)} samples."
                )
            n_seen = _count_seen(model, to_test)
            for n, draw in draws.items():
                scores = [
                    _score(probe, scoring, embedded[some], y[labeled][some], tested, y[test])
                    for some in draw
                ]
                row = rows.setdefault((n, name), {"is_baseline": is_baseline, "folds": []})
                used = smallest if n is None else min(n, smallest)
                row["folds"].append(
                    {
                        "score": np.mean(scores),
                        "minutes": minutes,
                        "n_seen": n_seen,
                        "labels_used": used,
                        "n_test": len(test),
                        "n_train": len(labeled),
                    }
                )
                if verbose:
                    number = "all labels" if n is None else f"{n} labels per class"
                    number = "1 label per class" if n == 1 else number
                    print(
                        f"fold {fold} of {len(folds)}, {number}: {name} {np.mean(scores):.3f}",
                        flush=True,
                    )
    table = [row for n in numbers for row in _compared(rows, n, transductive, metric)]
    chance = None
    if metric == "accuracy":
        chance = np.mean(
            [np.unique(y[test], return_counts=True)[1].max() / len(test) for _, test in folds]
        )
    return Comparison(table, transductive=transductive, metric=metric, chance_level=chance)


class Comparison:
    """Results of :func:`compare`: scores of estimators and baselines in the same folds.

    Use ``print(comparison)`` for a table, ``plot`` for a figure and ``to_pandas`` for a DataFrame.

    Parameters
    ----------
    rows : list of dict
        A row for each number of labels and each estimator and baseline:

        - "name" and "is_baseline".
        - "labels": number of labels per class, or None for all.
        - "labels_used": number of labels of the smallest class that the probe was trained with.
        - "scores", "mean" and "std": scores of the folds, their mean and standard deviation.
        - "difference" and "difference_std": mean and standard deviation over folds of the
          difference to the best baseline with the same number of labels.
        - "within_noise": whether the difference is at most two standard errors; see
          :func:`compare`.
        - "minutes": duration of fit, averaged over folds.
        - "note": remarks.

        With one fold, standard deviations are NaN and "within_noise" is None.

    transductive : bool
        Whether estimators were also fitted on test samples, without labels.

    metric : str, default="accuracy"
        Name of the metric.

    chance_level : float, default=None
        Chance level of accuracy: always predicting the most frequent class. None for other metrics.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.

    figure_ : matplotlib Figure
        Figure of the plot.
    """

    def __init__(self, rows, *, transductive, metric="accuracy", chance_level=None):
        self.rows = rows
        self.transductive = transductive
        self.metric = metric
        self.chance_level = chance_level

    def __str__(self):
        """Return the table as text."""
        head = ["", "labels per class", self.metric, "difference to best baseline", "fit time", ""]
        cells = [
            [
                row["name"],
                _labels(row),
                _with_std(f"{row['mean']:.3f}", row["std"]),
                _with_std(f"{row['difference']:+.3f}", row["difference_std"]) + _mark(row),
                "" if np.isnan(row["minutes"]) else f"{row['minutes']:.1f} min",
                row["note"],
            ]
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [head, *cells]
        ]
        if any(map(_mark, self.rows)):
            lines.append(f"~ {NOISE_NOTE}: at most {NOISE_ERRORS} corrected standard errors.")
        if any(np.isnan(row["std"]) for row in self.rows):
            lines.append("One fold: standard deviations of scores and differences are unknown.")
        if any(_is_short(row) for row in self.rows):
            lines.append("Available: number of labels of the smallest class in a training set.")
        if self.transductive:
            lines.append(
                "Transductive: estimators were also fitted on test samples, without labels."
            )
        return "\n".join(lines)

    def __repr__(self):
        return f"<Comparison of {len({row['name'] for row in self.rows})} embeddings>\n{self}"

    def to_pandas(self):
        """Return the table as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            DataFrame of ``rows``.
        """
        import pandas as pd

        return pd.DataFrame(self.rows)

    def plot(self, ax=None):
        """Plot the scores: bars, or curves over the number of labels per class.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        self : Comparison
            The comparison, with attributes of the plot.
        """
        import matplotlib.pyplot as plt

        names = list(dict.fromkeys(row["name"] for row in self.rows))
        of = {name: [row for row in self.rows if row["name"] == name] for name in names}
        several = len(of[names[0]]) > 1
        if ax is None:
            size = (8, 3.8) if several else (6.4, 0.9 + 0.35 * len(names))
            ax = plt.subplots(figsize=size, layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        colored, marked = 0, any(map(_mark, self.rows))
        for place, name in enumerate(names):
            rows = of[name]
            style = {"color": "gray", "linestyle": ["--", ":", "-."][place % 3]}
            if not rows[0]["is_baseline"]:
                color = COLORS[colored % len(COLORS)]
                style, colored = {"color": color, "linestyle": "-"}, colored + 1
            mean, std = (np.array([row[key] for row in rows]) for key in ("mean", "std"))
            if several:
                x = np.arange(len(rows))
                ax.plot(x, mean, marker="o", markersize=5, label=name, **style)
                ax.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.15, lw=0)
                noise = np.array([bool(_mark(row)) for row in rows])
                ax.scatter(x[noise], mean[noise], edgecolor=style["color"], **HOLLOW)
            else:
                known = None if np.isnan(std).any() else std
                ax.barh(place, mean, xerr=known, color=style["color"], height=0.7)
                text = _with_std(f"{mean[0]:.3f}", std[0]) + _mark(rows[0])
                ax.text(1.02, place, text, va="center", transform=ax.get_yaxis_transform())
        chance, line = self.chance_level, ax.axhline if several else ax.axvline
        low, high = ax.get_ylim() if several else ax.get_xlim()
        has_chance = bool(chance is not None and low < chance < high)
        if has_chance:
            line(chance, color="black", linewidth=0.8, label="chance level")
        if several:
            ax.set_xticks(x, [_labels(row).replace(" ", "\n", 1) for row in rows])
            ax.set(xlabel="labels per class", ylabel=self.metric)
            if marked:
                ax.scatter([], [], edgecolor="gray", label=NOISE_NOTE, **HOLLOW)
            ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5))
        else:
            ax.set_yticks(range(len(names)), names)
            ax.invert_yaxis()
            spread = "" if np.isnan(std).any() else ", mean and std over folds"
            notes = f"\n~ {NOISE_NOTE}" * marked + "\nline: chance level" * has_chance
            ax.set_xlabel(self.metric + spread + notes)
        return self


def _named(estimators):
    """Return a dict of named estimators."""
    if isinstance(estimators, Mapping):
        named = dict(estimators)
    else:
        several = isinstance(estimators, list | tuple)
        named = {}
        for estimator in estimators if several else [estimators]:
            inner = getattr(estimator, "estimator", estimator)  # of a FrozenEstimator
            named[_unused(type(inner).__name__, named)] = estimator
    for name, estimator in named.items():
        if not isinstance(name, str):
            raise TypeError(f"Names of estimators must be strings. Got {name!r} instead.")
        if not hasattr(estimator, "transform"):
            raise ValueError(
                f"compare needs transformers, which return an embedding. {name!r} is {estimator!r}."
            )
        frozen = isinstance(estimator, FrozenEstimator)
        if not frozen and get_tags(estimator).target_tags.required:
            raise ValueError(
                f"compare fits estimators without labels, but {name!r} requires y: {estimator!r}. "
                "Fit it first, and pass it in a FrozenEstimator."
            )
    if not named:
        raise ValueError("compare needs at least one estimator. Got none.")
    return named


def _unused(name, names):
    """Return a name, with a number appended if it is in use."""
    numbered = (f"{name} {i}" for i in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in names)


def _checked_numbers(n_labels):
    """Check numbers of labels: positive integers, or None for all."""
    numbers = [n_labels] if np.ndim(n_labels) == 0 else list(n_labels)
    if not numbers or not all(
        n is None or (isinstance(n, Integral) and not isinstance(n, bool) and n > 0)
        for n in numbers
    ):
        raise ValueError(
            "n_labels must be numbers of labels per class: an int of at least 1, a sequence of "
            f"them, or None for all. Got {n_labels!r} instead. Fractions are not supported: "
            "pass 10 for a tenth of 100 labels per class."
        )
    return list(dict.fromkeys(numbers))


def _drawn(y, n, rng):
    """Return indices of draws of n samples per class, or of all samples once."""
    if n is None:
        return [np.arange(len(y))]
    of_classes = [np.flatnonzero(y == c) for c in np.unique(y)]
    return [
        np.concatenate([rng.choice(i, min(n, len(i)), replace=False) for i in of_classes])
        for _ in range(DRAWS)
    ]


def _metric_name(probe, scoring):
    """Return the name of the metric; raise if ``scoring`` is not one."""
    if scoring is None:
        last = probe[-1] if isinstance(probe, Pipeline) else probe
        own = getattr(last, "scoring", None)  # of a hyperparameter search
        return "accuracy" if own is None else _metric_name(probe, own)
    if isinstance(scoring, str):
        return scoring
    if not callable(scoring):
        raise ValueError(
            f"scoring must be one metric: a str, a callable or None. Got {scoring!r} instead."
        )
    if hasattr(scoring, "_score_func"):  # of make_scorer
        sign = "neg_" if scoring._sign < 0 else ""
        settings = ", ".join(f"{name}={value!r}" for name, value in scoring._kwargs.items())
        return sign + scoring._score_func.__name__ + (f"({settings})" if settings else "")
    scoring = scoring.func if isinstance(scoring, functools.partial) else scoring
    name = getattr(scoring, "__name__", type(scoring).__name__)
    return "score" if name == "<lambda>" else name


def _check_scoring(scoring, y):
    """Raise if a metric does not apply to these classes, before training."""
    if not isinstance(scoring, str):
        return
    X = np.zeros((len(y), 1))
    dummy = DummyClassifier().fit(X, y)
    try:
        with warnings.catch_warnings(action="ignore"):
            check_scoring(dummy, scoring)(dummy, X, y)
    except ValueError as error:
        raise ValueError(f"scoring={scoring!r} cannot be used for this y: {error}") from error


def _fitted(estimators, X, seed):
    """Yield name, fitted model, minutes and is_baseline of all estimators and baselines."""
    encoders, reading, before_reading, names = {}, {}, [], list(estimators)
    of_texts = False

    def baseline(name):
        name = f"{name} (baseline)" if name in estimators else name
        names.append(_unused(name, names))
        return names[-1]

    for name, estimator in estimators.items():
        model, start = clone(estimator), time.perf_counter()
        frozen = isinstance(model, FrozenEstimator)
        if not frozen:
            model.fit(X)
        yield name, model, np.nan if frozen else (time.perf_counter() - start) / 60, False
        before, method, _ = _method_of(model)
        if method is None:
            continue
        if not reading:
            reading, before_reading = {key: getattr(method, key) for key in READING}, before
            of_texts = method._spec.kind == "text"
        if isinstance(method, SSLTransformer):
            as_it_is = _as_it_is(method, seed)
            encoders.setdefault(repr([*before, as_it_is]), (before, as_it_is))
    raw = EncoderTransformer(backbone=_counter if of_texts else nn.Flatten(), **reading)
    raw = _behind(before_reading, TokenShares(raw) if of_texts else raw)
    start = time.perf_counter()
    components = Components(raw.fit(X), seed).fit(X)
    minutes = (time.perf_counter() - start) / 60
    yield baseline("TF-IDF" if of_texts else "raw values"), raw, np.nan, True
    yield baseline("PCA"), components, minutes, True
    for before, encoder in encoders.values():
        known = encoder.backbone if isinstance(encoder.backbone, str) else "encoder"
        kind = "untrained" if encoder.weights is None else "pretrained"
        yield baseline(f"{kind} {known}"), _behind(before, encoder).fit(X), np.nan, True


def _counter(shape):
    return CountTokens(shape[1])


def _method_of(model):
    """Return the steps before the method of this package in a model, it, and if it is frozen."""
    steps = _steps(model)
    for i, (step, frozen) in enumerate(steps):
        if isinstance(step, SSLTransformer | EncoderTransformer):
            return [before for before, _ in steps[:i]], step, frozen
    return [], None, False


def _steps(model, frozen=False):
    """Return the steps of nested pipelines, and whether each is frozen."""
    if isinstance(model, FrozenEstimator):
        return _steps(model.estimator, frozen=True)
    if isinstance(model, Pipeline):
        return [pair for _, step in model.steps for pair in _steps(step, frozen)]
    return [] if model is None or isinstance(model, str) else [(model, frozen)]


def _behind(before, transformer):
    """Return a pipeline of fitted steps and a transformer."""
    return make_pipeline(*map(FrozenEstimator, before), transformer) if before else transformer


class TokenShares(TransformerMixin, BaseEstimator):
    """TF-IDF of the tokens of texts: their counts on a log scale, weighted by how rare they are."""

    def __init__(self, counter):
        self.counter = counter  # EncoderTransformer of CountTokens

    def fit(self, X, y=None):
        """Learn the vocabulary, and in how many texts each token is."""
        n_texts = (self.counter.fit_transform(X) > 0).sum(axis=0)
        self.weights_ = (np.log((1 + len(X)) / (1 + n_texts)) + 1).astype(np.float32)
        return self

    def transform(self, X):
        """Return the features, of length 1 for each text."""
        return normalize(np.log1p(self.counter.transform(X)) * self.weights_)


class CountTokens(nn.Module):
    """Count the tokens of texts."""

    def __init__(self, n_tokens):
        super().__init__()
        self.n_tokens = n_tokens

    def forward(self, ids):
        """Return counts (n, n_tokens) of token ids (n, length), without padding."""
        counts = torch.zeros(len(ids), self.n_tokens, device=ids.device)
        counts.scatter_add_(1, ids, torch.ones_like(ids, dtype=counts.dtype))
        counts[:, PADDING] = 0
        return counts


class Components:
    """PCA of the output of a fitted transformer; NaN if its output is NaN."""

    def __init__(self, transformer, seed):
        self.transformer = transformer
        self.seed = seed

    def fit(self, X):
        """Fit PCA."""
        values = transformed(self.transformer, X)
        values = values[np.isfinite(values).all(axis=1)]
        pca = fit_pca(values, min(N_COMPONENTS, *values.shape), self.seed)
        # Leave out components that are rounding error.
        n_real = int((pca.explained_variance_ > NOISE * pca.explained_variance_[0]).sum())
        if n_real < pca.n_components_:
            pca = fit_pca(values, n_real, self.seed)
        self.pca = pca
        # A random rotation gives all features about the same variance, so that a probe that
        # standardizes features does not amplify the last components.
        random = np.random.default_rng(self.seed).normal(size=(n_real, n_real))
        self.turn = np.linalg.qr(random).Q
        return self

    def transform(self, X):
        """Return the principal components of samples."""
        values = transformed(self.transformer, X)
        known = np.isfinite(values).all(axis=1)
        components = np.full((len(values), self.pca.n_components_), np.nan, np.float32)
        components[known] = transformed(self.pca, values[known]) @ self.turn
        return components


def _as_it_is(method, seed):
    """Return the encoder of a fitted method before training, with the same input settings."""
    shared = {key: getattr(method, key) for key in (*READING, "weights", "flip_tta")}
    return EncoderTransformer(
        backbone=method.backbone_,
        layer=getattr(method.encoder_.read, "layer", None) or method.layer,
        random_state=seed,
        **shared,
    )


def _count_seen(model, X):
    """Return the number of samples that a frozen model was trained on."""
    before, method, frozen = _method_of(model)
    if not frozen or not hasattr(method, "has_seen"):
        return 0
    for step in before:
        X = step.transform(X)
    return int(method.has_seen(X).sum())


def _score(probe, scoring, embedded, y, tested, y_test):
    """Train a probe on one embedding and score it on another.

    Unreadable images, with an embedding of NaN, are ignored.
    """
    known, readable = (np.isfinite(part).all(axis=1) for part in (embedded, tested))
    fitted = clone(probe).fit(embedded[known], y[known])
    score = check_scoring(fitted, scoring)(fitted, tested[readable], y_test[readable])
    if not isinstance(score, Real):
        raise ValueError(f"scoring must return one number. {scoring!r} returned {score!r}.")
    return score


def _compared(rows, n, transductive, metric):
    """Return the rows of the table for n labels per class, with differences to best baseline."""
    rows = {name: row for (number, name), row in rows.items() if number == n}
    of_folds = {
        name: {key: np.array([fold[key] for fold in row["folds"]]) for key in row["folds"][0]}
        for name, row in rows.items()
    }
    baselines = [of_folds[name]["score"] for name, row in rows.items() if row["is_baseline"]]
    best = max(baselines, key=lambda scores: np.nan_to_num(scores.mean(), nan=-np.inf))
    table = []
    for name, row in rows.items():
        folds = of_folds[name]
        scores, n_seen = folds["score"], folds["n_seen"].sum()
        difference = scores - best
        one_fold = len(scores) == 1
        notes = {
            f"trained on {n_seen:.0f} of the test samples": n_seen > 0,
            "also trained on test samples": transductive and not row["is_baseline"],
        }
        table.append(
            {
                "name": name,
                "is_baseline": row["is_baseline"],
                "labels": n,
                "labels_used": int(folds["labels_used"].min()),
                "mean": float(scores.mean()),
                "std": np.nan if one_fold else float(scores.std()),
                "difference": float(difference.mean()),
                "difference_std": np.nan if one_fold else float(difference.std()),
                "within_noise": _within_noise(
                    difference,
                    (folds["n_test"] / folds["n_train"]).mean(),
                    1 / folds["n_test"].mean() if metric == "accuracy" else 0.0,
                ),
                "minutes": float(folds["minutes"].mean()),
                "scores": scores,
                "note": "; ".join(note for note, holds in notes.items() if holds),
            }
        )
    return table


def _within_noise(difference, ratio, least_std):
    """Return whether the mean difference over folds is within noise; None for one fold.

    ``ratio`` is the size of the test set divided by that of the training set.
    """
    n = len(difference)
    if n == 1:
        return None
    error = max(difference.std(ddof=1), least_std) * np.sqrt(1 / n + ratio)
    return not abs(difference.mean()) > NOISE_ERRORS * error


def _mark(row):
    """Return the mark of a difference within noise, except for the best baseline."""
    is_best = row["is_baseline"] and row["difference"] == row["difference_std"] == 0
    return " ~" if row.get("within_noise") and not is_best else ""


def _with_std(text, std):
    """Append the standard deviation to a number as text, if known."""
    return text if np.isnan(std) else f"{text} ± {std:.3f}"


def _is_short(row):
    """Return whether a class has fewer labels than requested."""
    return row["labels"] is not None and row.get("labels_used", np.inf) < row["labels"]


def _labels(row):
    """Return the number of labels per class as text."""
    number = "all" if row["labels"] is None else str(row["labels"])
    return f"{number} ({row['labels_used']} available)" if _is_short(row) else number
