"""LeJEPA: its loss beside a slow reference, and the statistic of normality."""

import math

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive.lejepa import LeJEPAObjective, epps_pulley


def slow_epps_pulley(x):
    """The trapezoidal rule on both sides of zero, with complex numbers."""
    frequencies = torch.linspace(-3, 3, 33, dtype=x.dtype)
    errors = []
    for t in frequencies:
        normal = math.exp(-(t.item() ** 2) / 2)
        values = [torch.exp(1j * t * value) for value in x]
        errors.append((sum(values) / len(values) - normal).abs() ** 2 * normal)
    return len(x) * torch.trapezoid(torch.stack(errors), frequencies)


def slow_lejepa(z, directions, weight):
    center = sum(z) / len(z)
    invariance = torch.cat([(view - center) ** 2 for view in z]).mean()
    statistics = [slow_epps_pulley(view @ d) for view in z for d in directions.T]
    return weight * sum(statistics) / len(statistics) + (1 - weight) * invariance


def test_lejepa():
    inputs = [view.requires_grad_() for view in check_inputs()]
    found = epps_pulley(inputs[0])
    expected = [1.728807, 0.122180, 0.492746, 0.155339]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    objective = LeJEPAObjective(nn.Identity(), nn.Identity(), 0.05, 3)
    torch.manual_seed(0)
    loss = objective(inputs)["loss"]
    torch.manual_seed(0)
    directions = nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=0)
    expected = slow_lejepa(inputs, directions, 0.05)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, inputs) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_lejepa_statistic_is_least_for_the_normal_distribution():
    quantiles = torch.special.ndtri((torch.arange(200) + 0.5) / 200)[:, None]
    others = torch.cat([2 * quantiles, quantiles + 1, quantiles.sign(), 0 * quantiles], dim=1)
    assert epps_pulley(quantiles).item() < 0.01
    assert (epps_pulley(others) > 1).all()


def test_lejepa_of_equal_projections_is_at_chance():
    objective = LeJEPAObjective(nn.Identity(), nn.Identity(), 0.05, 8)
    z = torch.zeros(9, 4)
    assert objective([z, z, z])["loss"].item() == pytest.approx(objective.chance_loss(9))
    assert objective([z + 1, z + 1])["loss"].item() > objective.chance_loss(9)
