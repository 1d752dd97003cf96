"""Fits that are kept: read back instead of repeated, waited for, gone on with after a kill."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import skorch.callbacks
import torch
from common import (
    each_method,
    each_method_long,
    exhaustively,
    narrow_network,
    shrunk,
    slowly,
    takes,
)
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

import sklearn_ssl
from sklearn_ssl import DeepClusterEstimator, Device, FitCache, Images, SimCLRTransformer
from sklearn_ssl.views import ImageViews

simclr = functools.partial(shrunk, SimCLRTransformer)


class Trainings(skorch.callbacks.Callback):
    """Counts trainings, and epochs, in a file that processes share."""

    def __init__(self, path):
        self.path = path

    def on_train_begin(self, net, **kwargs):
        self.write("t")

    def on_epoch_end(self, net, **kwargs):
        self.write("e")

    def write(self, letter):
        with open(self.path, "a") as file:
            file.write(letter)


@pytest.fixture
def trainings(tmp_path):
    counting = Trainings(str(tmp_path / "trainings"))
    counting.write("")
    return counting


def counted(trainings):
    """Return how many trainings and epochs there were since the last call."""
    text = Path(trainings.path).read_text()
    Path(trainings.path).write_text("")
    return text.count("t"), text.count("e")


def assert_same(model, other, X):
    """Both are the same fitted estimator, to the bit."""
    assert set(vars(model)) == set(vars(other))
    for name, value in vars(model).items():
        if name.endswith("_") and not isinstance(value, nn.Module):
            if name == "history_":
                value = [row | {"dur": 0} for row in value]
                np.testing.assert_equal([r | {"dur": 0} for r in other.history_], value)
            else:
                np.testing.assert_equal(getattr(other, name), value, err_msg=name)
    assert_same_state(model.objective_.state_dict(), other.objective_.state_dict())
    assert_same_state(model._optimizer_state, other._optimizer_state)
    np.testing.assert_array_equal(model.transform(X), other.transform(X))
    assert model.score(X) == other.score(X)


def assert_same_state(state, other):
    if isinstance(state, dict):
        assert list(state) == list(other)
        for key in state:
            assert_same_state(state[key], other[key])
    elif isinstance(state, torch.Tensor):
        assert torch.equal(state, other)
    else:
        np.testing.assert_equal(state, other)


@pytest.mark.parametrize("kind", ["image", "table"])
@each_method
def test_cached_fit_is_loaded_bit_identical(method, kind, images, tmp_path, trainings):
    if not takes(method, kind, memory=tmp_path):
        return
    X = images[:60] if kind == "image" else images[:60].reshape(60, -1)
    settings = {"max_epochs": 2, "callbacks": [trainings]}
    plain = shrunk(method, **settings).fit(X)
    first = shrunk(method, memory=tmp_path, **settings).fit(X)
    assert counted(trainings) == (2, 4)
    state = torch.random.get_rng_state()
    second = shrunk(method, memory=joblib.Memory(str(tmp_path), verbose=0), **settings).fit(
        X.copy()
    )
    assert counted(trainings) == (0, 0)
    torch.testing.assert_close(torch.random.get_rng_state(), state)
    plain._cache_inputs = first._cache_inputs
    assert_same(plain, first, X)
    assert_same(first, second, X)
    assert second.history_ == first.history_
    for model in (plain, second):  # the optimizer goes on as well
        model.partial_fit(X)
    assert counted(trainings) == (2, 2)
    np.testing.assert_array_equal(plain.transform(X), second.transform(X))


OTHERS = {
    "another value in X": lambda model, X: (model, np.where(np.arange(64).reshape(8, 8), X, X + 1)),
    "fewer samples": lambda model, X: (model, X[:-1]),
    "another order": lambda model, X: (model, X[::-1]),
    "another type of X": lambda model, X: (model, X.astype("f4")),
    "the same numbers in rows": lambda model, X: (model, X.reshape(len(X), -1)),
    "a parameter of the method": lambda model, X: (model.set_params(temperature=0.3), X),
    "a shared parameter": lambda model, X: (model.set_params(max_epochs=2), X),
    "the seed": lambda model, X: (model.set_params(random_state=1), X),
    "views": lambda model, X: (model.set_params(views=ImageViews(hflip=0.0)), X),
    "precision": lambda model, X: (model.set_params(device__precision="bfloat16"), X),
    "micro-batches": lambda model, X: (model.set_params(device__micro_batch_size=8), X),
    "a callback": lambda model, X: (model.set_params(callbacks=[skorch.callbacks.PrintLog()]), X),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_fit_is_not_taken_for_it(other, images, tmp_path):
    model = simclr(memory=tmp_path).fit(images[:40])
    there = set(tmp_path.rglob("fit.safetensors"))
    model, X = OTHERS[other](simclr(memory=tmp_path), images[:40])
    model.fit(X)
    assert len(set(tmp_path.rglob("fit.safetensors")) - there) == 1


SAME = {
    "verbose": {"verbose": 1},
    "n_jobs": {"input": Images(n_jobs=2)},
    "cache": {"input": Images(cache="somewhere")},
    "device": {"device": "cpu"},
    "precision": {"device": Device(precision="float32")},
    "flip_tta": {"flip_tta": True},
    "seed": {"random_state": np.int64(0)},
    "epochs": {"max_epochs": np.int32(1)},
}


@pytest.mark.parametrize("name", SAME)
def test_what_changes_nothing_does_not_count(name, images, tmp_path, trainings):
    settings = {"memory": tmp_path, "callbacks": [trainings]}
    simclr(**settings).fit(images[:40])
    simclr(**settings | SAME[name]).fit(images[:40])
    assert counted(trainings)[0] == 1


def test_layout_in_memory_does_not_count(images, tmp_path, trainings):
    settings = {"memory": str(tmp_path), "callbacks": [trainings]}
    np.save(tmp_path / "X.npy", images[:40])
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for X in (images[:40], np.asfortranarray(images[:40]), images[:40].tolist(), mapped):
        simclr(**settings).fit(X)
    assert counted(trainings)[0] == 1


def test_random_states(images, tmp_path, trainings):
    """Without one the first fit stays; one that was used is another."""
    settings = {"memory": tmp_path, "callbacks": [trainings]}
    models = [simclr(random_state=None, **settings).fit(images[:40]) for _ in range(2)]
    assert counted(trainings)[0] == 1
    assert models[0]._seed == models[1]._seed
    used = np.random.RandomState(0)
    models = [simclr(random_state=used, **settings).fit(images[:40]) for _ in range(2)]
    assert counted(trainings)[0] == 2
    assert models[0]._seed != models[1]._seed
    simclr(random_state=np.random.RandomState(0), **settings).fit(images[:40])
    assert counted(trainings)[0] == 0


def net(shape, width=8):
    return nn.Sequential(nn.Conv2d(shape[0], width, 3, 2), nn.BatchNorm2d(width), nn.ReLU())


def test_modules_count_by_their_content(images, tmp_path, trainings):
    def fit(backbone):
        model = simclr(backbone=backbone, memory=tmp_path, callbacks=[trainings]).fit(images[:40])
        return model, counted(trainings)[0]

    torch.manual_seed(0)
    module = net((1, 8, 8))
    first, trained = fit(module)
    assert trained == 1
    again, trained = fit(clone(first).backbone)  # a copy, as in each fold of a search
    assert trained == 0
    assert_same(first, again, images[:40])
    assert isinstance(again.backbone_, nn.Module)
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] += 1
    assert fit(module)[1] == 1
    module[0].stride = (1, 1)
    assert fit(module)[1] == 1
    model, trained = fit(net)
    assert trained == 1
    assert fit(net)[1] == 0
    assert model.backbone_ is net
    assert fit(functools.partial(net, width=4))[1] == 1
    assert fit(lambda shape: net(shape))[1] == 1


def test_views_of_the_user(images, tmp_path, trainings):
    shift = 0.1

    def fit(views):
        model = simclr(views=views, memory=tmp_path, callbacks=[trainings]).fit(images[:40])
        return model, counted(trainings)[0]

    def views(batch):
        return [batch, batch + shift]

    first, trained = fit(views)
    assert trained == 1
    again, trained = fit(views)
    assert trained == 0
    assert again.views_ is views
    assert_same(first, again, images[:40])
    shift = 0.2
    assert fit(views)[1] == 1


def test_weights_from_a_file_count_by_its_content(images, tmp_path, trainings):
    path = tmp_path / "weights.pt"

    def fit(seed):
        torch.manual_seed(seed)
        torch.save(net((1, 8, 8)).state_dict(), path)
        settings = {"backbone": net, "weights": path, "callbacks": [trainings]}
        simclr(memory=tmp_path, **settings).fit(images[:40])
        return counted(trainings)[0]

    assert [fit(0), fit(0), fit(1)] == [1, 0, 1]


def test_what_cannot_be_compared_is_refused(images, tmp_path):
    views = functools.partial(lambda file, batch: [batch, batch + 0.1], open(os.devnull))  # noqa: SIM115
    with pytest.raises(ValueError, match=r"parameter views holds .*devnull|/dev/null.*memory=None"):
        simclr(views=views, memory=tmp_path).fit(images[:40])
    views.args[0].close()


def test_warm_starts_count_by_their_start(images, tmp_path, trainings):
    settings = {"memory": tmp_path, "callbacks": [trainings], "warm_start": True}
    first = simclr(**settings).fit(images[:40]).fit(images[:40])
    assert counted(trainings)[0] == 2
    again = simclr(**settings).fit(images[:40]).fit(images[:40])
    assert counted(trainings)[0] == 0
    assert again.n_iter_ == 2
    assert_same(first, again, images[:40])


def test_embeddings_are_stored(images, tmp_path, monkeypatch):
    embedded = []
    embedding = SimCLRTransformer._embedding
    monkeypatch.setattr(
        SimCLRTransformer, "_embedding", lambda *args: embedded.append(1) or embedding(*args)
    )
    model = simclr(memory=tmp_path).fit(images[:40])
    first = model.transform(images)
    again = simclr(memory=tmp_path).fit(images[:40])
    np.testing.assert_array_equal(again.transform(images), first)
    assert len(embedded) == 1
    again.transform(images[1:])
    assert len(embedded) == 2
    with torch.no_grad():
        again.encoder_.backbone[0][0].weight += 1  # by hand: another encoder
    assert not np.array_equal(again.transform(images), first)
    model.partial_fit(images[:40])
    assert not np.array_equal(model.transform(images), first)
    there = set(tmp_path.rglob("*"))
    model.set_params(memory=None).fit(images[:40]).set_params(memory=tmp_path)
    np.testing.assert_array_equal(model.transform(images), first)  # not kept: computed
    assert len(embedded) == 5
    model.partial_fit(images[:40])
    assert set(tmp_path.rglob("*")) == there


@pytest.fixture
def files(photos, tmp_path):
    from PIL import Image

    paths = [str(tmp_path / f"{i}.png") for i in range(40)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    return paths


def test_files_are_not_read_again(files, tmp_path, trainings, monkeypatch):
    settings = {"memory": tmp_path / "kept", "callbacks": [trainings], "input": Images(size=16)}
    hashing = settings | {"memory": FitCache(tmp_path / "kept", hash_files=True)}
    first = simclr(**settings).fit(files)
    embedding = first.transform(files)
    with monkeypatch.context() as broken:
        broken.setattr(sklearn_ssl.data.images, "read_images", None)
        again = simclr(**settings).fit(files)
        np.testing.assert_array_equal(again.transform(files), embedding)
    assert counted(trainings)[0] == 1
    first._cache_inputs = again._cache_inputs
    assert_same(first, again, files)
    os.utime(files[3], (1, 1))
    simclr(**settings).fit(files)
    assert counted(trainings)[0] == 1
    simclr(**hashing).fit(files)
    assert counted(trainings)[0] == 1
    os.utime(files[3], (2, 2))
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in files:
        os.rename(path, moved / Path(path).name)
    files = [str(moved / Path(path).name) for path in files]
    simclr(**hashing).fit(files)
    assert counted(trainings)[0] == 0
    Path(files[3]).write_bytes(Path(files[4]).read_bytes())
    simclr(**hashing).fit(files)
    assert counted(trainings)[0] == 1


def test_listed_images_of_every_form(files, photos, tmp_path, trainings):
    from PIL import Image

    settings = {"memory": tmp_path / "kept", "callbacks": [trainings], "input": Images(size=16)}
    forms = {
        "bytes": [Path(path).read_bytes() for path in files],
        "pillow": [Image.fromarray(photo) for photo in photos[:40]],
        "arrays": [photo[:, : 20 + i % 3] for i, photo in enumerate(photos[:40])],
    }
    for form, X in forms.items():
        first, again = (simclr(**settings).fit(X) for _ in range(2))
        assert counted(trainings)[0] == 1, form
        assert_same(first, again, X)
    simclr(**settings).fit(forms["arrays"][::-1])
    assert counted(trainings)[0] == 1


def test_what_to_do_about_broken_files_stays(files, tmp_path, trainings):
    Path(files[1]).write_bytes(b"broken")
    fail, skip, warn = (Images(size=16, on_error=x) for x in ("raise", "skip", "warn"))
    settings = {"memory": tmp_path / "kept", "callbacks": [trainings]}
    model = simclr(input=skip, **settings).fit(files)
    assert np.isnan(model.transform(files)[1]).all()
    with pytest.raises(ValueError, match="could not be read"):
        simclr(input=fail, **settings).fit(files)
    again = simclr(input=skip, **settings).fit(files)
    assert np.isnan(again.transform(files)[1]).all()
    with pytest.raises(ValueError, match="could not be read"):
        again.set_params(input__on_error="raise").transform(files)
    for _ in range(2):
        with pytest.warns(UserWarning, match="could not be read"):
            simclr(input=warn, **settings).fit(files)
    assert counted(trainings)[0] == 2


def test_joblib_counts_and_removes_cached_fits(images, tmp_path, trainings):
    memory = joblib.Memory(str(tmp_path), verbose=0)
    settings = {"memory": memory, "callbacks": [trainings]}

    def fits():
        return len(list(tmp_path.rglob("fit.safetensors")))

    simclr(**settings).fit(images[:40])
    time.sleep(0.05)
    simclr(random_state=1, **settings).fit(images[:40])
    time.sleep(0.05)
    simclr(**settings).fit(images[:40])  # used last, though made first
    assert counted(trainings)[0] == 2
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    memory.reduce_size(bytes_limit=size)
    assert fits() == 2
    memory.reduce_size(bytes_limit=size - 1)
    assert fits() == 1
    simclr(**settings).fit(images[:40])
    assert counted(trainings)[0] == 0
    memory.clear(warn=False)
    assert fits() == 0
    simclr(**settings).fit(images[:40])
    assert counted(trainings)[0] == 1


@pytest.mark.parametrize("memory", [joblib.Memory(None), None])
def test_no_memory(memory, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simclr(memory=memory).fit(images[:40]).transform(images)
    assert not list(tmp_path.iterdir())


def test_what_is_no_folder_is_refused(images):
    class Elsewhere:
        store_backend = type("Backend", (), {"location": 3})()

        def cache(self):
            """As joblib.Memory has."""

    with pytest.raises(ValueError, match="does not store its cache in a local folder"):
        simclr(memory=Elsewhere()).fit(images[:40])
    with pytest.raises(ValueError, match="'memory' parameter of SimCLRTransformer must be"):
        simclr(memory=3).fit(images[:40])


# Searches


def search(memory, trainings, n_jobs, **settings):
    model = simclr(memory=memory, callbacks=[trainings], **settings)
    grid = {"logisticregression__C": [0.01, 0.1, 1, 10, 100]}
    pipeline = make_pipeline(model, LogisticRegression())
    return GridSearchCV(pipeline, grid, cv=5, n_jobs=n_jobs)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, exhaustively(2)])
@pytest.mark.parametrize("kind", ["", *map(exhaustively, ("module", "pipeline"))])
def test_a_search_trains_once_a_fold(kind, n_jobs, images, tmp_path, trainings):
    y = np.arange(100) % 2
    settings = {"backbone": net((1, 8, 8))} if kind == "module" else {}
    searched = search(tmp_path / "kept", trainings, n_jobs, **settings)
    if kind == "pipeline":
        searched.estimator.set_params(memory=str(tmp_path / "pipeline"))
    searched.fit(images[:100], y)
    assert counted(trainings)[0] == 6
    scores = searched.cv_results_["mean_test_score"]
    plain = search(None, trainings, 1, **settings).fit(images[:100], y)
    assert counted(trainings)[0] == 26
    np.testing.assert_array_equal(scores, plain.cv_results_["mean_test_score"])


def repeated_searches(n_jobs, repetitions=10):
    """Return how many trainings each of some searches took."""
    import tempfile

    from common import digits

    X, y, counts = digits()[0][:100], np.arange(100) % 2, []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            trainings = Trainings(os.path.join(folder, "trainings"))
            search(os.path.join(folder, "kept"), trainings, n_jobs).fit(X, y)
            counts.append(counted(trainings)[0])
    return counts


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("n_jobs", [1, 2, 8, 16])
def test_ten_searches_train_once_a_fold(n_jobs):
    assert repeated_searches(n_jobs) == [6] * 10


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_wait_for_the_same_fit(backend, images, tmp_path, trainings):
    model = simclr(memory=tmp_path / "kept", callbacks=[trainings], max_epochs=3)
    with joblib.parallel_config(backend):
        models = joblib.Parallel(3)(joblib.delayed(clone(model).fit)(images) for _ in range(6))
    assert counted(trainings) == (1, 3)
    for other in models[1:]:
        assert_same_state(models[0].objective_.state_dict(), other.objective_.state_dict())


# Interrupted fits


class Steps:
    """How many steps there were, and before which one to interrupt: no content for a key."""

    n, at = 0, None

    def __reduce__(self):
        return "STEPS"


STEPS = Steps()


class Interrupt(skorch.callbacks.Callback):
    """Interrupts the fit before a step, as the keyboard does."""

    def on_batch_begin(self, net, **kwargs):
        STEPS.n += 1
        if STEPS.n == STEPS.at:
            signal.raise_signal(signal.SIGINT)


def interrupt(at, callback=Interrupt):
    """Return a callback that interrupts the next fit before this step, None for never."""
    STEPS.n, STEPS.at = 0, at
    return callback()


SETTINGS = {
    "adamw": {},
    "sgd": {"optimizer": "sgd"},
    "lars": {"optimizer": "lars"},
    "float16": {"device": Device(precision="float16"), "backbone": narrow_network()},
    "resnet18": {"backbone": "resnet18", "max_epochs": 2},
    "vit": {"backbone": "small_vit"},
}


def interrupted(method, X, at, memory, **settings):
    """Fit with an interrupt at this step; then fit again to the end."""
    model = shrunk(method, memory=memory, callbacks=[interrupt(at)], **settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert not hasattr(model, "encoder_")
    folder = Path(getattr(memory, "path", memory))
    assert list(folder.rglob("checkpoint.safetensors"))
    model.set_params(callbacks=[interrupt(None)]).fit(X)
    assert not list(folder.rglob("checkpoint.safetensors"))
    return model


def assert_same_end(model, straight, X):
    assert_same_state(straight.objective_.state_dict(), model.objective_.state_dict())
    assert_same_state(straight._optimizer_state, model._optimizer_state)
    assert model.loss_curve_ == straight.loss_curve_
    np.testing.assert_array_equal(model.transform(X), straight.transform(X))


@pytest.mark.parametrize("minutes", [0, 10])
@pytest.mark.parametrize("kind", ["image", "table"])
@each_method_long
def test_interrupted_fit_resumes(method, kind, minutes, images, tmp_path):
    """Within an epoch where checkpoints are written there, and from its beginning."""
    if not takes(method, kind, memory=tmp_path):
        return
    X = images if kind == "image" else images.reshape(200, -1)
    settings = {"max_epochs": 3, "batch_size": 40}
    straight = shrunk(method, **settings).fit(X)
    memory = FitCache(tmp_path, checkpoint_minutes=minutes)
    model = interrupted(method, X, 9, memory, **settings)
    assert STEPS.n == (7 if minutes == 0 else 10)  # of 15
    assert_same_end(model, straight, X)


@pytest.mark.parametrize("name", [*list(SETTINGS)[:2], *map(exhaustively, list(SETTINGS)[2:])])
@pytest.mark.slow
def test_settings_of_interrupted_fits(name, images, tmp_path):
    settings = {"max_epochs": 3, "batch_size": 40} | SETTINGS[name]
    memory = FitCache(tmp_path, checkpoint_minutes=0)
    model = interrupted(SimCLRTransformer, images, 7, memory, **settings)
    assert_same_end(model, simclr(**settings).fit(images), images)


@pytest.mark.slow
def test_scale_of_half_precision_is_saved(images, tmp_path, monkeypatch):
    """It begins too high here, so that the first steps are left out while it falls."""
    scaler = functools.partial(torch.amp.GradScaler, init_scale=2.0**20)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    settings = {"max_epochs": 3, "batch_size": 40, "backbone": narrow_network()}
    settings["device"] = Device(precision="float16")
    straight = simclr(**settings).fit(images)
    assert straight.health_["skipped_steps"][0] > 0
    model = interrupted(SimCLRTransformer, images, 7, tmp_path, **settings)
    assert_same_end(model, straight, images)


def test_without_a_seed_it_goes_on_with_that_of_its_beginning(images, tmp_path):
    path, model = begun(images, tmp_path, random_state=None)
    seed = sklearn_ssl.persistence.file_format.read_values(path)["seed"]
    assert model.fit(images)._seed == seed
    assert STEPS.n < 15


@pytest.mark.slow
def test_files_of_interrupted_fits(files, photos, tmp_path):
    """Another part of a wide image is seen in each epoch, also in the rest of one."""
    from PIL import Image

    for path, photo, other in zip(files, photos, photos[40:], strict=False):
        Image.fromarray(np.concatenate([photo, other], axis=1)).save(path)
    settings = {
        "max_epochs": 3,
        "batch_size": 10,
        "input": Images(size=16),
    }
    memory = FitCache(tmp_path / "fits", checkpoint_minutes=0)
    model = interrupted(SimCLRTransformer, files, 6, memory, **settings)
    assert_same_end(model, simclr(**settings).fit(files), files)


@pytest.mark.slow
def test_callbacks_remember_what_they_saw(images, tmp_path):
    """EarlyStopping stops after the same epoch."""

    def fit(*more, memory=None):
        stop = skorch.callbacks.EarlyStopping("train_loss", patience=2, threshold=10, sink=str)
        settings = {"max_epochs": 8, "batch_size": 40, "memory": memory}
        return simclr(callbacks=[stop, *more], **settings).fit(images)

    straight = fit(interrupt(None))
    assert straight.n_iter_ < 8
    with pytest.raises(KeyboardInterrupt):
        fit(interrupt(7), memory=tmp_path)
    assert_same_end(fit(interrupt(None), memory=tmp_path), straight, images)


class Secretive(skorch.callbacks.Callback):
    """Learns something that no file of plain values holds."""

    def on_train_begin(self, net, **kwargs):
        self.learned = object()


def test_callbacks_whose_state_cannot_be_saved(images, tmp_path):
    """There are no checkpoints, and it is said; the finished fit is kept."""
    settings = {"max_epochs": 3, "memory": tmp_path, "callbacks": [Secretive()]}
    with pytest.warns(
        UserWarning, match="The checkpoint cannot be cached .* such as an attribute of a callback"
    ) as warned:
        first = simclr(**settings).fit(images)
    assert len(warned) == 1
    assert_same(first, simclr(**settings).fit(images), images)


def begun(images, memory, **settings):
    """Leave a checkpoint of a fit; return its path, and the estimator."""
    settings = {"max_epochs": 3, "batch_size": 40, "memory": memory} | settings
    with pytest.raises(KeyboardInterrupt):
        simclr(callbacks=[interrupt(12)], **settings).fit(images)
    (path,) = Path(memory).rglob("checkpoint.safetensors")
    return path, simclr(callbacks=[interrupt(None)], **settings)


BROKEN = {
    "torn": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "foreign": lambda content: b"not a checkpoint at all",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torn", *map(exhaustively, list(BROKEN)[1:])])
def test_broken_checkpoint_warns_and_is_not_used(name, images, tmp_path):
    path, model = begun(images, tmp_path)
    path.write_bytes(BROKEN[name](path.read_bytes()))
    with pytest.warns(UserWarning, match=r"checkpoint.safetensors.*will be computed again"):
        model.fit(images)
    assert STEPS.n == 15
    assert_same_end(model, simclr(max_epochs=3, batch_size=40).fit(images), images)


@pytest.mark.parametrize("name", ["torn", *map(slowly, list(BROKEN)[1:])])
def test_broken_cached_fit_warns_and_is_repeated(name, images, tmp_path, trainings):
    settings = {"memory": tmp_path / "kept", "callbacks": [trainings]}
    first = simclr(**settings).fit(images)
    (path,) = tmp_path.rglob("fit.safetensors")
    path.write_bytes(BROKEN[name](path.read_bytes()))
    with pytest.warns(UserWarning, match=r"fit.safetensors.*will be computed again"):
        model = simclr(**settings).fit(images)
    assert counted(trainings)[0] == 2
    assert_same_end(model, first, images)
    simclr(**settings).fit(images)  # mended
    assert counted(trainings)[0] == 0


@pytest.mark.slow
def test_a_checkpoint_of_other_data_is_not_used(images, tmp_path):
    path, _ = begun(images, tmp_path)
    content = path.read_bytes()
    other, model = begun(images + 1, tmp_path / "other")
    other.write_bytes(content)  # as by a mistake
    with pytest.warns(UserWarning, match="belongs to another fit"):
        model.fit(images + 1)
    assert STEPS.n == 15
    assert_same_end(model, simclr(max_epochs=3, batch_size=40).fit(images + 1), images)


@pytest.mark.slow
def test_checkpoint_of_another_version_warns(images, tmp_path, monkeypatch):
    with monkeypatch.context() as older:
        real = sklearn_ssl.persistence.fit_cache.version
        older.setattr(
            sklearn_ssl.persistence.fit_cache,
            "version",
            lambda name: "1.0" if name == "torch" else real(name),
        )
        _, model = begun(images, tmp_path)
    with pytest.warns(UserWarning, match=r"\(torch 1.0, now 2[^,]*\) and cannot be resumed"):
        model.fit(images)
    assert STEPS.n == 15


@pytest.fixture
def disk_full():
    """Let no file become larger than 200 kB: the system says so as it does of a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(size=200_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield full
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_full(images, tmp_path, trainings, disk_full):
    """Said once; the fit ends, and no part of a file stays."""
    settings = {"max_epochs": 3, "memory": tmp_path / "kept", "callbacks": [trainings]}
    disk_full()
    with pytest.warns(
        UserWarning, match=r"The checkpoint cannot be cached in .*: File too large"
    ) as warned:
        model = simclr(**settings).fit(images)
    assert len(warned) == 1
    assert not list(tmp_path.rglob("*.safetensors*"))
    with pytest.raises(OSError, match=r"File too large: .*model\.safetensors"):
        model.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.rglob("*.safetensors*"))
    disk_full(-1)
    assert_same_end(simclr(**settings).fit(images), model, images)
    assert counted(trainings)[0] == 2


