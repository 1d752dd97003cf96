"""Methods that make images: what they make, in which layout, and what they refuse."""

import copy
import pickle

import numpy as np
import pytest
import torch
from common import digits, each_image_method, exhaustively, shrunk, takes_network
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from networks.helpers import Tokens, encoder
from sklearn_ssl import (
    InpaintingTransformer,
    SimCLRTransformer,
)
from sklearn_ssl.networks.encoder import encoder_at, make_encoder, with_map
from sklearn_ssl.networks.features import grid_of
from sklearn_ssl.networks.fuse_batchnorm import folded
from sklearn_ssl.training.micro_batches import micro_batches


def test_a_backbone_without_maps_is_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
    with pytest.raises(ValueError, match="needs a backbone that makes a map"):
        InpaintingTransformer(backbone=flat).fit(digits()[0][:20])


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("small_convnet", "stage3", (256, 4, 4)),
        ("small_multiscale", "stage3", (256, 4, 4)),
        ("small_resnet", "stage3", (128, 4, 4)),
        ("small_vit", "encoder.ln", (128, 8, 8)),
        ("resnet18", "layer4", (512, 4, 4)),
    ],
)
def test_the_map_is_what_the_features_are_made_of(name, layer, shape):
    encoder, found = with_map(make_encoder(name, (3, 32, 32), [0.5] * 3, [0.2] * 3))
    assert tuple(found) == shape
    encoder.eval()
    images = torch.rand(2, 3, 32, 32)
    features, maps, *_ = encoder.features(images)
    torch.testing.assert_close(features, encoder(images))
    up_to_layer = create_feature_extractor(encoder.backbone, [layer])
    output = up_to_layer.eval()(encoder.normalized(images))[layer]
    output = grid_of(output) if output.ndim == 3 else output
    torch.testing.assert_close(maps, output)
    assert maps.shape == (2, *shape)
    if name == "resnet18":
        torch.testing.assert_close(maps.mean(dim=(2, 3)), features)
    assert maps.shape[2] > 1
    larger = encoder.features(torch.rand(2, 3, 64, 64)).map
    assert larger.shape[2:] == (2 * shape[1], 2 * shape[2])


def reached(result, encoder):
    """The names of the weights that a result depends on."""
    names, weights = zip(*encoder.named_parameters(), strict=True)
    found = torch.autograd.grad(result.sum(), weights, retain_graph=True, allow_unused=True)
    return {name for name, found in zip(names, found, strict=True) if found is not None}


@pytest.mark.parametrize(
    ("name", "side", "reads_map"),
    [
        ("small_multiscale", 32, False),
        ("resnet18", 32, False),
        ("resnet18", 8, True),  # its last stage is one place
        ("mobilenet_v3_small", 64, True),  # a layer with weights follows its pool
        ("small_vit", 16, True),
    ],
)
@pytest.mark.slow
def test_features_are_learned_with_the_map(name, side, reads_map):
    """No weights but those that the map depends on are needed for the features."""
    encoder = make_encoder(name, (1, side, side), [0.5], [0.2])
    images = torch.rand(2, 1, side, side)
    for _ in range(2):  # and where training goes on
        encoder, shape = with_map(encoder)
        features, maps, *_ = encoder.eval().features(images)
        # A network of its own has features of its own, of the same width or not.
        plain = make_encoder(name, (1, side, side), [0.5], [0.2])
        plain.load_state_dict(encoder.state_dict())
        assert torch.equal(plain.eval()(images), features) is not reads_map
        torch.testing.assert_close(features, encoder(images))
        assert reached(features, encoder) <= reached(maps, encoder)
        if reads_map:
            assert features.shape[1] == shape[0]
    if name == "small_vit":  # with the class token
        tokens = encoder.backbone.features((images - 0.5) / 0.2).tokens
        torch.testing.assert_close(features, tokens.mean(dim=1))


