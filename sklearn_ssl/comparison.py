"""Did it help? Estimators beside raw values, principal components and encoders as they are."""

import time
from collections.abc import Mapping
from numbers import Integral

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state, column_or_1d
from torch import nn

from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.inputs import taken
from sklearn_ssl.methods.encoder import EncoderTransformer
from sklearn_ssl.model_selection import UNLABELED, SemiSupervisedSplit
from sklearn_ssl.probes import LinearProbe

N_COMPONENTS = 256  # of PCA, or as many as there can be
NOISE = 1e-7  # share of the largest component's variance
DRAWS = 5  # of some labels a class, in each fold
COLORS = ["C" + number for number in "012345689"]  # C7 is gray, as baselines are
READING = "input", "image_shape", "image_size", "on_error", "cache", "n_jobs", "device"


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
    random_state=None,
    verbose=0,
):
    """Tell whether learning without labels helped, beside what needs no training.

    In each fold every estimator learns from the training part, without labels; then the same probe
    learns the classes from its embedding, and is judged on the test part. Beside them stand, in
    the same folds and with the same probe, the values of the samples as they are, their principal
    components, and the encoder of each estimator before training: with random weights, or with
    those that its ``weights`` name.

    Parameters
    ----------
    estimators : transformer, list of transformers, or dict of them by name
        What is compared; each is cloned. One that is frozen
        (:class:`~sklearn.frozen.FrozenEstimator`) is used as it is; where it learned from samples
        of the test part, the table says of how many.

    X : array-like, list or DataFrame
        Samples, as the estimators take them.

    y : array-like of shape (n_samples,)
        Classes. Samples with -1 have no label: all estimators learn from them, and nothing is
        judged on them.

    cv : int, cross-validation generator or iterable, default=5
        The folds. An int is the number of stratified folds.

    probe : classifier, default=None
        What judges an embedding. None is :class:`~sklearn_ssl.LinearProbe`.

    scoring : str or callable, default=None
        How the probe is judged, as in :func:`~sklearn.model_selection.cross_val_score`. None is
        accuracy.

    n_labels : int or sequence of int, default=None
        Numbers of labels a class that the probe learns from, such as (1, 10, None), each drawn five
        times in each fold, the same for all; None is all that there are, also among them.

    transductive : bool, default=False
        Whether estimators learn from the test part as well, without labels. The table says so.

    random_state : int, RandomState instance or None, default=None
        Seed of the labels that are drawn, of the probe and of random encoders; that of an estimator
        is its own parameter.

    verbose : int, default=0
        1 prints each row of a fold when it is done.

    Returns
    -------
    comparison : Comparison
        The table, which can be printed and plotted.

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
    y = column_or_1d(y)
    rng = check_random_state(random_state)
    seed = rng.randint(np.iinfo(np.int32).max)
    probe = LinearProbe(random_state=seed) if probe is None else probe
    if not is_classifier(probe):
        raise ValueError(f"probe must be a classifier. Got {probe!r} instead.")
    numbers = [None] if n_labels is None else _checked_numbers(n_labels)
    some_unlabeled = (y == UNLABELED).any()
    splitter = SemiSupervisedSplit(cv) if some_unlabeled else check_cv(cv, y, classifier=True)
    rows = {}
    for fold, (train, test) in enumerate(splitter.split(X, y)):
        labeled = train[y[train] != UNLABELED]
        learned = np.arange(len(y)) if transductive else train
        parts = learned, labeled, test
        to_learn, to_probe, to_judge = (taken(X, part) for part in parts)
        draws = {n: _drawn(y[labeled], n, rng) for n in numbers}
        for name, model, minutes, is_baseline in _fitted(estimators, to_learn, seed):
            embedded, judged = model.transform(to_probe), model.transform(to_judge)
            n_seen = _count_seen(model, to_judge)
            for n, draw in draws.items():
                scores = [
                    _score(probe, scoring, embedded[some], y[labeled][some], judged, y[test])
                    for some in draw
                ]
                row = rows.setdefault((name, n), {"scores": [], "minutes": [], "n_seen": 0})
                row["scores"].append(np.mean(scores))
                row["minutes"].append(minutes)
                row["n_seen"] += n_seen
                row["is_baseline"] = is_baseline
                if verbose:
                    print(f"fold {fold}, {_labels(n)}: {name} {np.mean(scores):.3f}", flush=True)
    return Comparison(_compared(rows, transductive), transductive=transductive)


class Comparison:
    """A table of estimators and baselines, judged by the same probe in the same folds.

    :func:`compare` makes it; ``print(comparison)`` shows it.

    Parameters
    ----------
    rows : list of dict
        One for each estimator and baseline, and each number of labels: "name"; "is_baseline";
        "labels", their number a class, or None for all; "scores", of each fold; "mean" and "std" of
        these; "difference" and "difference_std", mean and standard deviation over the folds of what
        it is better than the best baseline with as many labels; "minutes" of fit, the mean over the
        folds; and "note".

    transductive : bool
        Whether estimators learned from the test parts as well, without labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What ``plot`` drew on.

    figure_ : matplotlib Figure
        Its figure.
    """

    def __init__(self, rows, *, transductive):
        self.rows = rows
        self.transductive = transductive

    def __str__(self):
        """Return the table, and what it says, as text."""
        head = ["", "labels", "accuracy", "beside the best baseline", "fit", ""]
        cells = [
            [
                row["name"],
                _labels(row["labels"]),
                f"{row['mean']:.3f} ± {row['std']:.3f}",
                f"{row['difference']:+.3f} ± {row['difference_std']:.3f}",
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
        if self.transductive:
            lines.append("Transductive: all learned from the test parts as well, without labels.")
        return "\n".join(lines)

    def __repr__(self):
        return f"<Comparison of {len({row['name'] for row in self.rows})} ways>\n{self}"

    def to_pandas(self):
        """Return the table as a data frame of pandas.

        Returns
        -------
        frame : pandas.DataFrame
            A row for each of ``rows``.
        """
        import pandas as pd

        return pd.DataFrame(self.rows)

    def plot(self, ax=None):
        """Draw the accuracies: bars, or curves over the number of labels where there are several.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        self : Comparison
            The comparison, with the drawn parts as attributes.
        """
        import matplotlib.pyplot as plt

        names = list(dict.fromkeys(row["name"] for row in self.rows))
        of = {name: [row for row in self.rows if row["name"] == name] for name in names}
        several = len(of[names[0]]) > 1
        if ax is None:
            height = 3.8 if several else 0.9 + 0.35 * len(names)
            ax = plt.subplots(figsize=(6.4, height), layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        colored = 0
        for place, name in enumerate(names):
            rows = of[name]
            style = {"color": "gray", "linestyle": ["--", ":", "-."][place % 3]}
            if not rows[0]["is_baseline"]:
                color = COLORS[colored % len(COLORS)]
                style, colored = {"color": color, "linestyle": "-"}, colored + 1
            mean, std = (np.array([row[key] for row in rows]) for key in ("mean", "std"))
            if several:
                x = np.arange(len(rows))
                ax.plot(x, mean, marker=".", label=name, **style)
                ax.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.15, lw=0)
            else:
                ax.barh(place, mean, xerr=std, color=style["color"], height=0.7)
                ax.text(0, place, f" {mean[0]:.3f}", va="center", color="white")
        if several:
            ax.set_xticks(x, [_labels(row["labels"]) for row in rows])
            ax.set(xlabel="labels a class", ylabel="accuracy")
            ax.legend(fontsize="small")
        else:
            ax.set_yticks(range(len(names)), names)
            ax.invert_yaxis()
            ax.set_xlabel("accuracy, mean and standard deviation over folds")
        return self


def _named(estimators):
    """Return a dict of estimators by name."""
    if isinstance(estimators, Mapping):
        named = dict(estimators)
    else:
        several = isinstance(estimators, list | tuple)
        named = {}
        for estimator in estimators if several else [estimators]:
            inner = getattr(estimator, "estimator", estimator)  # of a frozen one
            named[_unused(type(inner).__name__, named)] = estimator
    for name, estimator in named.items():
        if not hasattr(estimator, "transform"):
            raise ValueError(
                f"compare needs transformers, which give an embedding. {name!r} is {estimator!r}."
            )
    if not named:
        raise ValueError("compare needs one estimator or more. Got none.")
    return named


def _unused(name, names):
    """Return a name, with a number where it is taken."""
    return next(
        n for n in (name, *(f"{name} {i}" for i in range(2, len(names) + 3))) if n not in names
    )


def _checked_numbers(n_labels):
    """Return numbers of labels, each whole and positive, or None for all."""
    numbers = [n_labels] if isinstance(n_labels, Integral) else list(n_labels)
    if not numbers or not all(n is None or (isinstance(n, Integral) and n > 0) for n in numbers):
        raise ValueError(
            f"n_labels must be whole numbers from 1 on, or None for all. Got {n_labels!r} instead."
        )
    return numbers


def _drawn(y, n, rng):
    """Return draws of n samples a class, or all samples once, as indices."""
    if n is None:
        return [np.arange(len(y))]
    of_classes = [np.flatnonzero(y == c) for c in np.unique(y)]
    return [
        np.concatenate([rng.choice(i, min(n, len(i)), replace=False) for i in of_classes])
        for _ in range(DRAWS)
    ]


def _fitted(estimators, X, seed):
    """Give name, fitted model, minutes, and whether it is a baseline, of all there are."""
    encoders, reading = {}, {}
    for name, estimator in estimators.items():
        model, start = clone(estimator), time.perf_counter()
        frozen = isinstance(model, FrozenEstimator)
        if not frozen:
            model.fit(X)
        yield name, model, np.nan if frozen else (time.perf_counter() - start) / 60, False
        method = model.estimator if frozen else model
        if isinstance(method, SSLTransformer | EncoderTransformer):
            reading = reading or {key: getattr(method, key) for key in READING}
        if isinstance(method, SSLTransformer):
            as_it_is = _as_it_is(method, seed)
            encoders.setdefault(repr(as_it_is), as_it_is)
    pixels = EncoderTransformer(backbone=nn.Flatten(), **reading)
    start = time.perf_counter()
    components = Components(pixels.fit(X), seed).fit(X)
    minutes = (time.perf_counter() - start) / 60
    yield "raw values", pixels, np.nan, True
    yield "PCA", components, minutes, True
    names = []
    for encoder in encoders.values():
        known = encoder.backbone if isinstance(encoder.backbone, str) else "encoder"
        kind = "untrained" if encoder.weights is None else "pretrained"
        names.append(_unused(f"{kind} {known}", names))
        yield names[-1], encoder.fit(X), np.nan, True


class Components:
    """Principal components of what a fitted transformer gives; none where it gives NaN."""

    def __init__(self, transformer, seed):
        self.transformer = transformer
        self.seed = seed

    def fit(self, X):
        """Find the components of samples."""
        values = self.transformer.transform(X)
        values = values[np.isfinite(values).all(axis=1)]
        pca = PCA(min(N_COMPONENTS, *values.shape), random_state=self.seed).fit(values)
        # What holds rounding alone is left out.
        n_real = int((pca.explained_variance_ > NOISE * pca.explained_variance_[0]).sum())
        if n_real < pca.n_components_:
            pca = PCA(n_real, random_state=self.seed).fit(values)
        self.pca = pca
        # A probe that standardises features would make the last component as large as the first.
        # Turned at random all are about as large, and a linear model is the same.
        random = np.random.default_rng(self.seed).normal(size=(n_real, n_real))
        self.turn = np.linalg.qr(random).Q
        return self

    def transform(self, X):
        """Return the components of samples."""
        values = self.transformer.transform(X)
        known = np.isfinite(values).all(axis=1)
        components = np.full((len(values), self.pca.n_components_), np.nan, np.float32)
        components[known] = self.pca.transform(values[known]) @ self.turn
        return components


def _as_it_is(method, seed):
    """Return the encoder of a fitted method as it is before training, read as the method is."""
    kept = {key: getattr(method, key) for key in (*READING, "weights", "precision")}
    encoder = method.encoder_
    return EncoderTransformer(
        backbone=method.backbone_,
        layer=encoder.kept.layer if encoder.reads_map else method.layer,
        mirror=method._mirrors(),
        random_state=seed,
        **kept,
    )


def _count_seen(model, X):
    """Return how many of the samples a frozen model has learned from, as far as it knows."""
    if not isinstance(model, FrozenEstimator) or not hasattr(model.estimator, "has_seen"):
        return 0
    return int(model.estimator.has_seen(X).sum())


def _score(probe, scoring, embedded, y, judged, y_judged):
    """Return the score of a probe that learns from one part and is judged on the other.

    Images that could not be read have no embedding; they teach and count nothing.
    """
    known, readable = (np.isfinite(part).all(axis=1) for part in (embedded, judged))
    fitted = clone(probe).fit(embedded[known], y[known])
    return check_scoring(fitted, scoring)(fitted, judged[readable], y_judged[readable])


def _compared(rows, transductive):
    """Return the rows of the table, each beside the best baseline with as many labels."""
    best = {}
    for (_, n), row in rows.items():
        if row["is_baseline"] and np.mean(row["scores"]) > np.mean(best.get(n, [-np.inf])):
            best[n] = row["scores"]
    table = []
    for (name, n), row in rows.items():
        difference = np.subtract(row["scores"], best[n])
        notes = [f"learned from {row['n_seen']} of the test samples"] * (row["n_seen"] > 0)
        notes += ["also learned from test samples"] * (transductive and not row["is_baseline"])
        table.append(
            {
                "name": name,
                "is_baseline": row["is_baseline"],
                "labels": n,
                "mean": float(np.mean(row["scores"])),
                "std": float(np.std(row["scores"])),
                "difference": float(difference.mean()),
                "difference_std": float(difference.std()),
                "minutes": float(np.mean(row["minutes"])),
                "scores": np.array(row["scores"]),
                "note": "; ".join(notes),
            }
        )
    return table


def _labels(n):
    """Return a number of labels a class as text."""
    return "all" if n is None else str(n)
