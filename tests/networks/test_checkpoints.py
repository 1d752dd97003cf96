"""Encoders by name, by factory and as given."""

import pytest
import torch
from common import shrunk
from safetensors.torch import save_file
from torchvision import models

from sklearn_ssl import (
    SimCLRTransformer,
)
from sklearn_ssl.networks.backbone import make_backbone


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.slow
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


def test_bad_weights(tmp_path):
    with pytest.raises(ValueError, match=r"'nowhere.pt' is neither a file nor the name"):
        make_backbone("resnet18", (3, 32, 32), weights="nowhere.pt")
    path = tmp_path / "weights.pt"
    torch.save(models.resnet18().state_dict(), path)
    with pytest.raises(ValueError, match=r"do not fit the backbone: \d+ of \d+ tensors"):
        make_backbone("resnet50", (3, 32, 32), weights=path)
