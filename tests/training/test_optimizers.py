"""Optimizers."""

from functools import partial

import pytest
import torch
from common import shrunk
from torch import nn

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.training.optimizers import LARS, make_optimizer

simclr = partial(shrunk, SimCLRTransformer)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_weight_decay_leaves_biases_and_norms_alone(name):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    groups = [{"params": list(model.parameters())}]
    decayed, spared = make_optimizer(name, groups, 0.1, 0.3).param_groups
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in spared["params"]} == {1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0)


def test_lars_follows_its_definition():
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
    optimizer = LARS([bias, weight], lr=0.5, weight_decay=0.1)
    w, b = weight.detach().clone(), bias.detach().clone()
    v_w, v_b = torch.zeros_like(w), torch.zeros_like(b)
    for _ in range(3):
        weight.grad, bias.grad = torch.randn(4, 3), torch.randn(4)
        ratio = 1e-3 * w.norm() / (weight.grad.norm() + 0.1 * w.norm() + 1e-8)
        v_w = 0.9 * v_w + ratio * (weight.grad + 0.1 * w)
        v_b = 0.9 * v_b + bias.grad
        w, b = w - 0.5 * v_w, b - 0.5 * v_b
        optimizer.step()
    torch.testing.assert_close(weight.detach(), w)
    torch.testing.assert_close(bias.detach(), b)


def test_lars_moves_weights_that_are_zero():
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1).step()
    assert (weight < 0).all()


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("adamw", "auto"), ("lars", 3.0)])
@pytest.mark.slow
def test_every_optimizer_lowers_the_loss(images, optimizer, lr):
    model = simclr(optimizer=optimizer, lr=lr, max_epochs=8, projection_dim=32).fit(images)
    assert model.loss_curve_[-1] < model.loss_curve_[0] - 0.05
