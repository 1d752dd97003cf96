"""Saved estimators: the same after loading, and no file that breaks or runs anything."""

import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from common import each_method, shrunk, slowly, suited, takes
from corpus import mutated
from safetensors.torch import load_file, save_file
from sklearn.exceptions import NotFittedError
from torch import nn

import sklearn_ssl
from sklearn_ssl import DeepClusterEstimator, Device, DINOTransformer, Images, SimCLRTransformer
from sklearn_ssl.persistence.file_format import read_estimator
from sklearn_ssl.views import ImageViews


def small_net(shape):
    return nn.Sequential(nn.Conv2d(shape[0], 8, 3, 2), nn.ReLU())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("saved") / "model.safetensors"


def saved(model, path):
    assert model.save(path) is None
    return sklearn_ssl.load(path)


@pytest.mark.parametrize("kind", ["image", "table"])
@each_method
def test_every_method_is_the_same_after_loading(method, kind, images, path):
    if not takes(method, kind):
        return
    X = suited(method, images) if kind == "image" else images.reshape(200, -1)
    model = shrunk(method, max_epochs=2).fit(X)
    state = torch.random.get_rng_state()
    loaded = saved(model, path)
    torch.testing.assert_close(torch.random.get_rng_state(), state)
    assert type(loaded) is method
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    assert loaded.score(X) == model.score(X)
    for name in ("predict", "predict_pretext"):
        if hasattr(model, name):
            np.testing.assert_array_equal(getattr(loaded, name)(X), getattr(model, name)(X))
    missing = set(vars(model)) ^ set(vars(loaded))
    assert not missing
    for name, value in vars(model).items():
        if name.endswith("_") and not isinstance(value, nn.Module):
            np.testing.assert_equal(getattr(loaded, name), value, err_msg=name)
    for name, value in vars(model.objective_).items():  # as momentum, from the number of steps
        if isinstance(value, int | float | tuple):
            assert getattr(loaded.objective_, name) == value, name
    assert not any(p.is_cuda for p in loaded.encoder_.parameters())
    assert not loaded.encoder_.training
    again = saved(loaded, path)  # a file of a loaded one is as good
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert loaded.partial_fit(X).n_iter_ == 3


SETTINGS = {
    "resnet18": {"backbone": "resnet18"},
    "vit": {"backbone": "small_vit"},
    "layer": {"layer": "stage2"},
    "views": {"views": ImageViews(hflip=0.0, size=0.5)},
    "numbers": {"lr": np.float32(0.01), "max_epochs": np.int64(1), "warmup_epochs": 0},
}


@pytest.mark.parametrize("name", [slowly("resnet18"), *list(SETTINGS)[1:]])
def test_settings(name, photos, path):
    model = shrunk(SimCLRTransformer, **SETTINGS[name]).fit(photos[:40])
    loaded = saved(model, path)
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.transform(photos), model.transform(photos))


@pytest.mark.slow
def test_pretrained_networks_keep_their_stems(photos, path, tmp_path):
    from torchvision import models

    torch.save(models.resnet18().state_dict(), tmp_path / "weights.pt")
    model = shrunk(SimCLRTransformer, backbone="resnet18", weights=tmp_path / "weights.pt")
    model.fit(photos[:40])
    loaded = saved(model, path)
    (tmp_path / "weights.pt").unlink()  # it is not needed any more
    np.testing.assert_array_equal(loaded.transform(photos), model.transform(photos))


def test_no_folder_of_another_machine_is_used(images, path):
    described = Images(cache="somewhere", channels="last")
    device = Device("cpu", precision="bfloat16")
    loaded = saved(shrunk(SimCLRTransformer, input=described, device=device).fit(images), path)
    assert loaded.input == Images(channels="last")
    assert loaded.device == Device(precision="bfloat16")


def test_names_and_settings_that_are_no_json(path):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=["a", "é", "c"])
    model = shrunk(SimCLRTransformer, device=torch.device("cpu")).fit(X)
    model.history_[0]["odd"] = float("nan")
    loaded = saved(model, path)
    assert loaded.feature_names_in_.tolist() == ["a", "é", "c"]
    assert loaded.feature_names_in_.dtype == object
    assert np.isnan(loaded.history_[0]["odd"])
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    assert sklearn_ssl.load(path, device="cpu").device == "cpu"


