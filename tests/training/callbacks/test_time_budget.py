"""Fits in a given time: that they end in it, and are annealed as those of so many epochs are.

Time is told by a clock that only the views move, so nothing here depends on the machine but where
it is said.
"""

import dataclasses
import functools
import time
import warnings

import numpy as np
import pytest
import skorch.callbacks
import torch
from common import digits, each_image_method_long, shrunk
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import sklearn_ssl
from sklearn_ssl import (
    DeepClusterEstimator,
    Device,
    DINOTransformer,
    FitCache,
    Images,
    SimCLRTransformer,
)
from sklearn_ssl.methods.clustering._feature_clustering import FeatureClustering
from sklearn_ssl.methods.clustering.deepcluster import DeepClusterObjective
from sklearn_ssl.networks.backbone import make_backbone
from sklearn_ssl.training.schedule import learning_rate_factor

X = digits()[0][:60]
pytestmark = pytest.mark.filterwarnings("ignore:The loss is near chance level")  # by 60 samples


class Slow:
    """Views that take some seconds."""

    def __init__(self, views):
        self.views = views

    def __call__(self, batch):
        time.perf_counter.now += time.perf_counter.seconds
        return self.views(batch)


class Ticking:
    """A clock that views move, and what was seen by it; in its place, it is no part of a fit."""

    now, seconds, then = 0.0, 1.0, {}

    def __init__(self):
        self.moments, self.rates = [], []

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def clock(request, monkeypatch):
    ticking = Ticking()
    if "real_time" not in request.keywords:
        monkeypatch.setattr(time, "perf_counter", ticking)
    return ticking


class Steps(skorch.callbacks.Callback):
    """Keeps the moment and learning rate of each step; does what the clock is to do after some."""

    def on_batch_begin(self, net, **kwargs):
        clock = time.perf_counter
        clock.moments.append(clock.now)
        clock.rates.append(net.optimizer_.param_groups[0]["lr"])
        if len(clock.moments) in clock.then:
            clock.then[len(clock.moments)]()


def timed(method=SimCLRTransformer, **parameters):
    """An estimator whose epochs on X have three steps of a second."""
    views = Slow(method.default_views["image"])
    settings = {"max_epochs": "auto", "max_time": 100, "batch_size": 20, "views": views}
    return shrunk(method, **(settings | {"callbacks": [Steps()]} | parameters))


@each_image_method_long
def test_a_fit_ends_in_time_and_annealed(clock, method):
    model = timed(method).fit(X)
    assert 99 <= clock.now <= 100
    assert abs(model.n_iter_ - model.max_epochs_) <= 1
    assert 30 <= model.n_iter_ <= 34
    # 1 second for the check of the views' shapes, 2 for the trial.
    done = (np.array(clock.moments) - 3) / (100 - 3) * model.max_epochs_
    final = 1.0 if method is DeepClusterEstimator else 0.0
    expected = [
        model.lr_ * learning_rate_factor(d, model.warmup_epochs_, model.max_epochs_, final)
        for d in done
    ]
    np.testing.assert_allclose(clock.rates, expected, atol=1e-9)
    assert max(clock.rates) > 0.99 * model.lr_


@pytest.mark.slow
@pytest.mark.parametrize(("pace", "n_steps"), [(3.0, 64), (0.25, 247)])
def test_a_machine_that_changes_its_pace(clock, pace, n_steps):
    clock.then = {48: lambda: setattr(clock, "seconds", pace)}
    model = timed().fit(X)
    assert 97 <= clock.now <= 101.5
    assert len(clock.moments) == pytest.approx(n_steps, abs=2)
    assert clock.rates[-1] < 0.01 * model.lr_
    assert abs(model.max_epochs_ - 32) <= 1  # as planned at first


def test_the_last_epoch_is_cut(clock):
    model = timed(max_time=21).fit(X)
    assert [row["n_steps"] for row in model.history_] == [3] * 6
    clock.now = 0.0
    model = timed(max_time=20).fit(X)
    assert [row["n_steps"] for row in model.history_] == [3] * 5 + [2]
    assert model.health_["n_steps"][-1] == 2
    assert np.isfinite(model.transform(X)).all()


@pytest.mark.slow
def test_epochs_and_time_together(clock):
    model = timed(max_epochs=10).fit(X)
    assert model.n_iter_ == model.max_epochs_ == 10
    assert clock.now < 40
    assert clock.rates[-1] < 0.01 * model.lr_
    clock.now = 0.0
    model = timed(max_epochs=1000).fit(X)
    assert 99 <= clock.now <= 100
    assert clock.rates[-1] < 0.01 * model.lr_


@pytest.mark.slow
def test_clustering_is_in_the_time(clock, monkeypatch):
    cluster = FeatureClustering.fit

    def slowly(self, *args):
        time.perf_counter.now += 5
        return cluster(self, *args)

    monkeypatch.setattr(FeatureClustering, "fit", slowly)
    model = timed(DeepClusterEstimator).fit(X)
    assert 90 <= clock.now <= 100
    assert model.history_[-1]["progress"] > 0.9
    assert abs(model.n_iter_ - model.max_epochs_) <= 1
    # An epoch that would mostly be clustered for is not begun: the one before goes on.
    clock.now = 0.0
    model = timed(DeepClusterEstimator, max_time=34).fit(X)
    assert [row["n_steps"] for row in model.history_] == [3, 8]
    assert clock.now == 34
    assert len(model.assignments_) == 3


