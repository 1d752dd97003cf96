"""Barlow Twins: its loss beside a slow reference, and its value for equal projections."""

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive.barlow_twins import BarlowTwinsObjective, barlow_twins


def slow_barlow_twins(z1, z2, weight):
    """The paper's equation, one pair of dimensions at a time."""
    z1, z2 = (((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()).T for z in (z1, z2))
    loss = 0
    for i, a in enumerate(z1):
        for j, b in enumerate(z2):
            error = ((a * b).mean() - float(i == j)) ** 2
            loss = loss + (error if i == j else weight * error)
    return loss


def test_barlow_twins():
    inputs = [view.requires_grad_() for view in check_inputs()]
    objective = BarlowTwinsObjective(nn.Identity(), nn.Identity(), 0.0051)
    terms, expected = objective(inputs), slow_barlow_twins(*inputs, 0.0051)
    assert terms["loss"].item() == pytest.approx(0.031283, abs=1e-6)
    torch.testing.assert_close(terms["loss"], expected)
    torch.testing.assert_close(terms["invariance"] + 0.0051 * terms["redundancy"], expected)
    ours, theirs = (torch.autograd.grad(x, inputs) for x in (terms["loss"], expected))
    torch.testing.assert_close(ours, theirs)


def test_barlow_twins_of_equal_uncorrelated_dimensions_is_zero():
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    for part in barlow_twins(3 * signs + 1, signs):
        assert part.item() == pytest.approx(0, abs=1e-8)
    invariance, redundancy = barlow_twins(signs, signs[:, [0, 0]])
    assert (invariance.item(), redundancy.item()) == pytest.approx((1, 1), abs=1e-4)


def test_barlow_twins_refuses_other_than_two_views():
    objective = BarlowTwinsObjective(nn.Identity(), nn.Identity(), 0.1)
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        objective([torch.ones(4, 4)] * 3)
