"""Files of ONNX's: onnxruntime gives for them what transform gives, and no half file stays."""

import logging
import pickle
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from common import each_method_long, exhaustively, process_state, shrunk, suited, takes
from PIL import Image
from sklearn.exceptions import NotFittedError
from torch import nn

from sklearn_ssl import Images, SimCLRTransformer, image_paths

LOG = logging.getLogger("torch.fx.experimental.symbolic_shapes")


class Training(nn.Module):
    """Gives something else in training."""

    def forward(self, x):
        return 2 * x if self.training else x


class Recurrent(nn.Module):
    """Reads an image line by line; torch warns of its own code when it follows this."""

    def __init__(self):
        super().__init__()
        self.read = nn.GRU(48, 8, batch_first=True)

    def forward(self, x):
        return self.read(x.transpose(1, 2).flatten(2))[0]  # tokens (n, 16, 8)


def small_net(shape):
    return nn.Sequential(nn.Conv2d(shape[0], 8, 3, 2), nn.ReLU())


def simclr(**parameters):
    return shrunk(SimCLRTransformer, **parameters)


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_same(model, X, path, samples=None):
    """Check a model's file with onnxruntime; the file gets float32 (n, h, w, c) or rows."""
    assert model.to_onnx(path) is None
    samples = np.asarray(X if samples is None else samples, np.float32)
    shape = getattr(model, "image_shape_", (model.n_features_in_,))
    run = session(path)
    (given,), (taken,) = run.get_inputs(), run.get_outputs()
    assert (given.name, given.type, given.shape) == ("X", "tensor(float)", ["n", *shape])
    n_features = len(model.get_feature_names_out())
    assert (taken.name, taken.type, taken.shape) == (
        "embedding",
        "tensor(float)",
        ["n", n_features],
    )
    expected = model.transform(X)
    assert expected.std(axis=0).max() > 1e-3  # else all would be the same
    for n in (1, 2, 7):
        (embedding,) = run.run(None, {"X": samples[-n:].reshape(n, *shape)})
        assert embedding.dtype == np.float32
        np.testing.assert_allclose(embedding, expected[-n:], rtol=1e-4, atol=1e-4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "encoder.onnx"


@pytest.mark.parametrize("kind", ["image", "table"])
@each_method_long
def test_every_method(method, kind, images, path):
    if not takes(method, kind):
        return
    X = suited(method, images) if kind == "image" else images.reshape(200, -1)
    assert_same(shrunk(method).fit(X), X, path)
    assert list(path.parent.iterdir()) == [path]


BACKBONES = {
    "small_convnet": {"backbone": "small_convnet"},
    "resnet18": {"backbone": "resnet18"},
    "small_vit": {"backbone": "small_vit"},
    "mlp": {"backbone": "mlp"},
    "callable": {"backbone": small_net},
    "module": {"backbone": Recurrent()},
    "layer": {"layer": "stage2"},
    "layer of a vit": {"backbone": "small_vit", "layer": "encoder.layers.encoder_layer_1"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*list(BACKBONES)[:3], *map(exhaustively, list(BACKBONES)[3:])])
def test_backbones(name, photos, path):
    X = photos[:16, :16, :16]
    assert_same(simclr(**BACKBONES[name]).fit(X), X, path)


# From images of bytes (n, h, w, c) to the same ones on another scale, or in another layout.
SCALES = {
    "gray bytes": lambda photos: photos[..., 0],
    "gray, one channel": lambda photos: photos[..., :1] / 255,
    "around 0": lambda photos: photos / 127.5 - 1,
    "uint16": lambda photos: photos.astype(np.uint16) * 257,
    "float16": lambda photos: (photos / 255).astype(np.float16),
    "six channels": lambda photos: np.concatenate([photos, 255 - photos], axis=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*list(SCALES)[:3], *map(exhaustively, list(SCALES)[3:])])
def test_scales(name, photos, path):
    X = SCALES[name](photos[:16])
    assert_same(simclr(backbone=small_net).fit(X), X, path)


@pytest.mark.slow
def test_other_layouts_and_files(photos, path):
    X, channels_first = photos[:16], photos[:16].transpose(0, 3, 1, 2)
    assert_same(simclr(backbone=small_net).fit(channels_first), channels_first, path, X)
    rows = X.reshape(16, -1)
    assert_same(
        simclr(backbone=small_net, input=Images(shape=(32, 32, 3))).fit(rows), rows, path, X
    )
    folder = path.parent / "photos"
    folder.mkdir()
    for i, photo in enumerate(X):
        Image.fromarray(photo).save(folder / f"{i:02}.png")
    paths, _ = image_paths(folder)
    assert_same(simclr(backbone=small_net).fit(paths), paths, path, X)


@pytest.mark.slow
def test_rows_of_large_values_and_small_spread(path):
    """Their scaling is in float64, also in the file; what X lost as float32 is lost."""
    X = np.random.default_rng(0).normal(1e6, 1, size=(60, 5))
    assert_same(simclr().fit(X), X.astype(np.float32), path)


@pytest.mark.slow
def test_nothing_else_changes(photos, path, capfd):
    model = simclr(layer="stage2").fit(photos[:16])
    before, pickled = model.transform(photos), pickle.dumps(model)
    state = *process_state(), LOG.level
    model.to_onnx(path)
    assert (*process_state(), LOG.level) == state
    assert capfd.readouterr() == ("", "")
    assert pickle.dumps(model) == pickled
    assert not any(p.is_cuda for p in model.encoder_.parameters())
    np.testing.assert_array_equal(model.transform(photos), before)
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()


@pytest.mark.slow
def test_the_graph_is_plain(photos, path):
    """With maps in training's order of memory, poolings would come with indices of each value."""
    simclr().fit(photos[:16]).to_onnx(path)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "Conv" in kinds
    assert not kinds & {"Gather", "Range", "Shape"}


def test_the_state_of_the_process_does_not_matter(photos, path):
    X = photos[:16]
    model = simclr(backbone=lambda shape: small_net(shape).append(Training())).fit(X)
    expected = model.transform(X)
    model.encoder_.train()  # as somebody may have left it
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            model.to_onnx(path)
    finally:
        torch.set_default_dtype(torch.float32)
    (embedding,) = session(path).run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(embedding, expected, atol=1e-5)


class Deciding(nn.Module):
    """Keeps the sign of the mean, by an if."""

    def forward(self, x):
        return x if x.mean() > 0 else -x


class Counting(nn.Module):
    """Knows but two numbers of samples."""

    def forward(self, x):
        return x if len(x) % 2 else x + 1


class Unknown(nn.Module):
    """Takes an operation that ONNX has not."""

    def forward(self, x):
        return torch.special.i1(x)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Deciding(), "torch cannot trace its forward, which may depend on values"),
        (Counting(), "torch cannot trace its forward, which may depend on values"),
        (Unknown(), "it has an operation that torch cannot export to ONNX"),
    ],
)
def test_backbones_that_cannot_be_written(part, reason, images, path, capfd, caplog, monkeypatch):
    monkeypatch.setattr(LOG, "handlers", [caplog.handler])
    model = simclr(backbone=nn.Sequential(nn.Flatten(), nn.Linear(64, 8), part)).fit(images)
    message = f"^backbone=Sequential cannot be exported to ONNX: {reason}"
    with pytest.raises(ValueError, match=message) as raised:
        model.to_onnx(path)
    assert raised.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not any(path.parent.iterdir())


