"""SimCLR: its loss beside a slow reference, its views, and what it returns."""

import math

import pytest
import torch
from common import check_inputs
from torch import nn

from methods.contrastive.references import slow_nt_xent
from sklearn_ssl.methods.contrastive.simclr import SimCLRObjective, nt_xent


def test_simclr():
    a, b = (t.requires_grad_() for t in check_inputs())
    loss = nt_xent(a, b, 0.5)
    assert loss.item() == pytest.approx(1.198112, abs=1e-6)
    expected = slow_nt_xent(a, b, 0.5)
    torch.testing.assert_close(loss, expected)
    ours, theirs = torch.autograd.grad(loss, (a, b)), torch.autograd.grad(expected, (a, b))
    torch.testing.assert_close(ours, theirs)


def test_simclr_of_equal_projections_is_at_chance():
    z = torch.ones(5, 3)
    assert nt_xent(z, z, 0.2).item() == pytest.approx(math.log(2 * 5 - 1))


def test_simclr_objective_gradient():
    """The gradient flows through both views, the encoder and the head."""
    torch.manual_seed(0)
    objective = SimCLRObjective(nn.Linear(4, 3), 3, 8, 5, 0.5).double()
    views = [v.detach() for v in check_inputs()]
    objective(views)["loss"].backward()
    ours = [p.grad.clone() for p in objective.parameters()]
    objective.zero_grad()
    slow_nt_xent(*(objective.project(objective.encoder(v)) for v in views), 0.5).backward()
    torch.testing.assert_close(ours, [p.grad for p in objective.parameters()])


def test_simclr_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    z1, z2 = torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z1, z2, 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == nt_xent(z1, z2, 0.05).item()


def test_simclr_refuses_other_than_two_views():
    objective = SimCLRObjective(nn.Identity(), 4, 8, 5, 0.5)
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        objective([torch.ones(4, 4)] * 3)
