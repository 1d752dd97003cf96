"""Encoders by name, by factory and as given."""

import pytest
import torch
from torch import nn
from torchvision import models

from networks.helpers import encoder
from sklearn_ssl.networks.backbone import make_backbone


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
@pytest.mark.slow
def test_torchvision_models(name, n_features, channels):
    model, n = encoder(name, (channels, 32, 32))
    assert n == n_features
    features = model(torch.rand(2, channels, 32, 32))
    assert features.std() > 0


@pytest.mark.slow
def test_vision_transformer_has_small_patches_for_small_images():
    assert make_backbone("vit_b_16", (3, 32, 32)).conv_proj.kernel_size == (4, 4)
    assert make_backbone("vit_b_16", (3, 28, 28)).conv_proj.kernel_size == (4, 4)
    with pytest.raises(ValueError, match="square images, but X has images of 24 x 32"):
        make_backbone("vit_b_16", (3, 24, 32))
    with pytest.raises(ValueError, match=r"multiples of 16 pixels.*of 100. Resize them to 96"):
        make_backbone("vit_b_16", (3, 100, 100))
    with pytest.raises(ValueError, match="square images"):
        make_backbone("small_vit", (3, 24, 32))


def test_unknown_names_get_near_ones():
    with pytest.raises(ValueError, match=r"'resnet19' is unknown. Similar names: .*resnet18"):
        make_backbone("resnet19", (3, 32, 32))
    with pytest.raises(ValueError, match=r"backbone='zzz' is unknown. Choose \"auto\""):
        make_backbone("zzz", (3, 32, 32))
    with pytest.raises(ValueError, match=r"requires images, but X has shape \(n_samples, 5\)"):
        make_backbone("resnet18", (5,))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 96, 96)])
def test_weights_of_the_own_torchvision_backbone(tmp_path, shape):
    torch.manual_seed(3)
    saved = make_backbone("resnet18", shape)
    torch.save(saved.state_dict(), tmp_path / "own.pt")
    loaded = make_backbone("resnet18", shape, weights=tmp_path / "own.pt")
    torch.testing.assert_close(loaded.state_dict(), saved.state_dict())


@pytest.mark.slow
def test_vision_transformer_weights_of_another_size(tmp_path):
    torch.save(models.vit_b_32().state_dict(), tmp_path / "vit.pt")
    model = make_backbone("vit_b_32", (3, 96, 96), weights=tmp_path / "vit.pt")
    assert model.encoder.pos_embedding.shape == (1, 1 + 9, 768)


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
