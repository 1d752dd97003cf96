"""Weights of files, backbones and views as users bring them: right features, or clear errors."""

import argparse
import dataclasses
import functools
import pickle
import zipfile
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from common import shrunk
from safetensors.torch import save_file
from torch import nn
from torchvision import models, transforms
from torchvision.transforms import v2

import sklearn_ssl
from sklearn_ssl import EncoderTransformer, FineTuneClassifier, Images, SimCLRTransformer
from sklearn_ssl.networks.backbone import make_backbone
from sklearn_ssl.views import CombinedViews, ImageViews, PerSampleViews, TableViews

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def published():
    """The weights of a ResNet-18 as torchvision publishes them, of random values."""
    torch.manual_seed(0)
    network = models.resnet18()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return network.state_dict()


@pytest.fixture
def X(photos):  # noqa: N802
    return photos[:8]


def renamed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def encoded(path, X, backbone="resnet18", **settings):
    model = EncoderTransformer(
        backbone=backbone, weights=path, random_state=0, device="cpu", **settings
    )
    return model.fit(X)


def constants(model):
    return [v.flatten().tolist() for v in (model.encoder_.mean, model.encoder_.std)]


@pytest.mark.slow
def test_a_file_and_a_name_of_the_same_weights(published, X, tmp_path, monkeypatch):
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", lambda *_, **__: published)
    torch.save(published, tmp_path / "w.pth")
    named, of_file = encoded("DEFAULT", X), encoded(tmp_path / "w.pth", X)
    np.testing.assert_array_equal(named.transform(X), of_file.transform(X))
    np.testing.assert_allclose(constants(of_file), IMAGENET)
    x = torch.from_numpy(X).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    network = models.resnet18()
    network.load_state_dict(published)
    network.fc = nn.Identity()
    expected = network.eval()((x - mean) / std).detach().numpy()
    np.testing.assert_allclose(of_file.transform(X), expected, rtol=1e-3, atol=1e-4)
    gray = encoded(tmp_path / "w.pth", X[..., 0])
    np.testing.assert_allclose(np.ravel(constants(gray)), np.mean(IMAGENET, axis=1), rtol=1e-6)


@pytest.mark.slow
def test_normalization_is_chosen(published, X, tmp_path):
    torch.save(published, tmp_path / "w.pth")
    data = [X.mean((0, 1, 2)) / 255, X.std((0, 1, 2)) / 255]
    of_data = encoded(tmp_path / "w.pth", X, input=Images(normalization="data"))
    np.testing.assert_allclose(constants(of_data), data, rtol=1e-4)
    given = encoded(None, X, "small_resnet", input=Images(normalization=([0.5] * 3, 0.25)))
    np.testing.assert_allclose(constants(given), [[0.5] * 3, [0.25] * 3])
    for model in (
        EncoderTransformer(input=Images(normalization="imagenet")).fit(X),
        shrunk(SimCLRTransformer, input=Images(normalization="imagenet")).fit(X),
    ):
        np.testing.assert_allclose(constants(model), IMAGENET)
    trained = shrunk(SimCLRTransformer, backbone="resnet18", weights=tmp_path / "w.pth").fit(X)
    np.testing.assert_allclose(constants(trained), IMAGENET)
    with pytest.raises(ValueError, match="for 3 channels, but the images of X have 1"):
        EncoderTransformer(input=Images(normalization=IMAGENET)).fit(X[..., 0])


def test_inception_networks_have_constants_of_their_own(X, tmp_path):
    """torchvision's undo those of ImageNet in their forward."""
    torch.manual_seed(0)
    network = models.googlenet(transform_input=True, aux_logits=False, init_weights=True)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model = encoded(tmp_path / "w.pth", X, "googlenet")
    x = torch.from_numpy(X).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    network.fc = nn.Identity()
    expected = network.eval()((x - mean) / std).detach().numpy()
    np.testing.assert_allclose(model.transform(X), expected, atol=2e-3)


@pytest.mark.slow
def test_own_files_bring_their_constants(X, images, tmp_path):
    model = shrunk(SimCLRTransformer, backbone="resnet18").fit(X)
    model.save(tmp_path / "own.safetensors")
    torch.save(model.encoder_.state_dict(), tmp_path / "encoder.pt")
    torch.save({"net": model.encoder_.state_dict()}, tmp_path / "wrapped.pt")
    other = 255 - X[:5] // 2
    for path in ("own.safetensors", "encoder.pt", "wrapped.pt"):
        loaded = encoded(tmp_path / path, other)
        np.testing.assert_array_equal(constants(loaded), constants(model))
        np.testing.assert_allclose(loaded.transform(X), model.transform(X), atol=1e-5)
    with pytest.raises(ValueError, match=r"written by SimCLRTransformer.save, with backbone='resn"):
        encoded(tmp_path / "own.safetensors", X, "small_convnet")