@pytest.mark.slow
def test_a_disk_that_is_full_after_some_epochs(images, tmp_path, disk_full):
    """The checkpoint from before stays, and is gone on with."""
    path, model = begun(images, tmp_path)
    kept = path.read_bytes()
    disk_full()
    with pytest.warns(UserWarning, match="cannot be cached"):
        model.fit(images)
    disk_full(-1)
    assert STEPS.n < 15
    assert path.read_bytes() == kept
    assert_same_end(model, simclr(max_epochs=3, batch_size=40).fit(images), images)


def test_the_folder_may_vanish_at_any_time(images, tmp_path):
    import shutil

    class Vandal(Interrupt):
        def on_epoch_end(self, net, **kwargs):
            shutil.rmtree(tmp_path, ignore_errors=True)

    settings = {"max_epochs": 3, "batch_size": 40}
    model = simclr(memory=tmp_path, callbacks=[interrupt(None, Vandal)], **settings).fit(images)
    assert_same_end(model, simclr(**settings).fit(images), images)


def test_a_fit_that_scikit_learns_callback_ends_is_no_fit(images, tmp_path, trainings):
    class Stop(ProgressBar):
        def on_fit_task_end(self, *args, **kwargs):
            super().on_fit_task_end(*args, **kwargs)
            return True

    settings = {"max_epochs": 4, "memory": tmp_path, "callbacks": [trainings]}
    assert simclr(**settings).set_callbacks(Stop()).fit(images).n_iter_ == 1
    assert simclr(**settings).fit(images).n_iter_ == 4
    assert counted(trainings) == (2, 4)  # it went on after the first epoch