@pytest.mark.parametrize("backbone", ["small_convnet", "resnet18"])
def test_encoders_whose_map_was_found_are_folded(backbone):
    model = shrunk(InpaintingTransformer, backbone=backbone).fit(digits()[0][:40])
    images = torch.rand(4, 1, 8, 8)
    quick = folded(model.encoder_, images)
    assert quick is not model.encoder_
    with torch.no_grad():
        torch.testing.assert_close(quick(images), model.encoder_(images), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_channels_that_come_last_are_no_places():
    _, shape = with_map(make_encoder("swin_t", (3, 64, 64), [0.5] * 3, [0.2] * 3))
    assert tuple(shape) == (768, 2, 2)


def test_tokens_are_ordered_as_their_patches():
    encoder, _ = with_map(make_encoder("small_vit", (1, 32, 32), [0.5], [0.2]))
    block = encoder.eval().backbone.encoder.layers
    for layer in block:  # no patch sees another
        nn.init.zeros_(layer.self_attention.out_proj.weight)
    images = torch.zeros(1, 1, 32, 32)
    plain = encoder.features(images).map
    images[:, :, 4:8, 20:24] = 1  # second row, sixth column
    marked = encoder.features(images).map
    changed = (marked - plain).abs().amax(dim=1)[0] > 1e-5
    assert changed.nonzero().tolist() == [[1, 5]]


def test_maps_in_micro_batches_are_those_of_the_batch():
    torch.manual_seed(0)
    encoder, _ = with_map(make_encoder("small_vit", (1, 16, 16), [0.5], [0.2]))
    objective = nn.Module()
    objective.encoder = encoder
    images, given = torch.rand(7, 1, 16, 16), []
    for size in (None, 3):
        with micro_batches(objective, size):
            features, maps, *_ = objective.encoder.features(images)
            (features.square().sum() + maps.square().sum()).backward()
        gradients = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        given.append((features, maps, gradients))
        encoder.zero_grad()
    torch.testing.assert_close(*given, rtol=1e-4, atol=1e-4)


def test_factory_and_tokens(photos):
    shapes = []

    def factory(shape):
        shapes.append(shape)
        return Tokens()

    model = shrunk(SimCLRTransformer, backbone=factory).fit(photos)
    assert shapes == [(3, 32, 32)]
    np.testing.assert_allclose(
        model.transform(photos),
        (photos / 255.0).mean((1, 2)) / model._scaling.std
        - model._scaling.mean / model._scaling.std,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("name", "layer", "n_features"),
    [
        ("resnet18", "layer2", 128),
        ("small_resnet", "stage2", 64),
        ("small_convnet", "stage1", 64),
        ("mobilenet_v3_small", "features.3", 24),
        ("small_vit", "encoder.layers.encoder_layer_1", 128),
        ("swin_t", "features.3", 192),
    ],
)
@pytest.mark.slow
def test_layer_chooses_what_is_pooled(name, layer, n_features):
    model, n = encoder(name, layer=layer)
    assert n == n_features
    full, _ = encoder(name)
    assert encoder_at(full, None) is full
    assert {id(p) for p in encoder_at(full, layer).parameters()} < {
        id(p) for p in full.parameters()
    }
    seen = []
    full.backbone.get_submodule(layer).register_forward_hook(lambda *args: seen.append(args[2]))
    model.eval(), full.eval()
    model.backbone.model.load_state_dict(full.backbone.state_dict(), strict=False)
    images = torch.rand(2, 3, 32, 32)
    full(images)
    over = {4: (1, 2) if name == "swin_t" else (2, 3), 3: 1}
    pooled = seen[0].mean(over[seen[0].ndim])
    torch.testing.assert_close(model(images), pooled)


@each_image_method
@pytest.mark.parametrize("backbone", ["small_convnet", exhaustively("resnet18")])
def test_estimators_with_a_layer_pickle_copy_and_resume(method, photos, backbone):
    if not takes_network(method, backbone):
        return
    layer = "stage2" if backbone == "small_convnet" else "layer1"
    settings = {"backbone": backbone, "layer": layer, "max_epochs": 3, "batch_size": 4}
    model = shrunk(method, **settings).partial_fit(photos[:12])
    expected = model.transform(photos[:12])
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_allclose(copied.transform(photos[:5]), expected[:5], atol=1e-5)
        before = [p.clone() for p in copied.objective_.encoder.parameters()]
        copied.partial_fit(photos[:12])
        assert not np.allclose(copied.transform(photos[:12]), expected, atol=1e-5)
        now = list(copied.objective_.encoder.parameters())  # also of what follows the layer
        assert not any(torch.equal(p, q) for p, q in zip(now, before, strict=True) if p.ndim > 1)


class Branching(nn.Module):
    def forward(self, images):
        return images if images.sum() > 0 else -images


def test_the_whole_backbone_is_trained_whatever_the_layer(photos):
    model, whole = (
        shrunk(SimCLRTransformer, layer=layer, flip_tta=False).fit(photos)
        for layer in ("stage2", None)
    )
    torch.testing.assert_close(
        model.objective_.encoder.state_dict(), whole.encoder_.state_dict(), rtol=0, atol=0
    )
    seen = []
    whole.encoder_.backbone.stage2.register_forward_hook(lambda *args: seen.append(args[2]))
    whole.transform(photos)
    expected = torch.cat(seen).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(model.transform(photos), expected, atol=1e-5)
    assert model.get_feature_names_out().shape == (128,)


def test_layers_that_are_not_there():
    with pytest.raises(ValueError, match=r"'layer9' is not a layer.*Similar names: .*layer[1-4]"):
        encoder("resnet18", layer="layer9")
    with pytest.raises(ValueError, match=r"torch.fx can trace"):
        encoder(Branching(), layer="x")