def test_resumed_epoch_has_the_same_samples_and_targets(clock, monkeypatch):
    images, seen = torch.from_numpy(X / X.max()).flatten(1), []
    plan_epoch, forward = DeepClusterObjective.plan_epoch, DeepClusterObjective.forward

    def slowly(self, *args):
        clock.now += 8
        return dataclasses.replace(plan_epoch(self, *args), order=np.arange(len(X)))

    def noted(self, views, targets):
        numbers = torch.cdist(views[0].flatten(1).double(), images).argmin(dim=1)
        assert targets.tolist() == [self.clustering.assignments[-1][i] for i in numbers]
        seen.append(numbers.numpy())
        return forward(self, views, targets)

    monkeypatch.setattr(DeepClusterObjective, "plan_epoch", slowly)
    monkeypatch.setattr(DeepClusterObjective, "forward", noted)
    same = Slow(lambda batch: [batch])
    model = timed(DeepClusterEstimator, max_time=36, views=same).fit(X)
    assert [row["n_steps"] for row in model.history_] == [9]
    assert clock.now == 36 - 8  # which are kept for the last clustering
    rounds = np.concatenate(seen[-9:]).reshape(3, -1)
    np.testing.assert_array_equal(rounds[0], np.arange(len(X)))
    np.testing.assert_array_equal(np.sort(rounds, axis=1), rounds[[0, 0, 0]])
    assert len(np.unique(rounds, axis=0)) == 3
    clock.now = 0.0
    model = timed(DeepClusterEstimator, max_epochs=1, max_time=36, views=same).fit(X)
    assert [row["n_steps"] for row in model.history_] == [3]  # which is as much as was asked for