# Killed processes


def fit_and_save(memory, path, settings):
    """Fit in a process of its own."""
    from common import digits

    torch.set_num_threads(1)
    with warnings.catch_warnings(action="error"):
        method, minutes, settings = settings
        memory = memory and FitCache(memory, checkpoint_minutes=minutes)
        model = KILLED[method](memory=memory, random_state=0, **settings)
        model.fit(digits()[0][:400])
    model.save(path + ".part")
    os.replace(path + ".part", path)


KILLED = {"simclr": SimCLRTransformer, "deepcluster": DeepClusterEstimator}


def kill_until_done(folder, n_kills, settings, rng):
    """Kill fits at random moments, each going on where the last was; return files of weights."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["persistence.test_fit_cache", "torchvision", "skorch"])

    def started(memory, path):
        process = context.Process(target=fit_and_save, args=(memory, str(path), settings))
        process.start()
        return process

    for name in ("warm", "straight"):  # the first waits for the imports
        start = time.perf_counter()
        started(None, folder / f"{name}.safetensors").join()
        seconds = time.perf_counter() - start
    kills, ends = 0, []
    while kills < n_kills:
        ends.append(folder / f"killed{len(ends)}.safetensors")
        while not ends[-1].exists():
            process = started(str(folder / f"kept{len(ends)}"), ends[-1])
            process.join(rng.uniform(0, seconds) if kills < n_kills else None)
            if process.is_alive():
                process.kill()
                kills += 1
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
    return folder / "straight.safetensors", ends


def assert_killed_fits_are_the_same(folder, n_kills, settings, seed=0):
    straight, ends = kill_until_done(folder, n_kills, settings, np.random.default_rng(seed))
    expected = sklearn_ssl.load(straight)
    for path in ends:
        model = sklearn_ssl.load(path)
        assert_same_state(expected.objective_.state_dict(), model.objective_.state_dict())
        assert model.loss_curve_ == expected.loss_curve_
    return len(ends)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*list(KILLED)[:1], *map(exhaustively, list(KILLED)[1:])])
def test_killed_fit_resumes(method, tmp_path):
    settings = {"max_epochs": 6, "batch_size": 40}
    assert_killed_fits_are_the_same(tmp_path, 3, (method, 0, settings))


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("minutes", [0, 10])
def test_fit_killed_fifty_times_resumes(minutes, tmp_path):
    settings = {"max_epochs": 12, "batch_size": 40}
    assert_killed_fits_are_the_same(tmp_path, 50, ("simclr", minutes, settings))


@pytest.mark.exhaustive
def test_waiting_process_resumes_the_fit_of_a_killed_one(tmp_path, trainings):
    context = multiprocessing.get_context("forkserver")
    path, n_epochs = str(tmp_path / "model.safetensors"), 40
    settings = {"max_epochs": n_epochs, "batch_size": 40, "callbacks": [trainings]}
    given = str(tmp_path / "kept"), path, ("simclr", 10, settings)
    owner, waiting = (context.Process(target=fit_and_save, args=given) for _ in range(2))
    owner.start()
    while not list(tmp_path.rglob("checkpoint.safetensors")):
        assert owner.is_alive()
        time.sleep(0.01)
    waiting.start()
    time.sleep(1)
    assert Path(trainings.path).read_text().count("t") == 1
    owner.kill()
    waiting.join()
    assert waiting.exitcode == 0
    n_trainings, epochs = counted(trainings)
    assert n_trainings == 2
    assert n_epochs <= epochs <= n_epochs + 1  # one was cut off after it was told of
    assert sklearn_ssl.load(path).n_iter_ == n_epochs


# What a fit hangs on, or not


def frozen(module):
    for parameter in module[0].parameters():
        parameter.requires_grad = False
    return module


def test_frozen_weights_are_another_fit(images, tmp_path, trainings):
    torch.manual_seed(0)
    module = net((1, 8, 8))
    settings = {"memory": tmp_path, "callbacks": [trainings]}
    simclr(backbone=module, **settings).fit(images[:40])
    before = module[0].weight.clone()
    model = simclr(backbone=frozen(module), **settings).fit(images[:40])
    assert counted(trainings)[0] == 2
    assert torch.equal(model.encoder_.backbone[0].weight, before)


def test_a_module_of_the_user_counts_by_its_content(images, tmp_path, trainings, monkeypatch):
    import importlib

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "my_views_of_digits.py"

    def fit(shift):
        path.write_text(f"def two(batch):\n    return [batch, batch + {shift}]\n")
        importlib.invalidate_caches()
        sys.modules.pop(path.stem, None)
        module = importlib.import_module(path.stem)

        def views(batch):
            return module.two(batch)

        simclr(views=views, memory=tmp_path / "kept", callbacks=[trainings]).fit(images[:40])
        return counted(trainings)[0]

    assert [fit(0.1), fit(0.1), fit(0.25)] == [1, 0, 1]


def test_embeddings_belong_to_the_code_of_the_encoder(images, tmp_path):
    def backbone(activation):
        return lambda shape: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), activation())

    model = simclr(backbone=backbone(nn.ReLU), memory=tmp_path / "kept").fit(images[:40])
    embedding = model.transform(images)
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "model.safetensors", backbone=backbone(nn.Tanh))
    assert not np.array_equal(
        loaded.set_params(memory=tmp_path / "kept").transform(images), embedding
    )
    model.encoder_.backbone[2] = nn.Tanh()
    assert not np.array_equal(model.transform(images), embedding)


class Drifting:
    """Views that change from call to call."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, batch):
        self.n_calls += 1
        return [batch, batch + 0.01 * self.n_calls]


