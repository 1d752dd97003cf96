"""Fits beside others: joblib's backends, several GPUs, threads, and memory that is free again."""

import copy
import gc
import multiprocessing
import os
import time
import weakref
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from common import digits, each_image_method, shrunk
from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_ssl import DeepClusterEstimator, SimCLRTransformer, base
from sklearn_ssl._runtime.device import gpu_freed, resolve_device
from sklearn_ssl.data.sources import ArraySource
from sklearn_ssl.inference import embedder
from sklearn_ssl.training import run as fitting
from sklearn_ssl.training.net import SSLNet

simclr = partial(shrunk, SimCLRTransformer)
X, y = (part[:120] for part in digits())
# Their workers take seconds to start, in whichever test comes first.
LOKY, DASK = (pytest.param(name, marks=pytest.mark.slow) for name in ("loky", "dask"))


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Keep what dask adds to the environment to this module, and give dask no number of threads."""
    with mock.patch.dict(os.environ):
        os.environ.pop("OMP_NUM_THREADS", None)
        yield


@pytest.fixture(scope="module")
def loky():
    from joblib.externals.loky import get_reusable_executor

    yield
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@pytest.fixture(scope="module")
def dask(environment):
    from distributed import Client, LocalCluster

    settings = {"processes": True, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(n_workers=2, **settings) as cluster, Client(cluster, timeout=60):
        yield


@pytest.fixture(params=[LOKY, "threading", DASK])
def backend(request, monkeypatch):
    """Two jobs in a backend, with one thread each: more would add up numbers in another order."""
    if request.param != "threading":
        request.getfixturevalue(request.param)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with parallel_config(backend=request.param, n_jobs=2):
        yield request.param


def classifier(**parameters):
    return make_pipeline(simclr(**parameters), LogisticRegression(max_iter=1000))


def scores_and_search():
    """Return the scores of a cross-validation, and a fitted search over numbers of epochs."""
    epochs = {"simclrtransformer__max_epochs": [1, 3]}
    search = GridSearchCV(classifier(), epochs, cv=2).fit(X, y)
    return cross_val_score(classifier(), X, y, cv=2), search


@pytest.fixture(scope="module")
def alone():
    return scores_and_search()


@pytest.mark.slow
def test_backend_does_not_change_scores(alone, backend):
    scores, search = scores_and_search()
    np.testing.assert_array_equal(scores, alone[0])
    for fold in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(search.cv_results_[fold], alone[1].cv_results_[fold])
    np.testing.assert_array_equal(search.predict(X), alone[1].predict(X))
    assert len({*scores, *search.cv_results_["mean_test_score"]}) > 2


def linear(shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 8))


def noisy(batch):
    return [batch + 0.1 * torch.randn_like(batch) for _ in range(2)]


@pytest.mark.parametrize(
    ("backbone", "views"),
    [
        (linear, noisy),
        (
            lambda shape: nn.Sequential(nn.Flatten(), nn.Linear(64, 8)),
            lambda batch: [batch, 1 - batch],
        ),
    ],
    ids=["functions", "lambdas"],
)
def test_own_functions_reach_the_workers(backend, backbone, views):
    model = classifier(backbone=backbone, views=views)
    scores = cross_val_score(model, X, y, cv=2)
    np.testing.assert_array_equal(scores, cross_val_score(model, X, y, cv=2, n_jobs=1))


def threads_of_fit():
    """Return the numbers of threads that torch had in the steps of a fit."""
    threads = set()
    simclr(views=lambda batch: threads.add(torch.get_num_threads()) or noisy(batch)).fit(X)
    return threads


@pytest.mark.parametrize("backend", [LOKY, DASK], indirect=True)
def test_workers_share_the_cores(backend, monkeypatch):
    """By what joblib and dask tell a worker before it starts."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    for threads in Parallel()(delayed(threads_of_fit)() for _ in range(2)):
        assert 1 <= max(threads) <= max(1, cpu_count() // 2)


def test_fits_in_threads_take_turns():
    steps = []

    def fit(i):
        simclr(batch_size=20, views=lambda batch: steps.append(i) or noisy(batch)).fit(X)

    with parallel_config(backend="threading", n_jobs=2):
        Parallel()(delayed(fit)(i) for i in range(2))
    assert steps in (sorted(steps), sorted(steps, reverse=True))
    assert len(steps) > 8


@contextmanager
def gpus(n_gpus, current=0):
    """Let torch say that it has GPUs."""
    found = {"is_available": True, "device_count": n_gpus, "current_device": current}
    with mock.patch.multiple(torch.cuda, **{k: lambda v=v: v for k, v in found.items()}):
        yield


def worker(monkeypatch, name, number=None):
    """Let this process seem to be a worker with a name."""
    process = SimpleNamespace(name=name, _identity=(number,))
    monkeypatch.setattr(multiprocessing, "current_process", lambda: process)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: process)