def test_published_stems_are_read_again(X, tmp_path):
    """Also where the strides of a stem are not seen in the shapes of its weights."""
    torch.manual_seed(0)
    torch.save(models.mobilenet_v3_small().state_dict(), tmp_path / "w.pth")
    settings = {"backbone": "mobilenet_v3_small", "weights": tmp_path / "w.pth", "flip_tta": False}
    model = shrunk(SimCLRTransformer, **settings).fit(X)
    model.save(tmp_path / "own.safetensors")
    expected = model.transform(X)
    loaded = sklearn_ssl.load(tmp_path / "own.safetensors")
    np.testing.assert_array_equal(loaded.transform(X), expected)
    np.testing.assert_array_equal(constants(loaded), constants(model))
    again = encoded(tmp_path / "own.safetensors", X, "mobilenet_v3_small")
    np.testing.assert_allclose(again.transform(X), expected, atol=1e-5)


WRAPPERS = {
    "module.": lambda s: renamed(s, "module."),
    "lightning": lambda s: {"state_dict": renamed(s, "model."), "epoch": 3, "loops": {"a": {}}},
    "moco": lambda s: {
        "state_dict": renamed({k: v + 1 for k, v in s.items()}, "module.encoder_k.")
        | renamed(s, "module.encoder_q.")
        | {"module.queue": torch.zeros(4, 9)}
    },
    "moco with its head": lambda s: {
        "state_dict": renamed({k: v for k, v in s.items() if "fc" not in k}, "module.encoder_q.")
        | {"module.encoder_q.fc.0.weight": torch.zeros(9, 512)}
    },
    "dino": lambda s: {
        "student": renamed({k: v + 1 for k, v in s.items()}, "module.backbone."),
        "teacher": renamed(s, "backbone.") | {"head.mlp.0.weight": torch.zeros(9, 512)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
    },
    "averaged": lambda s: {"model": {k: v + 1 for k, v in s.items()}, "model_ema": s},
    "compiled": lambda s: renamed(s, "_orig_mod."),
    "compiled parts": lambda s: {
        k.replace("layer1.", "layer1._orig_mod."): v for k, v in s.items()
    },
    "no classifier": lambda s: OrderedDict((k, v) for k, v in s.items() if "fc" not in k),
    "other classifier": lambda s: s | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)},
    "float16": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    "no counters": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    **{prefix: functools.partial(renamed, prefix=prefix) for prefix in ("net.", "encoder.")},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_checkpoints_of_other_libraries(wrapper, published, tmp_path):
    torch.save(WRAPPERS[wrapper](published), tmp_path / "w.pth.tar")
    network = make_backbone("resnet18", (3, 32, 32), weights=tmp_path / "w.pth.tar")
    expected = {k: v for k, v in published.items() if "fc" not in k and "num_b" not in k}
    found = {k: v for k, v in network.state_dict().items() if "num_b" not in k}
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_formats_are_detected_by_content(published, tmp_path):
    save_file(published, tmp_path / "pytorch_model.bin")
    torch.save(published, tmp_path / "model.safetensors")
    torch.save(published, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for path in tmp_path.iterdir():
        network = make_backbone("resnet18", (3, 96, 96), weights=path)
        torch.testing.assert_close(network.conv1.weight, published["conv1.weight"])


def timm_names(state):
    """The names that timm, DINO and MAE have for weights of torchvision's transformer."""
    names = {
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj.": "patch_embed.proj.",
        "encoder.ln.": "norm.",
        "encoder.layers.encoder_layer_": "blocks.",
        ".ln_": ".norm",
        "self_attention.in_proj_": "attn.qkv.",
        "self_attention.out_proj.": "attn.proj.",
        "mlp.0.": "mlp.fc1.",
        "mlp.3.": "mlp.fc2.",
    }
    renamed = {}
    for name, value in state.items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed


def test_vision_transformers_of_timm(tmp_path):
    torch.manual_seed(0)
    network = make_backbone("small_vit", (3, 32, 32))
    state = timm_names(network.state_dict())
    assert "blocks.3.attn.qkv.weight" in state
    torch.save({"teacher": renamed(state, "module.backbone.")}, tmp_path / "w.pth")
    loaded = make_backbone("small_vit", (3, 32, 32), weights=tmp_path / "w.pth")
    torch.testing.assert_close(loaded.state_dict(), network.state_dict())
    torch.save(state | {"blocks.0.ls1.gamma": torch.ones(128)}, tmp_path / "w.pth")  # DINOv2
    with pytest.raises(
        ValueError, match=r"layers that the backbone does not have \(1\): '.*ls1.gamma'"
    ):
        make_backbone("small_vit", (3, 32, 32), weights=tmp_path / "w.pth")


def test_position_embeddings_of_another_size(tmp_path):
    network = make_backbone("small_vit", (3, 32, 32))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    torch.save(
        network.state_dict() | {"encoder.pos_embedding": torch.zeros(1, 66, 128)},
        tmp_path / "odd.pth",
    )
    with pytest.raises(ValueError, match=r"pos_embedding \(1, 66, 128\), not \(1, 65, 128\).*siz"):
        make_backbone("small_vit", (3, 32, 32), weights=tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"conv_proj.weight \(128, 3, 4, 4\), not \(128, 3, 8, 8"):
        make_backbone("small_vit", (3, 64, 64), weights=tmp_path / "w.pth")


MISFITS = {
    "transformers": (
        lambda s: {
            "resnet.embedder.embedder.convolution.weight": s["conv1.weight"],
            "x": s["fc.bias"],
        },
        r"0 of 100 tensors fit. The file contains 2 tensors, named 'resnet.emb.*, 'x'; the "
        r"backbone expects 'conv1.weight', .* and 96 more",
    ),
    "missing": (
        lambda s: renamed({k: v for k, v in s.items() if "layer4.1" not in k}, "module."),
        r"90 of 100 tensors fit, under the prefix 'module.'. Missing \(10\): 'layer4.1.conv1",
    ),
    "shape": (
        lambda s: s | {"conv1.weight": torch.zeros(64, 3, 5, 5)},
        r"99 of 100 .*Of another shape \(1\): conv1.weight \(64, 3, 5, 5\), not \(64, 3, 7, 7\)",
    ),
    "deeper": (
        lambda s: s | {"layer4.2.conv1.weight": torch.zeros(512, 512, 3, 3)},
        r"Of layers that the backbone does not have \(1\): 'layer4.2.conv1.weight'",
    ),
    "nan": (
        lambda s: s | {"bn1.weight": torch.full((64,), torch.nan)},
        r"contain NaN or infinite values, in 1 tensors such as 'bn1.weight'",
    ),
    "two networks": (
        lambda s: renamed(s, "image.") | renamed({k: v + 1 for k, v in s.items()}, "text."),
        r"several networks that fit the backbone, under 'image.' and 'text.'",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_mismatches_name_the_content_of_a_file(case, published, tmp_path):
    change, message = MISFITS[case]
    torch.save(change(published), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        make_backbone("resnet18", (3, 96, 96), weights=tmp_path / "w.pth")


class Net(nn.Module):
    """A module of a user's own, with a layer as wide as ImageNet has classes."""

    def __init__(self, to=lambda features: features):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 1000, 3), nn.Conv2d(1000, 8, 1)
        self.to = to

    def forward(self, images):
        return self.to(self.out(torch.relu(self.conv(images))))


def test_no_layer_is_left_random(tmp_path):
    state = Net().state_dict()
    torch.save({k: v for k, v in state.items() if "conv" not in k}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"2 of 4 tensors fit. Missing \(2\): 'conv.weight'"):
        make_backbone(Net(), (3, 32, 32), weights=tmp_path / "w.pth")
    kept = models.mobilenet_v3_small(num_classes=7).state_dict()
    del kept["classifier.0.weight"]
    torch.save(kept, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"Missing \(1\): 'classifier.0.weight'"):
        make_backbone("mobilenet_v3_small", (3, 96, 96), weights=tmp_path / "w.pth")


def test_files_of_other_kinds(published, tmp_path):
    files = {
        "text.pth": b"hello there, this is text",
        "empty.pth": b"",
        "keras.h5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "model.onnx": b"\x08\x08\x12\x07pytorch" + bytes(40),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3, "best": 0.5}, tmp_path / "numbers.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps([1, 2]))
    torch.save({"state_dict": published, "args": argparse.Namespace(lr=1)}, tmp_path / "args.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    torch.save({"w": np.zeros(3)}, tmp_path / "numpy.pth")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", b"")
    torch.save(published, tmp_path / "whole.pth")
    save_file(published, tmp_path / "whole.safetensors")
    for suffix in ("pth", "safetensors"):
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"part.{suffix}").write_bytes(content[: len(content) // 2])
    (tmp_path / "folder").mkdir()
    for name, message in {
        "text.pth": "is not a file of weights",
        "empty.pth": "is an empty file",
        "keras.h5": "is an HDF5 file",
        "model.onnx": "is an ONNX file",
        "list.pth": "no named tensors, but a list",
        "numbers.pth": "no named tensors, but 'epoch', 'best'",
        "pickle.pth": "damaged, truncated, or not a file of weights",
        "args.pth": r"Python objects \(argparse.Namespace\).*torch.save\(torch.load",
        "module.pth": r"Python objects \(torch.nn.modules.linear.Linear\)",
        "numpy.pth": r"Python objects \(numpy",
        "script.pt": "is a TorchScript program",
        "part.pth": "damaged, truncated",
        "part.safetensors": "damaged, truncated",
        "folder": "is a folder",
        "nowhere.pth": "neither a file nor the name.*'IMAGENET1K_V1', 'DEFAULT'",
    }.items():
        with pytest.raises(ValueError, match=rf"weights='.*{name}'.* {message}"):
            make_backbone("resnet18", (3, 96, 96), weights=tmp_path / name)
    with pytest.raises(ValueError, match="Only torchvision's models have such names"):
        make_backbone("small_resnet", (3, 96, 96), weights="DEFAULT")


@pytest.mark.slow
def test_torchvisions_functions_are_their_names(X, tmp_path):
    model = shrunk(SimCLRTransformer, backbone=models.resnet18, max_epochs=2).partial_fit(X)
    assert (model.backbone_, model._n_features_out) == ("resnet18", 512)
    model.partial_fit(X).save(tmp_path / "own.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "own.safetensors")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


def own_factory(pretrained=False, **kwargs):
    raise AssertionError


class OfShape(Net):
    def __init__(self, shape):
        assert shape == (3, 32, 32)
        super().__init__()


FACTORIES = {
    "class": (Net, r"backbone=Net is a class. Pass an instance, backbone=Net\(\), or a function"),
    "timm": (own_factory, r"backbone=own_factory is a function that does not take the shape"),
    "partial": (functools.partial(models.resnet18, num_classes=10), "does not take the shape"),
    "get_model": (models.get_model, "does not take the shape.*lambda shape: get_model"),
    "no argument": (lambda: Net(), r"does not take the shape"),
    "two": (lambda channels, side: Net(), r"does not take the shape"),
    "num_classes": (lambda num_classes: Net(), r"does not take the shape"),
    "segmentation": (models.segmentation.fcn_resnet50, "does not take the shape"),
    "fails": (lambda shape: Net()[0], r"failed when it was called with the shape .*\(3, 32, 32\)"),
    "no module": (lambda shape: 3, r"must return a torch.nn.Module. It returned 3"),
    "number": ("resnet81", r"backbone='resnet81' is unknown. Similar names: resnet\d+, .*resnet18"),
    "capitals": ("ResNet50", r"Similar names: resnet50"),
}


@pytest.mark.parametrize("case", FACTORIES)
def test_callables_that_are_no_factories(case, X):
    backbone, message = FACTORIES[case]
    with pytest.raises((TypeError, ValueError), match=message):
        EncoderTransformer(backbone=backbone).fit(X)


def test_factories(X):
    for backbone in (OfShape, lambda s: Net(), lambda _, width=3: Net(), OfShape((3, 32, 32))):
        assert EncoderTransformer(backbone=backbone).fit_transform(X).shape == (8, 8)


@dataclasses.dataclass
class Output:
    last_hidden_state: torch.Tensor
    hidden_states: tuple = None


Logits = namedtuple("Logits", "logits, aux")
States = namedtuple("States", "pooler_output, last_hidden_state")
OUTPUTS = {
    "dict": lambda f: {"pooler_output": f[:, :1], "last_hidden_state": f},
    "dataclass": Output,
    "only tensor": lambda f: {"embedding": f, "loss": None},
    "tuple": lambda f: (f, f[:, :1]),
    "list": lambda f: [f],
    "GoogLeNet": lambda f: Logits(f, f[:, :1]),
    "namedtuple": lambda f: States(f[:, :1], f),
    "float64": lambda f: f.double(),
    "float16": lambda f: f.half(),
    "tokens": lambda f: f.flatten(2).transpose(1, 2),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_of_backbones(case, X):
    network = Net(OUTPUTS[case])
    model = shrunk(SimCLRTransformer, backbone=network, max_epochs=2, flip_tta=False).fit(X)
    embedding = model.transform(X)
    assert embedding.dtype == np.float32
    trained = model.encoder_
    trained.backbone.to = lambda features: features
    with torch.no_grad():
        expected = trained(torch.from_numpy(X).permute(0, 3, 1, 2) / 255).numpy()
    np.testing.assert_allclose(embedding, expected, atol=2e-3)


NO_OUTPUTS = {
    "dict": (
        lambda f: {"out": f, "aux": f},
        "must return a vector, a map or tokens.*returned a dict with the entries 'out', 'aux'",
    ),
    "integers": (lambda f: f.argmax(1), "returned a tensor of torch.int64"),
    "complex": (lambda f: torch.complex(f, f), "returned a tensor of torch.complex64"),
    "none": (lambda f: None, "returned a NoneType"),
    "text": (lambda f: ("a", f), "returned a tuple of str"),
    "empty": (lambda f: (), "returned a tuple"),
    "sparse": (lambda f: f.mean((2, 3)).to_sparse(), "returned a nested or sparse tensor"),
    "nan": (lambda f: f / 0 * 0, "returns NaN or infinite values"),
    "one": (lambda f: f.mean(), "must return a vector"),
    "5-D": (lambda f: f[:, :, None], "must return a vector"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("case", NO_OUTPUTS)
def test_outputs_that_are_no_features(case, X):
    to, message = NO_OUTPUTS[case]
    for estimator in (EncoderTransformer, SimCLRTransformer):
        with pytest.raises(ValueError, match=message):
            estimator(backbone=Net(to)).fit(X)


def two(function):
    """Views that are a function of the batch, twice."""
    return lambda batch: [function(batch), function(batch)]


def per_sample(*steps):
    return PerSampleViews(v2.Compose([v2.RandomHorizontalFlip(), *steps]))


def fitted(X, views):
    return shrunk(SimCLRTransformer, views=views, flip_tta=False, batch_size=8).fit(X)


@pytest.mark.parametrize("kind", ["image", "table"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_views_of_other_float_types(kind, dtype, X):
    X = X if kind == "image" else X.reshape(len(X), -1)[:, :30]
    expected = fitted(X, two(lambda b: b.to(dtype).float())).transform(X)
    weight = torch.ones((), requires_grad=True)
    for views in (two(lambda b: b.to(dtype)), two(lambda b: (b * weight).to(dtype))):
        np.testing.assert_array_equal(fitted(X, views).transform(X), expected)


def test_views_of_bytes(X):
    """They are exact here, as X holds bytes."""
    expected = fitted(X, two(lambda b: b)).transform(X)
    given = fitted(X, two(lambda b: (b * 255).round().byte())).transform(X)
    np.testing.assert_allclose(given, expected, atol=1e-4)
    fitted(X, per_sample(v2.ToDtype(torch.uint8, scale=True)))


NORMALIZE = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
OUT_OF_RANGE = {
    "Normalize": (per_sample(NORMALIZE), r"in \[0, 1\].* values from -\d.*Leave out Normalize"),
    "sometimes": (per_sample(v2.RandomApply([NORMALIZE], p=0.2)), r"must have values in \[0, 1\]"),
    "to -1..1": (two(lambda b: b * 2 - 1), r"values from -\d.* to \d.*Leave out Normalize"),
    "centered": (two(lambda b: b - 0.5), r"must have values in \[0, 1\]"),
    "255": (two(lambda b: b * 255), r"values from .* to \d{2,3}. .*by 255"),
    "nan": (two(lambda b: b / 0 * 0), r"Views must be finite.* contain NaN or infinite"),
    "one is": (lambda b: [b, torch.where(b > b.mean(), b, torch.inf)], "Views must be finite"),
    "divided twice": (two(lambda b: b / 255), "almost no contrast.*do not divide"),
    "unscaled bytes": (per_sample(v2.ToDtype(torch.uint8)), "almost no contrast.*with scale=True"),
    "combined": (CombinedViews((ImageViews(n_views=1), per_sample(NORMALIZE))), "Leave out Norm"),
}


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_views_out_of_range(case, photos):
    views, message = OUT_OF_RANGE[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fitted(photos[:64], views)


def test_views_may_add_noise(X):
    fitted(X, two(lambda b: b + 0.1 * torch.randn_like(b)))
    rows = X.reshape(len(X), -1)[:, :30]
    fitted(rows, two(lambda b: 5 * b))
    with pytest.raises(ValueError, match="Views must be finite"):
        fitted(rows, two(lambda b: b.sqrt()))


@pytest.mark.slow
def test_views_of_fine_tuning(photos):
    X, y = photos[:40], np.arange(40) % 2
    pretrained = EncoderTransformer(random_state=0, device="cpu").fit(X)

    def tune(views):
        return FineTuneClassifier(pretrained, views=views, max_epochs=1, random_state=0).fit(X, y)

    with pytest.raises(ValueError, match=r"(?s)Leave out Normalize"):
        tune(per_sample(NORMALIZE))
    with pytest.raises(ValueError, match="views=Compose of torchvision"):
        tune(v2.Compose([v2.RandomHorizontalFlip()]))
    with pytest.raises(ValueError, match=r"The backbone fails on samples of shape \(2, 32, 32\)"):
        tune(lambda b: [b[:, :2]])
    expected = tune(two(lambda b: b)).predict_proba(X)
    np.testing.assert_array_equal(tune(two(lambda b: b.double())).predict_proba(X), expected)


NO_VIEWS = {
    "a tensor": (lambda b: torch.stack([b, b]), "to a list of tensors.*It returned a Tensor"),
    "a generator": (lambda b: (b for _ in range(2)), "It returned a generator"),
    "a dict": (lambda b: {"a": b}, "It returned a dict"),
    "none": (lambda b: None, "It returned a NoneType"),
    "empty": (lambda b: [], "It returned none"),
    "samples left out": (lambda b: [b, b[:3]], r"View 1 has the shape \(3, 3, 32, 32\)"),
    "other axes": (lambda b: [b, b.flatten(1)], r"View 1 has the shape \(8, 3072\)"),
    "a number": (lambda b: [b.mean(), b], r"View 0 has the shape \(\)"),
    "arrays": (lambda b: [b.numpy(), b.numpy()], "View 0 is a ndarray"),
    "elsewhere": (lambda b: [b, b.to("meta")], "View 1 is on meta"),
    "integers": (two(lambda b: (b * 255).int()), "View 0 is of torch.int32"),
    "sparse": (two(lambda b: b.to_sparse()), "View 0 is nested or sparse"),
    "torchvision": (
        v2.Compose([v2.RandomHorizontalFlip()]),
        r"views=Compose of torchvision transforms .*PerSampleViews\(Compose\(...\)\)",
    ),
    "torchvision, old": (transforms.RandomHorizontalFlip(), r"PerSampleViews\(RandomHorizontalFl"),
    "a function": (v2.functional.horizontal_flip, r"PerSampleViews\(horizontal_flip\)"),
    "a class": (ImageViews, r"views=ImageViews is a class. Pass an instance: views=ImageViews\("),
    "another class": (TableViews, "views=TableViews is a class"),
    "to tensor": (
        PerSampleViews(transforms.ToTensor()),
        r"failed on an image.*Leave out .*ToTensor",
    ),
    "to Pillow": (PerSampleViews(transforms.ToPILImage()), "must return a tensor. It returned"),
}


@pytest.mark.parametrize("case", NO_VIEWS)
def test_callables_that_make_no_views(case, X):
    views, message = NO_VIEWS[case]
    with pytest.raises(ValueError, match=message):
        fitted(X, views)


def test_layers_that_are_not_there_have_near_names(X):
    for backbone, layer, message in [
        ("resnet18", "fc9", r"not a layer.*Similar names: .*fc"),
        ("resnet18", "layer9.0", r"Similar names: .*layer\d.0"),
        ("resnet18", "encoder", r"Its outer layers are conv1, bn1, relu, maxpool, layer1, layer2"),
        ("small_convnet", "Stage2", r"Similar names: .*stage2"),
        ("small_convnet", "zzz", r"stage1, stage2"),
        ("small_vit", "blocks.1", r"encoder"),
        ("mlp", "layer", r"Its outer layers are 0, 1, 2"),
    ]:
        samples = X.reshape(len(X), -1) if backbone == "mlp" else X
        with pytest.raises(ValueError, match=f"layer='{layer}'.*{message}"):
            EncoderTransformer(backbone=backbone, layer=layer, device="cpu").fit(samples)