@pytest.mark.parametrize("as_module", [False, True])
def test_custom_backbones_are_passed_again(images, path, as_module):
    backbone = small_net((1, 8, 8)) if as_module else small_net
    model = shrunk(SimCLRTransformer, backbone=backbone, views=lambda x: [x, x + 0.1]).fit(images)
    model.save(path)
    with pytest.raises(ValueError, match=r"custom backbone.* load\(path, backbone="):
        sklearn_ssl.load(path)
    loaded = sklearn_ssl.load(path, backbone=small_net)
    np.testing.assert_array_equal(loaded.transform(images), model.transform(images))
    loaded = sklearn_ssl.load(path, backbone=small_net, views=lambda x: [x, x + 0.1])
    assert loaded.score(images) == model.score(images)
    with pytest.raises(ValueError, match="is inconsistent"):
        sklearn_ssl.load(path, backbone=lambda shape: nn.Conv2d(1, 9, 3))


def test_a_file_appears_when_it_is_complete(images, path, monkeypatch):
    model = shrunk(SimCLRTransformer).fit(images)
    model.save(path)
    before = path.read_bytes()

    def full(tensors, part, metadata):
        Path(part).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sklearn_ssl.persistence.file_format.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def rewritten(path, change):
    """Write the file anew with other text, with a fingerprint that fits."""
    from safetensors import safe_open

    from sklearn_ssl.persistence.file_format import _digest

    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["sklearn_ssl"])
    tensors = load_file(path)
    change(about, tensors)
    text = json.dumps(about)
    save_file(tensors, path, {"sklearn_ssl": text, "digest": _digest(text, tensors)})


CHANGES = {
    r"'NoSuchTransformer'|NoSuchTransformer, which is not available": lambda about, tensors: (
        about.update({"class": "NoSuchTransformer"})
    ),
    "format that this version does not support": lambda about, tensors: about.update({"format": 9}),
    "does not contain a valid": lambda about, tensors: about.pop("fitted"),
    "does not contain a valid description": lambda about, tensors: about["fitted"].update(
        {"lr_": {"eval": "1"}}
    ),
    "is inconsistent": lambda about, tensors: about["weights"].pop("encoder.mean"),
    "is inconsistent, or": lambda about, tensors: about["parameters"].update({"epochs": 3}),
    "inconsistent": lambda about, tensors: about["parameters"].update({"projection_dim": 10**15}),
}


@pytest.mark.parametrize("message", CHANGES)
def test_files_with_other_metadata(message, images, path):
    shrunk(SimCLRTransformer).fit(images).save(path)
    rewritten(path, CHANGES[message])
    with pytest.raises(ValueError, match=message):
        sklearn_ssl.load(path)


def test_what_is_no_file_of_ours(images, path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'.*nothing' does not exist"):
        sklearn_ssl.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        sklearn_ssl.load(tmp_path)
    model = shrunk(SimCLRTransformer).fit(images)
    other = tmp_path / "other"
    save_file({"a": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match="contains tensors, but not a sklearn_ssl estimator"):
        sklearn_ssl.load(other)
    for content in (b"", b"words", struct.pack("<Q", 2**62) + b"{}", b"\x80\x04cos\nsystem\n."):
        other.write_bytes(content)
        with pytest.raises(ValueError, match="is not a sklearn_ssl file, or is corrupted"):
            sklearn_ssl.load(other)
    model.save(other)
    content = bytearray(other.read_bytes())
    content[-5] ^= 1  # of a weight
    other.write_bytes(content)
    with pytest.raises(ValueError, match="was modified or corrupted after it was written"):
        sklearn_ssl.load(other)
    with pytest.raises(NotFittedError, match="not fitted"):
        SimCLRTransformer().save(other)


@pytest.mark.exhaustive
def test_twenty_thousand_broken_files(images, tmp_path):
    """Every one gives a ValueError, or holds what was written."""
    files = []
    for model in (
        shrunk(SimCLRTransformer, backbone=small_net, projection_hidden_dim=2, projection_dim=2),
        shrunk(DeepClusterEstimator, backbone=small_net, n_clusters=2),
    ):
        model.fit(images[:20]).save(tmp_path / "model")
        files.append((tmp_path / "model").read_bytes())
    expected = [read_estimator_from(tmp_path, data) for data in files]
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(20_000):
        data = mutated(files[i % 2], files[(i + 1) % 2], rng)
        try:
            about = read_estimator_from(tmp_path, data)
        except ValueError:
            refused += 1
        else:
            whole = files.index(data) if data in files else i % 2  # one may be the other, as it was
            assert str(about) == str(expected[whole])
    assert refused > 19_000


def read_estimator_from(folder, data):
    (folder / "broken").write_bytes(data)
    return read_estimator(folder / "broken")


def test_dino_and_files(images, path, tmp_path):
    """The state of a fit on listed images is kept: pixels are read as bytes after loading too."""
    ragged = [image[:, : 7 + i % 2] / 16 for i, image in enumerate(images)]
    model = shrunk(DINOTransformer).fit(ragged)
    loaded = saved(model, path)
    np.testing.assert_array_equal(loaded.transform(images / 16), model.transform(images / 16))