@pytest.mark.parametrize(
    ("name", "number", "n_gpus", "gpu"),
    [
        ("LokyProcess-3", 3, 2, 1),
        ("SpawnProcess-2", 2, 2, 0),
        ("ForkPoolWorker-14", 14, 8, 6),
        ("SpawnProcess-2:5", 5, 4, 1),
        ("Dask Worker process (from Nanny)", 7, 4, 3),
        ("LokyProcess-3", 3, 1, 0),  # as where CUDA_VISIBLE_DEVICES gives each worker its own
    ],
)
def test_workers_take_gpus_in_turn(monkeypatch, name, number, n_gpus, gpu):
    worker(monkeypatch, name, number)
    with gpus(n_gpus):
        assert resolve_device("auto") == torch.device("cuda", gpu)


def test_gpu_is_the_current_or_the_requested_one(monkeypatch):
    with gpus(4, current=2):
        assert str(resolve_device("auto")) == "cuda:2"
        worker(monkeypatch, "LokyProcess-3")
        assert str(resolve_device("auto")) == "cuda:3"
        assert str(resolve_device("cuda:1")) == "cuda:1"
        assert str(resolve_device("cuda")) == "cuda:2"
        assert str(resolve_device("cpu")) == "cpu"


def gpu_of_worker(folder):
    """Return the GPU that this worker would take of two, once another one is asked too."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    with gpus(2):
        return resolve_device("auto").index


@pytest.mark.parametrize("backend", [LOKY, DASK], indirect=True)
def test_two_workers_take_two_gpus(backend, tmp_path):
    # Workers of earlier tests, some of them replaced, do not have numbers that follow each other.
    get_reusable_executor().shutdown(wait=True)
    assert sorted(Parallel()(delayed(gpu_of_worker)(tmp_path) for _ in range(2))) == [0, 1]


@pytest.fixture
def lasting(monkeypatch):
    """What of a fit is still there, by name, each time that the memory of a GPU is emptied.

    The fit itself runs on the CPU, with samples kept as on a GPU; no garbage is collected.
    """
    parts, lasting = {}, []

    def run(recipe, model, data, *args, **kwargs):
        parts.update(objective=weakref.ref(model.objective), samples=weakref.ref(data.array))
        return plain_run(recipe, model, data, *args, **kwargs)

    def initialize_optimizer(net):
        plain(net)
        parts.update(net=weakref.ref(net), optimizer=weakref.ref(net.optimizer_))
        return net

    def empty_cache():
        lasting.append({name for name, part in parts.items() if part() is not None})

    plain = SSLNet.initialize_optimizer
    monkeypatch.setattr(SSLNet, "initialize_optimizer", initialize_optimizer)
    plain_run = fitting.run
    monkeypatch.setattr(fitting, "run", run)
    monkeypatch.setattr(ArraySource, "near", lambda source, *_: source.moved("cpu"))
    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    gc.collect()
    gc.disable()
    yield lasting
    gc.enable()


@pytest.fixture
def on_gpu(monkeypatch):
    """End fits as if they were on the second GPU; what is emptied there is counted."""
    used = []
    gpu = torch.device("cuda", 1)
    monkeypatch.setattr(base, "gpu_freed", lambda device: gpu_freed(gpu))
    monkeypatch.setattr(torch.cuda, "device", lambda device: used.append(device) or nullcontext())
    return used


def test_fit_up_to_a_layer_leaves_only_its_network(lasting, on_gpu):
    simclr(backbone="small_vit", layer="encoder.ln").fit(X)
    assert lasting == [{"objective"}]


@each_image_method
def test_fit_leaves_only_its_network(method, lasting, on_gpu):
    model = shrunk(method).fit(X)
    assert lasting == [{"objective"}]
    assert on_gpu == [torch.device("cuda", 1)]
    model.partial_fit(X)
    assert lasting == [{"objective"}] * 2


class BrokenError(Exception):
    pass


def views_that_raise(batch):
    if len(batch) == 20:
        raise BrokenError
    return noisy(batch)


class BrokenWhenEmbedding(nn.Module):
    """A backbone that raises when an epoch of DeepCluster begins."""

    def forward(self, batch):
        if not self.training and len(batch) > 2:
            raise BrokenError
        return batch.flatten(1)


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (SimCLRTransformer, {"views": views_that_raise, "batch_size": 20}),
        (DeepClusterEstimator, {"backbone": BrokenWhenEmbedding()}),
    ],
)
def test_fit_that_raises_leaves_nothing(method, broken, lasting, on_gpu):
    with pytest.raises(BrokenError) as caught:
        shrunk(method, **broken).fit(X)
    assert lasting == [set()]  # although the exception is held
    assert caught.tb is not None


def test_fit_on_the_processor_keeps_the_cache_of_gpus(lasting):
    simclr().fit(X)
    assert lasting == []


@pytest.mark.parametrize("call", ["transform", "score"])
def test_copies_for_a_gpu_are_gone(call, monkeypatch):
    model, copies = simclr().fit(X), []

    def moved(module, device):
        copied = copy.deepcopy(module).eval()
        copies.append(weakref.ref(copied))
        return copied

    monkeypatch.setattr(base if call == "score" else embedder, "moved", moved)
    gc.collect()
    gc.disable()
    try:
        getattr(model, call)(X)
        assert [copied() for copied in copies] == [None]
    finally:
        gc.enable()
