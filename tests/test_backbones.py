"""Encoders by name, by factory and as given."""

import copy
import pickle

import numpy as np
import pytest
import torch
from common import each_method, shrunk
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from sklearn_ssl import (
    JigsawTransformer,
    MAETransformer,
    RelativePatchTransformer,
    SimCLRTransformer,
    SuperResolutionTransformer,
)
from sklearn_ssl.networks.backbone import make_backbone
from sklearn_ssl.networks.encoder import count_features, encoder_at, make_encoder
from sklearn_ssl.networks.small import SMALL, SmallMultiscale
from sklearn_ssl.networks.vit import _positions, attention_maps
from sklearn_ssl.views import ImageViews


def encoder(backbone, shape=(3, 32, 32), layer=None, **settings):
    torch.manual_seed(0)
    channels = shape[0] if len(shape) > 1 else 0
    made = make_encoder(backbone, shape, np.zeros(channels), np.ones(channels), **settings)
    made = encoder_at(made, layer)
    return made, count_features(made, shape)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 28, 28), (3, 96, 96)])
def test_small_backbones(name, shape):
    model, n_features = encoder(name, shape)
    assert model(torch.rand(2, *shape)).shape == (2, n_features)
    n_weights = sum(p.numel() for p in model.parameters())
    assert n_weights < 1.5e6


@pytest.mark.parametrize("name", ["small_convnet", "small_resnet", "small_resnet18"])
@pytest.mark.parametrize("side", [4, 8, 15, 16, 20, 27, 28, 32, 64, 96, 224])
def test_small_convolutions_end_at_small_maps(name, side):
    features = make_backbone(name, (3, side, side))[:-1](torch.rand(1, 3, side, side))
    low, high = (4, 7) if side >= 16 else (2, 4)
    assert low <= features.shape[2] <= high


@pytest.mark.parametrize("name", ["small_convnet", "small_resnet", "small_resnet18"])
def test_small_convolutions_give_standardised_features(name, photos):
    model, _ = encoder(name)
    images = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    features = model.train()(images)
    torch.testing.assert_close(features.mean(0), torch.zeros_like(features[0]), atol=1e-3, rtol=0)
    assert 0.9 < features.std(0).median() < 1.1


def test_torchvision_resnet_keeps_small_images_whole():
    small = make_backbone("resnet18", (3, 32, 32))
    assert small.conv1.kernel_size == (3, 3)
    assert small.conv1.stride == (1, 1)
    stages = nn.Sequential(*list(small.children())[:-2])
    assert stages(torch.rand(1, 3, 32, 32)).shape == (1, 512, 4, 4)
    large = make_backbone("resnet18", (3, 96, 96))
    assert large.conv1.kernel_size == (7, 7)
    assert isinstance(large.maxpool, nn.MaxPool2d)


