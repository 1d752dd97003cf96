"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import pickle
import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from inspection.helpers import deepcluster
from sklearn_ssl.inspection import (
    ClusteringDisplay,
)


def test_curves_of_epochs(fitted, data):
    X, y = data
    display = ClusteringDisplay.from_estimator(fitted, X, y)
    assigned = fitted.assignments_
    labels = [normalized_mutual_info_score(y, assigned[t]) for t in range(3)]
    before = [normalized_mutual_info_score(assigned[t], assigned[t + 1]) for t in range(2)]
    np.testing.assert_allclose(display.nmi_labels, labels)
    np.testing.assert_allclose(display.nmi_reassignment, before)
    assert len(set(labels)) == 3
    assert display.n_clusters is display.scores is display.scores_std is None


@pytest.mark.parametrize("fit_first", [True, False])
@pytest.mark.slow
def test_curves_over_the_number_of_clusters(fit_first, data):
    X, y = data
    model = deepcluster(max_epochs=1)
    if fit_first:
        model.fit(X)
    display = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[12, 4, 12], cv=3)
    np.testing.assert_array_equal(display.n_clusters, [4, 12])
    for i, k in enumerate([4, 12]):
        other = deepcluster(max_epochs=1, n_clusters=k).fit(X)
        embedding, accuracy = other.transform(X), []
        for train, test in StratifiedKFold(3).split(X, y):
            scaler = StandardScaler().fit(embedding[train])
            probe = LogisticRegression(max_iter=1000)
            probe.fit(scaler.transform(embedding[train]), y[train])
            accuracy.append(np.mean(probe.predict(scaler.transform(embedding[test])) == y[test]))
        assert display.scores[i] == pytest.approx(np.mean(accuracy))
        assert display.scores_std[i] == pytest.approx(np.std(accuracy))
        nmi = normalized_mutual_info_score(y, other.labels_)
        assert display.nmi_n_clusters[i] == pytest.approx(nmi)
    assert display.scores_std.min() > 0


@pytest.mark.slow
def test_the_same_folds_for_every_number_of_clusters(data):
    """An iterable of folds is not used up by the first one."""
    X, y = data
    model, shuffled = deepcluster(max_epochs=1), KFold(2, shuffle=True, random_state=0)
    kept = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[4, 8], cv=shuffled)
    folds = shuffled.split(X)
    used = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[4, 8], cv=folds)
    np.testing.assert_array_equal(kept.scores, used.scores)


def test_estimators_are_not_changed(fitted, data):
    X, y = data
    before = pickle.dumps(vars(fitted))
    ClusteringDisplay.from_estimator(fitted, X, y, n_clusters=[3], cv=2)
    assert pickle.dumps(vars(fitted)) == before
    model = deepcluster()
    before = dict(vars(model))
    display = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[3], cv=2)
    assert vars(model) == before
    of_fitted = ClusteringDisplay.from_estimator(fitted, X, y)
    np.testing.assert_array_equal(display.nmi_labels, of_fitted.nmi_labels)


def test_epochs_on_other_samples_are_blank(data):
    X, y = data
    model = deepcluster().fit(X).partial_fit(X[:60])
    display = ClusteringDisplay.from_estimator(model, X[:60], y[:60])
    assert list(np.isnan(display.nmi_labels)) == [True, True, False, False]
    assert list(np.isnan(display.nmi_reassignment)) == [True, True, False]
    assert display.nmi_reassignment[-1] == model.nmi_curve_[-1]
    assert display.nmi_labels[-1] == normalized_mutual_info_score(y[:60], model.labels_)


