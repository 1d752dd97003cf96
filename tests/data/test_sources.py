"""Batches of the samples of X, and their scaling."""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from common import each_image_method_long, shrunk

from data.helpers import simclr
from sklearn_ssl import Images, SimCLRTransformer
from sklearn_ssl.data.sources import (
    ArraySource,
    DeviceSource,
    learn_scaling,
    learn_standardization,
    one_behind,
)


def source_of(X, image_shape=None):
    described = "auto" if image_shape is None else Images(shape=image_shape)
    return SimCLRTransformer(input=described)._find(X, reset=True).read()


# At this learning rate the rounding of a scale is not blown up by the steps that follow.
LOW = 1e-4


LAYOUTS = {
    "channels last": (lambda X: X, None),
    "channels first": (lambda X: np.ascontiguousarray(X.transpose(0, 3, 1, 2)), None),
    "flattened": (lambda X: X.reshape(len(X), -1), (32, 32, 3)),
    "flattened, channels first": (
        lambda X: X.transpose(0, 3, 1, 2).reshape(len(X), -1),
        (3, 32, 32),
    ),
    "data frame": (lambda X: pd.DataFrame(X.reshape(len(X), -1)), (32, 32, 3)),
    "Fortran order": (np.asfortranarray, None),
    "not contiguous": (lambda X: np.repeat(X, 2, axis=2)[:, :, ::2], None),
    "read only": (lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape), None),
    "tensor": (torch.from_numpy, None),
    "tensor with gradient": (lambda X: torch.from_numpy(X / 255.0).requires_grad_(), None),
    "list of arrays": (list, None),
    "list of tensors": (lambda X: list(torch.from_numpy(X)), None),
    "int64": (lambda X: X.astype(np.int64), None),
    "uint16": (lambda X: X.astype(np.uint16), None),
    "big endian": (lambda X: X.astype(">f4"), None),
    "0..1": (lambda X: (X / 255).astype(np.float32), None),
    "-1..1": (lambda X: X / 127.5 - 1, None),
    "float64 0..255": (lambda X: X.astype(np.float64), None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_type_and_scale_gives_the_same_embedding(full_range, embedded, layout):
    convert, image_shape = LAYOUTS[layout]
    model = simclr(input=Images(shape=image_shape), lr=LOW).fit(convert(full_range))
    embedding = model.transform(convert(full_range))
    assert embedding.dtype == np.float32
    assert model.image_shape_ == (32, 32, 3)
    assert model.n_features_in_ == 3072
    np.testing.assert_allclose(embedding, embedded, atol=2e-3 * np.abs(embedded).max())


def test_scale_is_learned_from_training_data_alone(images):
    model = simclr().fit(images)
    brighter = model.transform(images * 2)
    assert not np.allclose(brighter, model.transform(images), rtol=1e-2)
    one = model.transform(images[:1])
    np.testing.assert_allclose(model.transform(images)[:1], one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.array([0, 200], np.uint8), 0, 255),
        (np.array([0.0, 16.0]), 0, 16),
        (np.array([0.1, 0.9]), 0, 0.9),
        (np.array([-1.0, 0.5]), -1, 1),
        (np.array([-2.0, 2.6]), -2.6, 2.6),
        (np.array([0, 65535], np.uint16), 0, 65535),
    ],
)
def test_image_scales(values, low, high):
    X = np.resize(values, (4, 6, 6))
    scaled = learn_scaling(source_of(X)).on("cpu")(source_of(X).batch(slice(0, 4)))
    embedded = (X.astype(float) - low) / (high - low)
    np.testing.assert_allclose(scaled[:, 0], embedded, atol=1e-6)


def test_scaling_has_the_statistics_of_the_whole_set(photos, monkeypatch):
    monkeypatch.setattr(
        "sklearn_ssl.data.sources.CHUNK_VALUES", 7 * 3072
    )  # parts of 7, the last of 2
    scaling = learn_scaling(source_of(photos))
    np.testing.assert_allclose(scaling.mean, (photos / 255).mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(scaling.std, (photos / 255).std((0, 1, 2)), rtol=1e-5)


def test_rows_are_standardized_without_losing_digits():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)) * [1e-3, 1, 5] + [1e6, 0, -3]
    source = source_of(X)
    scaled = learn_standardization(source).on("cpu")(source.batch(slice(0, 300)))
    embedded = (X - X.mean(0)) / X.std(0)
    np.testing.assert_allclose(scaled, embedded, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, ">f8"])