@pytest.mark.parametrize(
    ("name", "n_features"),
    [
        ("resnet18", 512),
        ("resnet50", 2048),
        ("vit_b_16", 768),
        ("mobilenet_v3_small", 1024),
        ("efficientnet_b0", 1280),
        ("densenet121", 1024),
        ("convnext_tiny", 768),
        ("swin_t", 768),
        ("squeezenet1_1", 512),
        ("shufflenet_v2_x0_5", 1024),
        ("regnet_y_400mf", 440),
        ("mnasnet0_5", 1280),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_models(name, n_features, channels):
    model, n = encoder(name, (channels, 32, 32))
    assert n == n_features
    features = model(torch.rand(2, channels, 32, 32))
    assert features.std() > 0


def test_vision_transformer_has_small_patches_for_small_images():
    assert make_backbone("vit_b_16", (3, 32, 32)).conv_proj.kernel_size == (4, 4)
    assert make_backbone("vit_b_16", (3, 28, 28)).conv_proj.kernel_size == (4, 4)
    with pytest.raises(ValueError, match="square images, X holds images of 24 x 32"):
        make_backbone("vit_b_16", (3, 24, 32))
    with pytest.raises(ValueError, match=r"patches of 16 pixels.*images of 100. Resize them to 96"):
        make_backbone("vit_b_16", (3, 100, 100))
    with pytest.raises(ValueError, match="square images"):
        make_backbone("small_vit", (3, 24, 32))


@pytest.mark.parametrize("name", ["small_vit", "vit_b_16"])
def test_vision_transformers_take_images_of_other_sizes(name):
    model, _ = encoder(name)
    model.eval()
    images = torch.rand(2, 3, 32, 32)
    torchvision = models.VisionTransformer.forward
    if name == "small_vit":  # at its own size it is torchvision's
        torch.testing.assert_close(
            model.backbone(images), torchvision(model.backbone, images), atol=1e-5, rtol=1e-4
        )
    # Half the side has half the positions on each side: means of four, here on a ramp.
    positions = model.backbone.encoder.pos_embedding
    ramp = torch.arange(8.0).expand(8, 8).reshape(64, 1)
    with torch.no_grad():
        positions[0, 1:] = ramp
        small = _positions(positions, 4, 4)
    assert small.shape == (1, 17, positions.shape[2])
    torch.testing.assert_close(small[0, 1:, 0].view(4, 4)[:, 1:3], torch.tensor([[2.5, 4.5]] * 4))
    torch.testing.assert_close(small[0, 0], positions[0, 0])
    assert model(torch.rand(2, 3, 16, 16)).std() > 0
    assert model(torch.rand(2, 3, 12, 20)).shape == model(images).shape


def test_attention_maps_are_the_last_block_s():
    model, _ = encoder("small_vit")
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        maps = attention_maps(model.eval(), images)
        assert maps.shape == (3, 4, 8, 8)
        block = model.backbone.encoder.layers[-1]
        seen = []
        hook = block.ln_1.register_forward_hook(lambda *args: seen.append(args[2]))
        model(images)
        hook.remove()
        weight, bias = block.self_attention.in_proj_weight, block.self_attention.in_proj_bias
        q, k, _ = (seen[0] @ weight.T + bias).chunk(3, dim=2)
        q, k = (t.unflatten(2, (4, 32)).transpose(1, 2) for t in (q, k))
        expected = (q @ k.mT / 32**0.5).softmax(dim=3)[:, :, 0, 1:]
    torch.testing.assert_close(maps.flatten(2), expected, atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="need a vision transformer"):
        attention_maps(encoder("small_convnet")[0], images)


def test_unknown_names_get_near_ones():
    with pytest.raises(ValueError, match=r"backbone='resnet19' is unknown. Near names: .*resnet18"):
        make_backbone("resnet19", (3, 32, 32))
    with pytest.raises(ValueError, match=r"backbone='zzz' is unknown. Give \"auto\""):
        make_backbone("zzz", (3, 32, 32))
    with pytest.raises(ValueError, match="takes images, but X holds rows of 5 features"):
        make_backbone("resnet18", (5,))


def test_mlp_for_rows_and_images():
    assert encoder("mlp", (5,))[1] == 256
    assert encoder("mlp", (3, 8, 8))[0](torch.rand(2, 3, 8, 8)).shape == (2, 256)


def test_module_is_copied_and_never_changed(images):
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).double()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    model = shrunk(SimCLRTransformer, backbone=module).fit(images)
    torch.testing.assert_close(module.state_dict(), before)
    assert module.training
    assert model.get_params()["backbone"] is module
    assert model.transform(images).shape == (200, 4)  # the map is pooled
    trained = model.encoder_.backbone[0].weight
    assert not torch.equal(trained, before["0.weight"].float())


class Tokens(nn.Module):
    def forward(self, images):
        return images.flatten(2).transpose(1, 2)  # (n, h * w, c)


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
    ("backbone", "message"),
    [
        (nn.Conv2d(5, 4, 3), r"fails on samples of shape \(3, 32, 32\)"),
        (lambda shape: nn.LSTM(32, 4), "fails on samples"),
        (lambda shape: Tokens, "must return a torch.nn.Module"),
        (lambda shape: nn.Flatten(0), "must return a vector, a map or tokens"),
    ],
)
def test_backbones_that_do_not_work(backbone, message):
    with pytest.raises((ValueError, TypeError), match=message):
        encoder(backbone)


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