class Hidden(nn.Module):
    """A backbone that learns something which is not in its state_dict."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 8)
        self.register_buffer("seen", torch.zeros(1), persistent=False)

    def forward(self, x):
        self.seen += self.training
        return self.linear(x.flatten(1)) + self.seen


class WithState(nn.Linear):
    """A layer with a state that no file of plain values holds."""

    def get_extra_state(self):
        return slice(3)

    def set_extra_state(self, state):
        """Nothing to do."""


NOT_KEPT = {
    "views that change": ({"views": Drifting()}, "it changed its views or callbacks"),
    "hidden state": ({"backbone": Hidden()}, "cannot be restored from a state_dict"),
    "state that is no value": (
        {"backbone": nn.Sequential(nn.Flatten(), WithState(64, 8))},
        "cannot be cached in .*slice",
    ),
}


@pytest.mark.parametrize("name", NOT_KEPT)
def test_unreadable_fits_are_not_cached_with_a_warning(name, images, tmp_path, trainings):
    settings, text = NOT_KEPT[name]
    with pytest.warns(UserWarning, match=text):
        simclr(memory=tmp_path, callbacks=[trainings], **settings).fit(images[:40])
    assert not list(tmp_path.rglob("fit.safetensors"))


def test_only_fitted_state_is_saved(images, tmp_path):
    first = simclr(memory=tmp_path).set_output(transform="pandas").fit(images[:40])
    first.note = "mine"
    again = simclr(memory=tmp_path).fit(images[:40])
    assert isinstance(again.transform(images), np.ndarray)
    assert not hasattr(again, "note")
    assert hasattr(first.transform(images), "columns")


@dataclasses.dataclass(frozen=True)
class OwnViews:
    """Views of the user's that are told the size of images."""

    size: tuple = ()

    def for_images(self, height, width, channels):
        return OwnViews((height, width, channels))

    def __call__(self, batch):
        return [batch, batch + 0.1]


