"""Probes beside scikit-learn's own classifiers, and that they choose among training samples."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_ssl import KNNProbe, LinearProbe
from sklearn_ssl.evaluation import probes
from sklearn_ssl.metrics import nearest as neighbors

X, Y = load_digits(return_X_y=True)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("C", [0.001, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.slow
def test_linear_probe_is_logistic_regression_on_standardized_features(n_classes, C, dtype):
    rows = n_classes > Y
    x, y = X[rows].astype(dtype), Y[rows]
    probe = LinearProbe(C=C, tol=1e-7).fit(x, y)
    scaler = StandardScaler().fit(x.astype(float))
    reference = LogisticRegression(C=C, tol=1e-8, max_iter=10_000)
    reference.fit(scaler.transform(x.astype(float)), y)
    close = {"atol": 1e-2 if dtype is np.float32 else 2e-4}
    np.testing.assert_allclose(probe.coef_ * scaler.scale_, reference.coef_, **close)
    expected = reference.predict_proba(scaler.transform(x.astype(float)))
    np.testing.assert_allclose(probe.predict_proba(x), expected, **close)
    np.testing.assert_array_equal(probe.predict(x), reference.predict(scaler.transform(x)))
    assert probe.coef_.shape == reference.coef_.shape
    assert probe.scores_ == {}


@pytest.mark.parametrize("n_classes", [2, 10])
def test_few_samples_of_many_features(n_classes):
    """Where the samples span less than the features do."""
    few = np.concatenate([np.flatnonzero(c == Y)[:4] for c in range(n_classes)])
    x, y = X[few], Y[few]
    probe = LinearProbe(C=0.1, tol=1e-6).fit(x, y)
    scaler = StandardScaler().fit(x)
    reference = LogisticRegression(C=0.1, tol=1e-6, max_iter=2000).fit(scaler.transform(x), y)
    np.testing.assert_allclose(probe.coef_ * scaler.scale_, reference.coef_, atol=2e-4)
    np.testing.assert_allclose(
        probe.intercept_,
        (reference.intercept_ - reference.coef_ @ (scaler.mean_ / scaler.scale_)),
        atol=2e-3,
    )


def noisy(n, seed=0):
    """Many features without meaning beside few with some: they need a small C."""
    return make_classification(
        n, 200, n_informative=5, n_redundant=0, flip_y=0.2, class_sep=0.7, random_state=seed
    )


@pytest.mark.parametrize("n", [300, 6000])
def test_c_is_chosen_by_held_out_samples(n, monkeypatch):
    """By the best of their accuracies, not that of the samples it was fitted on."""
    fitted = []

    def spied(self, Z, *args, minimized=LinearProbe._minimized):
        fitted.append((args[2], len(Z)))
        return minimized(self, Z, *args)

    monkeypatch.setattr(LinearProbe, "_minimized", spied)
    x, y = noisy(n)
    probe = LinearProbe(random_state=0).fit(x, y)
    assert max(probe.scores_, key=probe.scores_.get) == probe.C_
    assert set(probe.scores_) == set(probes.GRID)
    assert all(0.4 < score < 0.9 for score in probe.scores_.values())
    largest = LinearProbe(C=probes.GRID[-1]).fit(x, y)
    if n == 300:  # where it overfits: all samples right that it has seen, few of the others
        assert largest.score(x, y) == 1
        assert probe.scores_[probes.GRID[-1]] < max(probe.scores_.values()) < 0.9
        assert probe.C_ < 1
    folds = 5 if n == 300 else 1
    assert [size for _, size in fitted[:-2]] == [int(0.8 * n)] * (folds * len(probes.GRID))
    assert fitted[-2] == (probe.C_, n)


def test_few_samples_of_a_class_make_few_folds():
    two = np.concatenate([np.flatnonzero(c == Y)[:2] for c in range(10)])
    scores = LinearProbe(random_state=0).fit(X[two], Y[two]).scores_
    assert len(scores) == len(probes.GRID)
    one = LinearProbe(random_state=0).fit(X[two[::2]], Y[two[::2]])
    assert (one.C_, one.scores_) == (probes.FALLBACK, {})


def test_random_labels_give_chance_level():
    y = np.random.default_rng(0).permutation(Y)
    for probe in (LinearProbe(random_state=0), KNNProbe()):
        assert probe.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) < 0.15


def test_constant_features_predict_nothing():
    x = X.astype(np.float32)
    x[:, 0] = 0.1
    x[:, 1] = 1e6
    probe = LinearProbe(C=0.1).fit(x, Y)
    assert not probe.coef_[:, :2].any()
    others = LinearProbe(C=0.1).fit(x[:, 2:], Y)
    np.testing.assert_allclose(probe.predict_proba(x), others.predict_proba(x[:, 2:]), atol=1e-3)


def test_linear_probe_warns_without_convergence():
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        LinearProbe(C=1.0, max_iter=2).fit(X, Y)


def test_threads_of_blas_do_not_take_turns_with_those_of_torch(monkeypatch):
    def threads():
        found = threadpool_info()
        return {pool["num_threads"] for pool in found if pool["user_api"] == "blas"}

    before, during, minimized = threads(), [], LinearProbe._minimized

    def spied(self, *args):
        during.append(threads())
        return minimized(self, *args)

    monkeypatch.setattr(LinearProbe, "_minimized", spied)
    with threadpool_limits(2, user_api="blas"):
        LinearProbe(C=0.1).fit(X[:100], Y[:100])
        assert threads() == {2}
    assert during == [{1}]
    assert threads() == before


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="one class: 3"):
        LinearProbe().fit(X[:4], [3] * 4)


def test_equal_seeds_choose_alike():
    x, y = noisy(300)
    first, again = (LinearProbe(random_state=3).fit(x, y) for _ in range(2))
    assert first.scores_ == again.scores_
    np.testing.assert_array_equal(first.coef_, again.coef_)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("block_bytes", [2**27, 40_000])
def test_neighbors_vote_as_in_scikit_learn(temperature, block_bytes, monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK_BYTES", block_bytes)
    names = np.array(list("abcdefghij"))[Y]
    probe = KNNProbe(n_neighbors=7, temperature=temperature).fit(X[:1000], names[:1000])
    reference = KNeighborsClassifier(
        7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(normalize(X[:1000]), names[:1000])
    expected = reference.predict_proba(normalize(X[1000:]))
    np.testing.assert_allclose(probe.predict_proba(X[1000:]), expected, atol=1e-4)
    assert (probe.predict(X[1000:]) == reference.predict(normalize(X[1000:]))).mean() > 0.998


def test_all_samples_vote_where_they_are_few():
    probe = KNNProbe(n_neighbors=1000, temperature=1e-3).fit(X[:30], Y[:30])
    np.testing.assert_allclose(probe.predict_proba(X[:5]).sum(axis=1), 1)
    assert probe.score(X[:30], Y[:30]) == 1  # the sample itself decides
