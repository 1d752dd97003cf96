"""Fits and embeddings that do not depend on the process: its defaults, forks, links and layouts."""

import contextlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.frozen import FrozenEstimator

from sklearn_ssl import (
    EncoderTransformer,
    FineTuneClassifier,
    InpaintingTransformer,
    JigsawTransformer,
    MAETransformer,
    SimCLRTransformer,
    compare,
)
from sklearn_ssl.engine import torch_defaults


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
def test_samples_are_recognised_in_any_layout_and_number_type(change, photos16):
    fitted = SimCLRTransformer(max_epochs=1, random_state=0).fit(photos16[:12])
    assert fitted.has_seen(change(photos16)).tolist() == [True] * 12 + [False] * 12


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">f8"])
def test_samples_of_floats_are_recognised_in_any_number_type(dtype, images):
    X = np.float32(images / 7) - 1
    X[:, 0] = 0.0
    fitted = SimCLRTransformer(max_epochs=1, random_state=0).fit(X[:50])
    given = X[:100].astype(dtype)
    given[:, 0] = -0.0
    assert fitted.has_seen(given).tolist() == [True] * 50 + [False] * 50
    flat = fitted.set_params(image_shape=(8, 8)).has_seen(given.reshape(100, -1))
    assert flat.tolist() == [True] * 50 + [False] * 50
    given[:, 3, 3] += 0.01
    assert not fitted.has_seen(given).any()


def test_comparisons_note_samples_in_another_layout(photos16):
    fitted = SimCLRTransformer(max_epochs=1, random_state=0).fit(photos16)
    other = photos16.transpose(0, 3, 1, 2).astype(np.float32)
    y = np.arange(len(other)) % 2
    result = compare({"frozen": FrozenEstimator(fitted)}, other, y, cv=2)
    assert "learned from 24 of the test samples" in str(result)


def test_images_of_files_are_recognised_as_arrays(photos16, tmp_path):
    for i, photo in enumerate(photos16):
        Image.fromarray(photo).save(tmp_path / f"{i:02}.png")
    fitted = SimCLRTransformer(max_epochs=1, random_state=0, image_size=16)
    fitted.fit([tmp_path / f"{i:02}.png" for i in range(12)])
    assert fitted.has_seen(photos16).tolist() == [True] * 12 + [False] * 12
