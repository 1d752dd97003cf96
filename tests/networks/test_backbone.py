"""Encoders by name, by factory and as given."""

import pytest
import torch
from common import shrunk
from torch import nn

from networks.helpers import Tokens, encoder
from sklearn_ssl import (
    SimCLRTransformer,
)


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