@each_method
@pytest.mark.parametrize("backbone", ["small_convnet", "resnet18"])
def test_estimators_with_a_layer_pickle_copy_and_go_on(method, photos, backbone):
    layer = "stage2" if backbone == "small_convnet" else "layer1"
    settings = {"backbone": backbone, "layer": layer, "max_epochs": 3, "batch_size": 4}
    model = shrunk(method, **settings).partial_fit(photos[:12])
    expected = model.transform(photos[:12])
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_allclose(copied.transform(photos[:5]), expected[:5], atol=1e-5)
        before = [p.clone() for p in copied._objective.encoder.parameters()]
        copied.partial_fit(photos[:12])
        assert not np.allclose(copied.transform(photos[:12]), expected, atol=1e-5)
        now = list(copied._objective.encoder.parameters())  # also of what follows the layer
        assert not any(torch.equal(p, q) for p, q in zip(now, before, strict=True) if p.ndim > 1)


class Branching(nn.Module):
    def forward(self, images):
        return images if images.sum() > 0 else -images


def test_the_whole_backbone_is_trained_whatever_the_layer(photos):
    model, whole = (
        shrunk(SimCLRTransformer, layer=layer, mirror=False).fit(photos)
        for layer in ("stage2", None)
    )
    torch.testing.assert_close(
        model._objective.encoder.state_dict(), whole.encoder_.state_dict(), rtol=0, atol=0
    )
    seen = []
    whole.encoder_.backbone.stage2.register_forward_hook(lambda *args: seen.append(args[2]))
    whole.transform(photos)
    expected = torch.cat(seen).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(model.transform(photos), expected, atol=1e-5)
    assert model.get_feature_names_out().shape == (128,)


def test_layers_that_are_not_there():
    with pytest.raises(ValueError, match=r"layer='layer9' is no layer.*Near names: .*layer[1-4]"):
        encoder("resnet18", layer="layer9")
    with pytest.raises(ValueError, match=r"torch.fx can trace"):
        encoder(Branching(), layer="x")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_from_a_local_file(tmp_path, suffix):
    torch.manual_seed(1)
    saved = models.resnet18(num_classes=7)
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(saved.state_dict(), path)
    loaded = make_backbone("resnet18", (3, 96, 96), weights=path)
    torch.testing.assert_close(loaded.layer4.state_dict(), saved.layer4.state_dict())
    small = make_backbone("resnet18", (3, 32, 32), weights=path)
    torch.testing.assert_close(small.conv1.weight, saved.conv1.weight)  # the stem they are for
    gray = make_backbone("resnet18", (1, 96, 96), weights=str(path))
    images = torch.rand(2, 1, 96, 96)
    torch.testing.assert_close(
        gray.conv1(images), loaded.conv1(images.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-4
    )


def test_weights_of_the_own_backbone_start_a_fit(tmp_path, images):
    first = shrunk(SimCLRTransformer).fit(images)
    path = tmp_path / "encoder.pt"
    torch.save(first.encoder_.backbone.state_dict(), path)
    still = shrunk(SimCLRTransformer, weights=path, lr=1e-12, random_state=5).fit(images)
    torch.testing.assert_close(
        still.encoder_.backbone[0][0].weight, first.encoder_.backbone[0][0].weight
    )


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 96, 96)])
def test_weights_of_the_own_torchvision_backbone(tmp_path, shape):
    torch.manual_seed(3)
    saved = make_backbone("resnet18", shape)
    torch.save(saved.state_dict(), tmp_path / "own.pt")
    loaded = make_backbone("resnet18", shape, weights=tmp_path / "own.pt")
    torch.testing.assert_close(loaded.state_dict(), saved.state_dict())