def test_names_of_backbones_in_errors(images, path):
    def own_net(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), Deciding())

    with pytest.raises(ValueError, match=r"^backbone=own_net cannot be exported to ONNX"):
        simclr(backbone=own_net).fit(images).to_onnx(path)


def test_weights_that_are_too_large(images, path, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.inference.onnx.LARGEST", 10**5)
    with pytest.raises(ValueError, match=r"take 0\.00149 GB, but an ONNX file is limited to"):
        simclr().fit(images).to_onnx(path)
    assert not any(path.parent.iterdir())


def test_missing_packages(images, path, monkeypatch):
    model = simclr().fit(images)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'pip install "sklearn-ssl\[onnx\]"'):
        model.to_onnx(path)
    assert not any(path.parent.iterdir())


@pytest.mark.slow
def test_what_is_not_fitted_or_not_writable(images, path, monkeypatch):
    with pytest.raises(NotFittedError, match="not fitted"):
        SimCLRTransformer().to_onnx(path)
    model = simclr(backbone=small_net).fit(images)
    with pytest.raises(FileNotFoundError):
        model.to_onnx(path / "of" / "no folder")
    path.mkdir()
    with pytest.raises(OSError, match=r"encoder\.onnx"):
        model.to_onnx(path)
    assert list(path.parent.iterdir()) == [path]
    path.rmdir()
    path.write_bytes(b"older")

    write = Path.write_bytes

    def full(part, data):
        write(part, data[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        model.to_onnx(str(path))
    assert path.read_bytes() == b"older"
    assert list(path.parent.iterdir()) == [path]