def test_custom_views_are_given_the_images_again(images, tmp_path):
    models = [simclr(views=OwnViews(), memory=tmp_path).fit(images[:40]) for _ in range(2)]
    assert models[0].views_ == models[1].views_ == OwnViews((8, 8, 1))
    assert models[0].score(images[:40]) == models[1].score(images[:40])


def test_scorers_may_embed_during_the_fit(images, tmp_path):
    from sklearn.callback import ScoringMonitor

    seen = []

    def scored(estimator, X, y=None):
        seen.append(estimator.transform(X).shape)
        return {"zero": 0.0}

    X, monitor = images[:40], ScoringMonitor(scoring=scored)
    simclr(memory=tmp_path, max_epochs=2).set_callbacks(monitor).fit(X, np.zeros(40))
    assert set(seen) == {(40, 256)}


def test_checkpoint_left_by_a_killed_process_is_removed(images, tmp_path):
    simclr(memory=tmp_path).fit(images[:40])
    (path,) = tmp_path.rglob("fit.safetensors")
    left = path.with_name("checkpoint.safetensors")
    left.write_bytes(b"left")
    old, new = path.with_name(".tmpold"), path.with_name(".tmpnew")
    for part in (old, new):
        part.write_bytes(b"left")
    os.utime(old, (1, 1))
    simclr(memory=tmp_path).fit(images[:40])
    assert not left.exists()
    path.unlink()
    simclr(memory=tmp_path).fit(images[:40])
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.exhaustive
def test_others_may_clear_the_folder_at_any_time(images, tmp_path):
    """No error, no other result, and no warning of a folder that was there again."""
    stop = threading.Event()

    def clear():
        memory = joblib.Memory(str(tmp_path), verbose=0)
        while not stop.is_set():
            memory.clear(warn=False)
            memory.reduce_size(bytes_limit=0)
            time.sleep(0.002)

    settings = {"max_epochs": 8, "batch_size": 20}
    straight = simclr(**settings).fit(images[:40])
    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        for _ in range(5):
            memory = FitCache(tmp_path, checkpoint_minutes=0)
            model = simclr(memory=memory, **settings).fit(images[:40])
            assert_same_end(model, straight, images[:40])
    finally:
        stop.set()
        clearing.join()


def test_a_folder_that_is_gone_stops_no_transform(images, tmp_path):
    model = simclr(memory=str(tmp_path / "kept")).fit(images[:40])
    embedding = model.transform(images)
    import shutil

    shutil.rmtree(tmp_path / "kept")
    (tmp_path / "kept").write_text("in the way")
    with pytest.warns(UserWarning, match="The embedding is not cached: .*Fits cannot be cached in"):
        np.testing.assert_array_equal(model.transform(images), embedding)
    with pytest.raises(
        OSError, match=r"Fits cannot be cached in .*Set memory to a writable folder"
    ):
        clone(model).fit(images[:40])


def test_warnings_point_to_the_line_of_the_user(images, tmp_path):
    from sklearn.pipeline import Pipeline

    model = simclr(views=Drifting(), memory=tmp_path)
    for fit in (model.fit, Pipeline([("simclr", model)]).fit):
        with pytest.warns(UserWarning, match="is not cached") as warned:
            fit(images[:40])
        own = warned[0].filename == __file__
        assert own or "sklearn/pipeline" in warned[0].filename