def test_large_numbers_of_other_types_keep_their_digits(dtype):
    X = (1_700_000_000 + np.arange(100.0).reshape(50, 2)).astype(dtype)
    source = source_of(X)
    scaled = learn_standardization(source).on("cpu")(source.batch(np.arange(50)))
    embedded = (X.astype(float) - X.astype(float).mean(0)) / X.astype(float).std(0)
    np.testing.assert_allclose(scaled, embedded, atol=1e-4)


def test_bytes_are_never_scaled_in_float64(photos, monkeypatch):
    source = source_of(photos)
    scale = learn_scaling(source).on("cpu")
    monkeypatch.setattr(torch.Tensor, "double", lambda self: pytest.fail("made float64"))
    seen = []

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            seen.append(out.dtype)
            return out

    with Spy():
        scale(source.batch(np.arange(8)))
    assert torch.float64 not in seen


def test_constant_feature_and_channel(images):
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[:, 1] = 5
    assert np.isfinite(simclr().fit_transform(X)).all()
    colored = np.stack([images, images, np.ones_like(images)], axis=-1)
    assert np.isfinite(simclr().fit_transform(colored)).all()


def test_the_next_batch_is_fetched_while_one_is_in_use(images):
    fetched = []

    class Watched(ArraySource):
        def _stored(self, indices, device):
            fetched.append(int(indices[0]))
            return super()._stored(indices, device)

    source = Watched(images, images.shape[1:])
    order = np.arange(12).reshape(4, 3)
    seen = []
    for batch in source.batches(order, torch.device("cpu")):
        seen.append(batch)
        while len(fetched) < min(4, len(seen) + 1):  # by a thread; a hang means that it is not
            pass
        time.sleep(0.02)
        assert len(fetched) <= len(seen) + 1  # and no earlier
    assert fetched == [0, 3, 6, 9]
    torch.testing.assert_close(torch.cat(seen), source.batch(np.arange(12)))
    with pytest.raises(IndexError):
        list(source.batches(np.array([[0, 1], [2, 10_000]]), torch.device("cpu")))
    assert list(one_behind([])) == []
    assert list(one_behind(iter("abc"))) == ["a", "b", "c"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_on_a_device_are_the_same(photos, layout):
    change, image_shape = LAYOUTS[layout]
    source = source_of(change(photos), image_shape)
    moved = source.moved(torch.device("cpu"))
    assert len(moved) == len(source)
    assert repr(moved.spec) == repr(source.spec)
    order = np.random.default_rng(0).permutation(120).reshape(6, 20)
    pairs = zip(moved.batches(order), source.batches(order, torch.device("cpu")), strict=True)
    for there, here in pairs:
        torch.testing.assert_close(there, here)
    torch.testing.assert_close(moved.batch(slice(3, 9)), source.batch(slice(3, 9)))


@each_image_method_long
def test_training_from_a_device_is_the_same(method, photos, monkeypatch):
    X = (photos / 510).astype(np.float32)  # which is scaled to reach 1
    embedded = shrunk(method).fit_transform(X)
    moved = []
    monkeypatch.setattr(
        ArraySource, "near", lambda self, *_: moved.append(self.moved("cpu")) or moved[-1]
    )
    np.testing.assert_array_equal(shrunk(method).fit_transform(X), embedded)
    assert type(moved[0]) is DeviceSource
    # Nothing that happens to a batch happens to the samples.
    torch.testing.assert_close(moved[0].array.permute(0, 2, 3, 1), torch.from_numpy(X))


@pytest.mark.parametrize(("free", "fits"), [(4, True), (3.9, False)])
def test_samples_lie_on_a_gpu_that_has_room(photos, free, fits, monkeypatch, capsys):
    source, gpu = source_of(photos), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: ((free - 1) * photos.nbytes, None))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: 3 * photos.nbytes)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda gpu: 2 * photos.nbytes)
    monkeypatch.setattr(ArraySource, "moved", lambda self, device: (self, device))
    assert source.near(gpu) == ((source, gpu) if fits else source)
    assert capsys.readouterr().out == ""
    source.near(gpu, verbose=1)
    told = capsys.readouterr().out
    place = "is stored on cuda:0" if fits else "is copied to cuda:0 batch by batch"
    assert told.startswith(f"X {place}: it takes 0.000393 GB, 0.001")
    wide = source_of(photos[:40].astype(np.uint16))  # becomes float32, too much then
    assert wide.near(gpu) is wide
    assert source.near(torch.device("cpu"), verbose=1) is source
