"""Fits and embeddings that do not depend on the process: its defaults, forks, links and layouts."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from torch import nn

from sklearn_ssl import (
    ColorizationTransformer,
    DeepClusterEstimator,
    EncoderTransformer,
    FineTuneClassifier,
    Images,
    InpaintingTransformer,
    JigsawTransformer,
    LinearProbe,
    MAETransformer,
    PatchKMeansTransformer,
    SimCLRTransformer,
    compare,
    image_paths,
    load,
)
from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl.parameters import Recipe, TakesRecipes
from sklearn_ssl.training.callbacks import ProgressBar
from sklearn_ssl.views import ImageViews, TableViews


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device() == torch.device(device)
    finally:
        torch.set_default_device(None)


CALLERS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "device": lambda: default_device("meta"),  # stands for a GPU
    "device context": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}
each_caller = pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS.keys())


@pytest.fixture(scope="module")
def photos16():
    return np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)


@pytest.mark.slow
@each_caller
def test_fits_and_memory_are_the_same_in_every_context(caller, images, tmp_path):
    def fitted():
        return SimCLRTransformer(max_epochs=1, random_state=0, memory=tmp_path).fit(images)

    plain = SimCLRTransformer(max_epochs=1, random_state=0).fit(images)
    with caller():
        made = fitted().transform(images), fitted().transform(images), plain.score(images)
    expected = plain.transform(images)
    for embedding in (*made[:2], fitted().transform(images)):
        np.testing.assert_array_equal(embedding, expected)
    assert made[2] == plain.score(images)


@pytest.mark.slow
@each_caller
def test_what_uses_a_network_is_the_same_in_every_context(caller, photos16):
    short = {"max_epochs": 1, "random_state": 0}
    mae, jigsaw, inpainting = (
        method(**short).fit(photos16)
        for method in (MAETransformer, JigsawTransformer, InpaintingTransformer)
    )
    mae_vit = MAETransformer(backbone="small_vit", **short).fit(photos16)

    def results():
        return [
            mae.score_pretext(photos16),
            mae.reconstruct(photos16, random_state=0),
            mae_vit.transform(photos16),
            jigsaw.score_pretext(photos16),
            inpainting.inpaint(photos16),
            inpainting.score_pretext(photos16),
            EncoderTransformer(random_state=0).fit_transform(photos16),
            # So many batches that batch norms are folded.
            jigsaw.transform(np.concatenate(50 * [photos16]))[:2],
        ]

    with caller():
        found = results()
    for got, expected in zip(found, results(), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
@each_caller
def test_fine_tuning_is_the_same_in_every_context(caller, images):
    y = np.arange(len(images)) % 2

    def proba():
        simclr = SimCLRTransformer(max_epochs=1, random_state=0)
        classifier = FineTuneClassifier(simclr, max_epochs=1, random_state=0)
        return classifier.fit(images, y).predict_proba(images)

    with caller():
        found = proba()
    np.testing.assert_array_equal(found, proba())


def test_threads_share_the_change_of_the_default_dtype():
    entered, leave, cpu = threading.Event(), threading.Event(), torch.device("cpu")

    def other():
        with torch_defaults(cpu):
            entered.set()
            leave.wait(10)

    with default_dtype(torch.float64):
        thread = threading.Thread(target=other)
        with torch_defaults(cpu):
            thread.start()
            entered.wait(10)
        assert torch.get_default_dtype() == torch.float32  # the other thread needs it
        leave.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64


FORK = """
import multiprocessing, sys, torch, sklearn_ssl
from sklearn.datasets import load_digits
torch.set_num_threads(2)
images, path = load_digits().images[:100], sys.argv[2]
def fit(): return sklearn_ssl.SimCLRTransformer(max_epochs=1, random_state=0).fit(images)
if sys.argv[1] == "save":
    fit().save(path)
    sys.exit()
model = fit() if sys.argv[1] == "fit" else sklearn_ssl.load(path)
def work():
    model.transform(images)
    fit()
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join(60)
if child.is_alive():
    child.kill()
    sys.exit("It hangs.")