class Reads:
    """A data set that takes half a second an image to read."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        time.perf_counter.now += 0.5
        return X[index].astype(np.uint8)


def test_reading_is_in_the_time_and_not_in_the_schedule(clock):
    model = timed(input=Images(size=8)).fit(Reads())
    assert clock.moments[0] > 30
    assert clock.rates[0] < 0.1 * model.lr_  # the warm-up begins with training
    assert 99 <= clock.now <= 100


@pytest.mark.slow
def test_an_interrupted_fit_has_the_rest_of_its_time(clock, tmp_path):
    def interrupt():
        raise RuntimeError("interrupted")

    straight = timed().fit(X)
    n_steps, clock.now = sum(row["n_steps"] for row in straight.history_), 0.0
    clock.moments, clock.then = [], {50: interrupt}
    model = timed(memory=FitCache(tmp_path, checkpoint_minutes=0))
    with pytest.raises(RuntimeError, match="interrupted"):
        model.fit(X)
    before, clock.now = clock.now, 1000.0  # some time later
    clock.rates = []
    model = timed(memory=FitCache(tmp_path, checkpoint_minutes=0)).fit(X)
    assert before + (clock.now - 1000) == pytest.approx(100, abs=2)
    assert sum(row["n_steps"] for row in model.history_) == pytest.approx(n_steps, abs=2)
    assert model.max_epochs_ == straight.max_epochs_
    assert clock.rates[-1] < 0.01 * model.lr_
    assert all(a > b for a, b in zip(clock.rates, clock.rates[1:], strict=False))
    clock.now = 0.0
    again = timed(max_time="100s", memory=FitCache(tmp_path, checkpoint_minutes=0)).fit(
        X
    )  # read back
    assert clock.now == 0
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


@pytest.mark.slow
def test_reading_for_memory_is_in_the_time(clock, tmp_path):
    timed(input=Images(size=8), memory=tmp_path).fit(
        Reads()
    )  # which has to be read to be told apart
    assert 99 <= clock.now <= 100


def test_an_interrupted_fit_keeps_the_time_for_clustering(clock, tmp_path, monkeypatch):
    cluster = FeatureClustering.fit

    def slowly(self, *args):
        time.perf_counter.now += 5
        return cluster(self, *args)

    def interrupt():
        raise RuntimeError("interrupted")

    monkeypatch.setattr(FeatureClustering, "fit", slowly)
    settings = {"max_time": 34, "memory": FitCache(tmp_path, checkpoint_minutes=0)}
    clock.then = {5: interrupt}  # in the second epoch, which is the last one
    with pytest.raises(RuntimeError, match="interrupted"):
        timed(DeepClusterEstimator, **settings).fit(X)
    before, clock.now = clock.now, 1000.0
    clock.then = {}
    model = timed(DeepClusterEstimator, **settings).fit(X)
    assert model.n_iter_ == 2
    assert before + clock.now - 1000 <= 34 + 1  # a step is taken again, and the check of the views


@pytest.mark.slow
def test_compiling_is_in_the_time_and_not_in_the_schedule(clock, monkeypatch):
    """The first step takes half of the time; all others a second each."""
    monkeypatch.setattr(torch, "compile", lambda module: module)
    paces = {1: 50.0, 2: 1.0}
    clock.then = {n: functools.partial(setattr, clock, "seconds", p) for n, p in paces.items()}
    model = timed(device=Device(compile=True)).fit(X)
    assert 99 <= clock.now <= 101
    assert len(clock.rates) > 40
    assert max(clock.rates) > 0.95 * model.lr_  # the warm-up was not left out
    assert clock.rates[1] < 0.2 * model.lr_


@pytest.mark.slow
def test_factory_that_returns_the_same_network_is_not_changed_by_the_trial(clock):
    network = make_backbone("small_convnet", (1, 8, 8))
    before = next(network.parameters()).clone()
    seen = []
    clock.then = {1: lambda: seen.append(next(network.parameters()).clone())}
    timed(backbone=lambda shape: network).fit(X)
    torch.testing.assert_close(seen[0], before, rtol=0, atol=0)


def test_dino_trains_its_prototypes_in_less_than_two_epochs(clock):
    model = timed(DINOTransformer, max_time=8).fit(X)
    assert model.max_epochs_ <= 2
    assert model.objective_.freeze_until == 0.5


def test_half_an_epoch_is_planned_as_that(clock):
    clock.seconds = 10.0
    with pytest.warns(ConvergenceWarning, match="of 30 steps"):
        model = timed(max_time=200, batch_size=2).fit(X)
    assert 0.4 < model.max_epochs_ < 0.7
    assert clock.rates[-1] < 0.1 * model.lr_
    assert max(clock.rates) > 0.9 * model.lr_


def test_partial_fit_takes_an_epoch_within_the_time(clock):
    model = timed(max_time=6)
    for _ in range(3):
        start = clock.now
        model.partial_fit(X)
        assert clock.now - start == 4  # one for the check of the views
    assert [row["n_steps"] for row in model.history_] == [3, 3, 3]
    clock.now, clock.seconds = 0.0, 2.5
    model.partial_fit(X)
    assert model.history_[-1]["n_steps"] == 1
    assert clock.now <= 6


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", [SimCLRTransformer, DINOTransformer])
def test_a_second_fit_has_its_own_time(clock, method):
    model = timed(method, warm_start=True).fit(X)
    n_epochs = model.n_iter_
    clock.now = 0.0
    model.fit(X)
    assert 99 <= clock.now <= 100
    assert model.n_iter_ == pytest.approx(2 * n_epochs, abs=1)


def test_too_little_time_takes_a_step_and_warns(clock):
    with pytest.warns(
        ConvergenceWarning, match="1 of 3 steps of the first epoch.*Increase max_time"
    ):
        model = timed(max_time=0.5).fit(X)
    assert model.n_iter_ == 1
    assert clock.rates[0] > 0
    assert np.isfinite(model.transform(X)).all()


@pytest.mark.slow
def test_what_is_said_before_the_first_step(clock, capsys):
    clock.then = {1: lambda: print("first step")}
    timed(verbose=1).fit(X)
    said = capsys.readouterr().out
    assert said.index("97 seconds of max_time are left") < said.index("first step")
    assert "about 32.3 epochs of 3 steps.\n" in said
    timed(verbose=1, max_epochs=4).fit(X)
    assert "epochs of 3 steps; max_epochs=4 is reached earlier.\n" in capsys.readouterr().out


def test_the_plan_is_saved(tmp_path):
    model = timed(DINOTransformer, max_time=8).fit(X)
    model.save(tmp_path / "saved.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "saved.safetensors", views=model.views)
    assert loaded.max_epochs_ == model.max_epochs_
    assert loaded.objective_.teacher.momentum == model.objective_.teacher.momentum
    assert loaded.objective_.freeze_until == model.objective_.freeze_until
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


@pytest.mark.slow
def test_nothing_is_timed_without_max_time(clock):
    clock.seconds = 1e6
    model = timed(max_time=None, max_epochs=2).fit(X)
    assert model.max_epochs_ == model.n_iter_ == 2
    assert shrunk(SimCLRTransformer, max_epochs="auto").fit(X).n_iter_ == 60


@pytest.mark.exhaustive
@pytest.mark.real_time
def test_a_search_over_times():
    images, y = digits()
    pipeline = make_pipeline(SimCLRTransformer(random_state=0), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a slow machine
        search = GridSearchCV(pipeline, {"simclrtransformer__max_time": ["1s", 2]}, cv=2)
        search.fit(images, y)
    # With what the linear model takes, on a machine that may have other work.
    assert (search.cv_results_["mean_fit_time"] > [0.9, 1.9]).all()
    assert clone(search.best_estimator_[0]).max_time in ("1s", 2)


@pytest.mark.slow
@pytest.mark.real_time
def test_real_time():
    images = digits()[0]
    SimCLRTransformer(max_epochs=1).fit(images)  # what is loaded at first
    warnings.simplefilter("ignore", ConvergenceWarning)  # a slow machine
    start = time.perf_counter()
    SimCLRTransformer(max_time=3, random_state=0).fit(images)
    assert 2.7 < time.perf_counter() - start < 4.5  # on a machine that may have other work