def test_vision_transformer_weights_of_another_size(tmp_path):
    torch.save(models.vit_b_32().state_dict(), tmp_path / "vit.pt")
    model = make_backbone("vit_b_32", (3, 96, 96), weights=tmp_path / "vit.pt")
    assert model.encoder.pos_embedding.shape == (1, 1 + 9, 768)


def test_bad_weights(tmp_path):
    with pytest.raises(ValueError, match=r"'nowhere.pt' is neither a file nor the name"):
        make_backbone("resnet18", (3, 32, 32), weights="nowhere.pt")
    path = tmp_path / "weights.pt"
    torch.save(models.resnet18().state_dict(), path)
    with pytest.raises(ValueError, match=r"do not fit the backbone: \d+ of \d+ tensors"):
        make_backbone("resnet50", (3, 32, 32), weights=path)


def test_named_pretrained_weights(monkeypatch):
    """What torchvision would download is put in its place."""
    torch.manual_seed(1)
    saved = models.resnet18()
    asked = []

    def get_state_dict(self, **kwargs):
        asked.append(self)
        return saved.state_dict()

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", get_state_dict)
    model, _ = encoder("resnet18", weights="DEFAULT")
    assert asked == [models.ResNet18_Weights.DEFAULT]
    torch.testing.assert_close(model.backbone.layer1.state_dict(), saved.layer1.state_dict())
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    gray, _ = encoder("resnet18", (1, 96, 96), weights="DEFAULT")
    assert gray.mean.item() == pytest.approx((0.485 + 0.456 + 0.406) / 3)
    with pytest.raises(ValueError, match="neither a file nor the name"):
        encoder("resnet18", weights="IMAGENET22K")


WHOLE_IMAGES = JigsawTransformer, RelativePatchTransformer, SuperResolutionTransformer


@each_method
@pytest.mark.parametrize("side", [8, 22, 24])
def test_defaults_follow_the_size_of_images(method, side):
    """Networks and views, together; who gives one of the two gets the other for whole images."""
    X = np.random.default_rng(0).random((20, side, side))

    def of(**parameters):
        model = shrunk(method, device="cpu", **parameters)
        source = model._find(X, reset=True, min_samples=2).read()
        network = model._resolve_backbone(source, torch.device("cpu"))
        return network, largest_views(model._resolve_views(source))

    own = largest_views(method.default_views["image"])  # EMP-SSL's are small wherever it is
    whole = 1.0 if side < 24 else own
    large = ("small_multiscale_fine", min(own, 0.5))
    if method in WHOLE_IMAGES:  # for a fine map, or for tiles that are half as large
        large = ("small_multiscale_fine", 1.0)
    elif method.whole_views:  # as inpainting, which shall fill holes of whole images
        large = ("small_multiscale", 1.0)
    if method is MAETransformer:  # whose network leaves out patches
        assert of() == of(views=ImageViews(n_views=8)) == ("small_vit", 1.0)
        return
    assert of() == (("small_convnet", 1.0) if side < 24 else large)
    assert of(backbone="small_resnet") == ("small_resnet", whole)
    given = of(views=ImageViews(n_views=8))
    assert given == ("small_convnet" if side < 24 else "small_multiscale", 1.0)


def largest_views(views):
    """Return the size of the first views of a recipe."""
    return getattr(views, "recipes", [views])[0].size


@pytest.mark.parametrize("fine", [False, True])
def test_two_stages_are_read_in_quarters(fine):
    """What is in a quarter of an image changes the features of that quarter alone."""
    network = SmallMultiscale(3, 32, 32, fine=fine).eval()
    images = torch.zeros(2, 3, 32, 32)
    images[1, :, :4, :4] = 1.0  # in the corner, beyond which no stage sees
    with torch.no_grad():
        one, other = network(images)
    changed = (one != other).split([4 * 128, 4 * 256])
    for part in changed:
        assert part.view(-1, 2, 2).any(dim=0).tolist() == [[True, False], [False, False]]