assert torch.get_num_threads() == 2
sys.exit(child.exitcode)
"""


@pytest.mark.exhaustive
def test_forked_processes_do_not_wait_for_threads_of_their_parent(tmp_path):
    for what in "save", "load", "fit":
        command = [sys.executable, "-c", FORK, what, tmp_path / "digits.safetensors"]
        subprocess.run(
            command, check=True, timeout=120, env=os.environ | {"OMP_WAIT_POLICY": "passive"}
        )


LAYOUTS = {
    "channels first": lambda X: X.transpose(0, 3, 1, 2),
    "float64": lambda X: X.astype(np.float64),
    "float32": lambda X: X.astype(np.float32),
    "int16, other byte order": lambda X: X.astype(np.dtype(np.int16).newbyteorder()),
    "negative strides": lambda X: X[::-1].copy()[::-1],
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_samples_are_recognized_in_any_layout_and_number_type(change, photos16):
    fitted = SimCLRTransformer(max_epochs=1, random_state=0).fit(photos16[:12])
    assert fitted.has_seen(change(photos16)).tolist() == [True] * 12 + [False] * 12


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">f8"])
def test_samples_of_floats_are_recognized_in_any_number_type(dtype, images):
    X = np.float32(images / 7) - 1
    X[:, 0] = 0.0
    fitted = SimCLRTransformer(max_epochs=1, random_state=0).fit(X[:50])
    given = X[:100].astype(dtype)
    given[:, 0] = -0.0
    assert fitted.has_seen(given).tolist() == [True] * 50 + [False] * 50
    flat = fitted.set_params(input__shape=(8, 8)).has_seen(given.reshape(100, -1))
    assert flat.tolist() == [True] * 50 + [False] * 50
    given[:, 3, 3] += 0.01
    assert not fitted.has_seen(given).any()


@pytest.mark.slow
def test_comparisons_note_samples_in_another_layout(photos16):
    fitted = SimCLRTransformer(max_epochs=1, random_state=0).fit(photos16)
    other = photos16.transpose(0, 3, 1, 2).astype(np.float32)
    y = np.arange(len(other)) % 2
    result = compare({"frozen": FrozenEstimator(fitted)}, other, y, cv=2)
    assert "trained on 24 of the test samples" in str(result)


def test_images_of_files_are_recognized_as_arrays(photos16, tmp_path):
    for i, photo in enumerate(photos16):
        Image.fromarray(photo).save(tmp_path / f"{i:02}.png")
    fitted = SimCLRTransformer(max_epochs=1, random_state=0, input=Images(size=16))
    fitted.fit([tmp_path / f"{i:02}.png" for i in range(12)])
    assert fitted.has_seen(photos16).tolist() == [True] * 12 + [False] * 12


def saved(path, gray=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), gray).save(path)


def test_links_to_folders_are_classes_and_circles_end(tmp_path):
    saved(tmp_path / "cat" / "tame" / "1.png")
    saved(tmp_path / "elsewhere" / "2.png")
    root = tmp_path / "root"
    root.mkdir()
    for name, target in {"cat": "cat", "alias": "cat", "zebra": "cat", "far": "elsewhere"}.items():
        (root / name).symlink_to(tmp_path / target)
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat" / "tame")  # in a class, as well
    (tmp_path / "cat" / "circle").symlink_to(root)
    (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere")
    paths, labels = image_paths(root)
    assert labels.tolist() == ["alias", "alias", "cat", "cat", "far", "zebra", "zebra"]
    names = [Path(path).relative_to(root).as_posix() for path in paths]
    assert names[:2] == ["alias/again/1.png", "alias/tame/1.png"]


def test_folders_are_bytes_or_begin_at_home(tmp_path, monkeypatch):
    saved(tmp_path / "photos" / "cat" / "1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    expected = [str(tmp_path / "photos" / "cat" / "1.png")]
    for folder in "~/photos", Path("~/photos"), os.fsencode(tmp_path / "photos"), b"~/photos":
        paths, labels = image_paths(folder)
        assert paths.tolist() == expected
        assert labels.tolist() == ["cat"]
    with pytest.raises(ValueError, match=r"Folder '.*none.*does not exist"):
        image_paths(b"~/none")


@pytest.mark.parametrize("switch", ["link", "rename"])
def test_caches_notice_that_a_folder_was_switched(switch, tmp_path):
    for version, gray in ("v1", 40), ("v2", 200):
        saved(tmp_path / version / "1.bmp", gray)
        saved(tmp_path / version / "2.bmp", 250)
        for name in "1.bmp", "2.bmp":
            os.utime(tmp_path / version / name, (0, 0))
    current = tmp_path / "current"

    def choose(version):
        if switch == "link":
            current.unlink(missing_ok=True)
            current.symlink_to(tmp_path / version)
        else:
            if current.exists():
                current.rename(tmp_path / "gone")
            (tmp_path / version).rename(current)
        encoder = EncoderTransformer(random_state=0, input=Images(cache=tmp_path / "cache", size=8))
        return encoder.fit([current / "1.bmp", current / "2.bmp"])._scaling.mean

    assert (choose("v1") != choose("v2")).all()


def test_parameters_of_views_are_set_without_changing_shared_recipes():
    shared = ImageViews(hflip=0.25)
    first = SimCLRTransformer(views=shared)
    second = FineTuneClassifier(clone(first).set_params(views=shared), views=shared)
    first.set_params(views__hflip=0.5, views__scale=(0.3, 0.4), lr=0.01)
    second.set_params(estimator__views__hflip=0.75, views__n_views=1)
    assert shared == ImageViews(hflip=0.25)
    assert first.views == ImageViews(hflip=0.5, scale=(0.3, 0.4))
    assert first.get_params()["views__hflip"] == 0.5
    assert "views__hflip" not in first.get_params(deep=False)
    assert second.estimator.views.hflip == 0.75
    assert second.views == ImageViews(hflip=0.25, n_views=1)
    # The recipe comes first, in whatever order they are given.
    first.set_params(views__corruption=0.1, views=TableViews())
    assert first.views == TableViews(corruption=0.1)
    copied = clone(first)
    assert copied.views == first.views
    assert "corruption=0.1" in repr(copied)


def test_searches_go_over_parameters_of_views(images):
    simclr = SimCLRTransformer(views=ImageViews(), max_epochs=1, random_state=0)
    pipeline = make_pipeline(simclr, LogisticRegression(max_iter=10, tol=1))
    grid = {"simclrtransformer__views__hflip": [0.0, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(images[:60], np.arange(60) % 2)
    best = search.best_estimator_[0]
    assert best.views_.hflip == best.views.hflip == search.best_params_[next(iter(grid))]
    assert simclr.views == ImageViews()


def test_other_recipes_are_parameters_as_well():
    @dataclass(frozen=True)
    class Inner(Recipe):
        scale: float = 1.0

    @dataclass(frozen=True)
    class Outer(Recipe):
        inner: Inner = Inner()
        side: int = 3

    class Reader(TakesRecipes, BaseEstimator):
        def __init__(self, source=Outer(), other="auto"):  # noqa: B008
            self.source = source
            self.other = other

    reader = Reader().set_params(source__inner__scale=2.0, source__side=4)
    assert reader.source == Outer(Inner(2.0), 4)
    assert Reader().source == Outer()
    assert reader.get_params()["source__inner__scale"] == 2.0
    with pytest.raises(ValueError, match=re.escape("other='auto' has no parameter 'side'")):
        reader.set_params(other__side=1)


@pytest.mark.parametrize(
    ("views", "name", "message"),
    [
        ("auto", "views__hflip", "views='auto' has no parameter 'hflip'.*Set views=ImageViews"),
        ("auto", "views__corruption", r"Set views=TableViews\(...\) first"),
        (ImageViews(), "views__nothing", "Invalid parameter 'nothing' for views=ImageViews"),
        (ImageViews(), "nothing__flip", "Invalid parameter 'nothing' for estimator"),
        (ImageViews(), "views__hflip", r"hflip must be in \[0, 1\]. Got 2"),
        (lambda images: [images], "views__hflip", "has no parameter 'hflip'"),
    ],
)
def test_parameters_that_views_do_not_have(views, name, message):
    estimator = SimCLRTransformer(views=views)
    with pytest.raises(ValueError, match=message):
        estimator.set_params(**{name: 2})
    assert estimator.views is views


def fine_tuned(estimator, **parameters):
    return FineTuneClassifier(estimator, max_epochs=1, random_state=0, **parameters)


def small_net(shape):
    return nn.Sequential(nn.Conv2d(shape[0], 8, 3, 2), nn.ReLU())


SHORT = {"max_epochs": 1, "random_state": 0}
SAVED = {
    "encoder": lambda: EncoderTransformer(random_state=0),
    "layer": lambda: EncoderTransformer(backbone="resnet18", layer="layer2", random_state=0),
    "patches": lambda: PatchKMeansTransformer(n_centroids=8, patch_size=4, random_state=0),
    "fine-tuned": lambda: fine_tuned(SimCLRTransformer(**SHORT), views=ImageViews(n_views=1)),
    # Other networks than EncoderTransformer would build.
    "fine-tuned colorization": lambda: fine_tuned(ColorizationTransformer(**SHORT)),
    "fine-tuned clusters": lambda: fine_tuned(DeepClusterEstimator(n_clusters=3, **SHORT)),
    "fine-tuned encoder": lambda: fine_tuned(EncoderTransformer(random_state=0)),
    "own network": lambda: EncoderTransformer(backbone=small_net, random_state=0),
    "fine-tuned own network": lambda: fine_tuned(SimCLRTransformer(backbone=small_net, **SHORT)),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", SAVED.values(), ids=SAVED.keys())
def test_other_estimators_are_the_same_after_loading(make, photos16, tmp_path):
    y = np.array(["cat", "zebra"])[np.arange(len(photos16)) % 2]
    model, path = make().fit(photos16, y), tmp_path / "model"
    model.save(path)
    backbone = small_net if "small_net" in repr(model) else None
    if backbone is not None:
        with pytest.raises(ValueError, match=r"Give it again: load\(path, backbone="):
            load(path)
    loaded = load(path, backbone=backbone)
    assert repr(loaded) == repr(model)
    assert set(vars(loaded)) == set(vars(model))
    for name in "transform", "predict", "predict_proba":
        if hasattr(model, name):
            got, expected = (getattr(m, name)(photos16) for m in (loaded, model))
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
    loaded.save(path)  # a file of a loaded one is as good
    load(path, backbone=backbone)
    clone(loaded).fit(photos16, y)


@pytest.mark.slow
def test_frozen_estimators_are_in_files_of_classifiers(images, tmp_path):
    y = np.arange(len(images)) % 3
    frozen = FrozenEstimator(SimCLRTransformer(**SHORT).fit(images))
    model = fine_tuned(frozen).fit(images, y)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))
    assert loaded.estimator.estimator.device == loaded.transformer_.device == "cpu"
    again = clone(loaded).fit(images, y)
    np.testing.assert_array_equal(again.predict_proba(images), model.predict_proba(images))


CLASSES = {"str": ["b", "a"], "bool": [True, False], "int": np.uint8([3, 7])}
CLASSES["object"] = np.array(["b", "a"], dtype=object)


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES.keys())
def test_classes_keep_their_type_in_files(classes, images, tmp_path):
    y = np.resize(classes, len(images))
    model = fine_tuned(EncoderTransformer(random_state=0)).fit(images, y)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.predict(images).tolist() == model.predict(images).tolist()


def test_estimators_that_are_not_fitted_are_not_saved(tmp_path):
    for make in SAVED.values():
        with pytest.raises(NotFittedError):
            make().save(tmp_path / "model")


@pytest.mark.slow
def test_fine_tuning_ends_in_its_time_and_is_annealed(images):
    y = np.arange(len(images)) % 2
    encoder = EncoderTransformer(random_state=0)
    timed = FineTuneClassifier(encoder, max_time="30s", max_epochs=2, random_state=0)
    plain = FineTuneClassifier(encoder, max_epochs=2, random_state=0).fit(images, y)
    np.testing.assert_array_equal(timed.fit(images, y).coef_, plain.coef_)  # time was enough
    start = time.perf_counter()
    LinearProbe(random_state=0).fit(encoder.fit_transform(images), y)
    before = time.perf_counter() - start
    start = time.perf_counter()
    timed.set_params(max_time=2 * before + 0.5, max_epochs="auto").fit(images, y)
    assert time.perf_counter() - start < 5 * before + 5
    rates = [row["lr"] for row in timed.history_]
    assert rates[-1] < 0.1 * max(rates)
    assert timed.max_epochs_ == len(rates)
    with pytest.warns(ConvergenceWarning, match="max_time ended training after 1 of"):
        timed.set_params(max_time=1e-6).fit(images, y)
    with pytest.raises(ValueError, match="max_time='soon' must be a positive duration"):
        timed.set_params(max_time="soon").fit(images, y)


@pytest.fixture
def bars(monkeypatch):
    """Progress bars, with their totals at each step."""
    made, totals = [], []

    def on_batch_end(self, net, **kwargs):
        original(self, net, **kwargs)
        made[:], totals[len(totals) :] = [self.bar], [(self.bar.n, self.bar.total, net.progress)]

    original = ProgressBar.on_batch_end
    monkeypatch.setattr(ProgressBar, "on_batch_end", on_batch_end)
    return made, totals


class Break(Callback):
    """Interrupts training in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            self.epoch = 0
            raise RuntimeError("broken")


def test_resumed_fits_report_it_and_true_rates(images, tmp_path, bars, capsys):
    simclr = SimCLRTransformer(
        max_epochs=4, batch_size=40, random_state=0, memory=tmp_path, callbacks=[Break(3)]
    )
    with pytest.raises(RuntimeError, match="broken"):
        simclr.fit(images)
    simclr.set_params(verbose=1, callbacks=[Break(3)])  # an equal fit, until it breaks again
    with pytest.raises(RuntimeError, match="broken"):
        simclr.fit(images)
    assert "Resumed at epoch 3." in capsys.readouterr().out
    (bar,), totals = bars
    assert bar.initial == 2 * len(images)
    assert bar.total == 4 * len(images)
    assert totals[0][0] == 2 * len(images) + 40


@pytest.mark.filterwarnings("ignore:max_time ended training")  # on a busy machine
def test_bars_go_by_time_where_it_decides(images, bars):
    SimCLRTransformer(max_time=0.5, batch_size=50, random_state=0, verbose=1).fit(images)
    (bar,), totals = bars
    assert bar.total == bar.n
    for n, total, progress in totals:
        assert total == max(n, round(n / progress))
