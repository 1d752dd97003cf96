"""VISReg: its loss beside a slow reference, and its stop-gradient."""

from statistics import NormalDist

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive.visreg import VISRegObjective, sliced_wasserstein


def slow_visreg(z, directions, weight):
    """The paper's equations, one view, dimension and direction at a time."""
    center = sum(z) / len(z)
    invariance = torch.cat([(view - center) ** 2 for view in z]).mean()
    scale, shape, mean = [], [], []
    for view in z:
        std = [column.var(correction=0).sqrt() for column in view.T]
        scale += [(1 - s) ** 2 for s in std]
        mean += [column.mean() ** 2 for column in view.T]
        columns = [(c - c.mean()) / (s.detach() + 1e-4) for c, s in zip(view.T, std, strict=True)]
        for direction in directions.T:
            x = sum(d * column for d, column in zip(direction, columns, strict=True))
            for i, value in enumerate(sorted(x)):
                shape.append((value - NormalDist().inv_cdf((i + 1) / (len(x) + 1))) ** 2)
    parts = (sum(part) / len(part) for part in (scale, shape, mean))
    return weight * sum(parts) + (1 - weight) * invariance


def test_visreg():
    inputs = [view.requires_grad_() for view in check_inputs()]
    objective = VISRegObjective(nn.Identity(), nn.Identity(), 0.6, 5)
    torch.manual_seed(0)
    loss = objective(inputs)["loss"]
    torch.manual_seed(0)
    directions = nn.functional.normalize(torch.randn(4, 5, dtype=torch.float64), dim=0)
    expected = slow_visreg(inputs, directions, 0.6)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, inputs) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_visreg_shape_is_least_for_the_normal_distribution():
    quantiles = torch.special.ndtri((torch.arange(200) + 0.5) / 200)[:, None]
    assert sliced_wasserstein(quantiles).item() < 0.01
    for other in (quantiles.sign(), 0 * quantiles, quantiles.exp()):
        assert sliced_wasserstein(other).item() > 0.1


def test_visreg_of_equal_projections_is_at_chance():
    objective = VISRegObjective(nn.Identity(), nn.Identity(), 0.6, 8)
    z = torch.zeros(9, 4)
    assert objective([z, z, z])["loss"].item() == pytest.approx(objective.chance_loss(9))
    assert objective([z + 1, z + 1])["loss"].item() > objective.chance_loss(9)
