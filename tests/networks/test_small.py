"""Encoders by name, by factory and as given."""

import pytest
import torch

from networks.helpers import encoder
from sklearn_ssl.networks.backbone import make_backbone
from sklearn_ssl.networks.small import SMALL, SmallMultiscale


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
def test_small_convolutions_give_standardized_features(name, photos):
    model, _ = encoder(name)
    images = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    features = model.train()(images)
    torch.testing.assert_close(features.mean(0), torch.zeros_like(features[0]), atol=1e-3, rtol=0)
    assert 0.9 < features.std(0).median() < 1.1


def test_mlp_for_rows_and_images():
    assert encoder("mlp", (5,))[1] == 256
    assert encoder("mlp", (3, 8, 8))[0](torch.rand(2, 3, 8, 8)).shape == (2, 256)


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