def test_errors_come_before_training(fitted, data, monkeypatch):
    X, y = data
    show = ClusteringDisplay.from_estimator
    with pytest.raises(ValueError, match=r"fitted on 100 samples, X has 60\. Pass .* clone"):
        show(fitted, X[:60], y[:60])
    with pytest.raises(ValueError, match=r"fitted on 100 samples, X has 60\."):
        show(fitted, X[:60], y[:60], n_clusters=["never fitted"])
    model = deepcluster(max_epochs="never fitted")
    with pytest.raises(ValueError, match="X has 100 samples, y has 60"):
        show(model, X, y[:60])
    with pytest.raises(ValueError, match=r"n_clusters compares .* needs y"):
        show(model, X, n_clusters=[3])
    with pytest.raises(ValueError, match=r"one axes per panel, 3\. Got 2"):
        show(model, X, y, n_clusters=[3], ax=Figure().subplots(1, 2))
    with pytest.raises(ValueError, match=r"one axes per panel, 1\. Got 2"):
        ClusteringDisplay(nmi_reassignment=[0.5]).plot(Figure().subplots(1, 2))
    assert not plt.get_fignums()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError):
        show(model, X, y)


EPOCHS = {"nmi_reassignment": [0.5, 0.7]}


LABELS = {"nmi_labels": [0.1, 0.2, 0.3]}


SETTINGS = {
    "n_clusters": np.array([4, 12]),
    "scores": np.array([0.8, 0.9]),
    "scores_std": np.array([0.1, 0.2]),
    "nmi_n_clusters": np.array([0.4, 0.6]),
}


@pytest.mark.parametrize(
    ("curves", "lines"),
    [
        (EPOCHS, [[1, 2, 0.5, 0.7]]),
        (EPOCHS | LABELS, [[0, 1, 2, 0.1, 0.2, 0.3], [1, 2, 0.5, 0.7]]),
        (
            EPOCHS | {"n_clusters": [4, 12], "scores": [0.8, 0.9]},
            [[1, 2, 0.5, 0.7], [4, 12, 0.8, 0.9]],
        ),
        (EPOCHS | {"n_clusters": [4], "nmi_n_clusters": [0.4]}, [[1, 2, 0.5, 0.7], [4, 0.4]]),
        (EPOCHS | SETTINGS, [[1, 2, 0.5, 0.7], [4, 12, 0.8, 0.9], [4, 12, 0.4, 0.6]]),
        (
            EPOCHS | LABELS | SETTINGS,
            [[0, 1, 2, 0.1, 0.2, 0.3], [1, 2, 0.5, 0.7], [4, 12, 0.8, 0.9], [4, 12, 0.4, 0.6]],
        ),
    ],
)
@pytest.mark.parametrize("own_axes", [True, False])
def test_panels(curves, lines, own_axes):
    display = ClusteringDisplay(**curves)
    assert {name: vars(display)[name] for name in curves} == curves
    n_panels = 1 + ("nmi_labels" in curves) + ("n_clusters" in curves)
    axes = np.ravel(Figure().subplots(n_panels)) if own_axes else None
    assert display.plot(axes) is display
    assert len(display.ax_) == n_panels
    assert [list(np.concatenate(line.get_data())) for line in display.lines_] == lines
    drawn = [line for panel in display.ax_ for line in panel.lines]
    assert drawn == display.lines_
    assert all(panel.get_title() and panel.get_xlabel() for panel in display.ax_)
    assert all(tick == int(tick) for panel in display.ax_ for tick in panel.get_xticks())
    assert display.figure_.axes == list(display.ax_)
    if own_axes:
        assert list(display.ax_) == list(axes)
    assert len(plt.get_fignums()) == (not own_axes)


def test_panel_of_the_number_of_clusters():
    panel = ClusteringDisplay(**EPOCHS, **SETTINGS).plot().ax_[1]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["4", "12"]
    assert not len(panel.get_xticks(minor=True))
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "accuracy, linear classifier",
        "NMI with classes",
    ]
    (band,) = panel.collections
    corners = band.get_paths()[0].vertices
    for k, low, high in ((4, 0.7, 0.9), (12, 0.7, 1.1)):
        heights = corners[corners[:, 0] == k, 1]
        assert (heights.min(), heights.max()) == pytest.approx((low, high))
