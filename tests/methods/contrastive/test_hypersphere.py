"""Alignment and uniformity: the loss beside a slow reference, and the metrics of these names."""

import itertools

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl import metrics
from sklearn_ssl.methods.contrastive.hypersphere import (
    HypersphereObjective,
    alignment,
    uniformity,
)


def slow_hypersphere(z1, z2, alpha, t, weight):
    """The paper's equations, one pair at a time."""
    x, y = ([row / row.norm() for row in z] for z in (z1, z2))
    aligned = sum((a - b).norm() ** alpha for a, b in zip(x, y, strict=True)) / len(x)
    uniform = []
    for z in (x, y):
        pairs = list(itertools.combinations(z, 2))
        potential = sum(torch.exp(-t * (a - b).norm() ** 2) for a, b in pairs) / len(pairs)
        uniform.append(potential.log())
    return aligned + weight * sum(uniform) / 2


@pytest.mark.parametrize(("alpha", "t", "weight"), [(2.0, 2.0, 1.0), (1.0, 3.0, 0.4)])
def test_hypersphere(alpha, t, weight):
    torch.manual_seed(0)
    objective = HypersphereObjective(nn.Linear(4, 3), nn.Linear(3, 5), alpha, t, weight).double()
    views = check_inputs()
    result = objective(views)
    z = [objective.project(objective.encoder(view)) for view in views]
    expected = slow_hypersphere(*z, alpha, t, weight)
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(result["alignment"] + weight * result["uniformity"], expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (result["loss"], expected))
    torch.testing.assert_close(ours, theirs)


def test_hypersphere_has_the_known_values_and_those_of_the_metrics():
    a, b = (nn.functional.normalize(z) for z in check_inputs())
    assert alignment(a, b, 2).item() == pytest.approx(0.069544, abs=1e-6)
    assert uniformity(a, 2).item() == pytest.approx(-2.355495, abs=1e-6)
    assert alignment(a, b, 3).item() == pytest.approx(metrics.alignment(a, b, alpha=3))
    assert uniformity(a, 0.7).item() == pytest.approx(metrics.uniformity(a, t=0.7))


def test_hypersphere_of_equal_projections_is_zero_with_finite_gradients():
    z = torch.ones(5, 3).requires_grad_()
    objective = HypersphereObjective(nn.Identity(), nn.Identity(), 1.0, 2.0, 1.0)
    loss = objective([z, z])["loss"]
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert z.grad.isfinite().all()


def test_hypersphere_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    objective = HypersphereObjective(nn.Identity(), nn.Identity(), 2.0, 2.0, 1.0)
    views = torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(views)["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == objective(views)["loss"].item()


def test_hypersphere_refuses_single_samples():
    with pytest.raises(ValueError, match="at least 2 are needed"):
        uniformity(torch.ones(1, 4), 2.0)


def test_hypersphere_refuses_other_than_two_views():
    objective = HypersphereObjective(nn.Identity(), nn.Identity(), 2.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        objective([torch.ones(4, 4)] * 3)
