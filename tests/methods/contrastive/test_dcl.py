"""DCL and DCLW: their loss beside a slow reference, and their views."""

import math

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.contrastive.dcl import DCLObjective, decoupled_contrastive


def slow_dcl(z1, z2, temperature, sigma=None):
    """The paper's equation, one anchor at a time, and its von Mises-Fisher weights."""
    views = [[row / row.norm() for row in z] for z in (z1, z2)]
    n, losses = len(z1), []
    for anchors, positives in (views, views[::-1]):
        weights = torch.ones(n)
        if sigma is not None:
            exp = [torch.exp(a @ b / sigma) for a, b in zip(anchors, positives, strict=True)]
            weights = [2 - n * (e / sum(exp)).detach() for e in exp]
        for i, anchor in enumerate(anchors):
            others = [z[k] for z in views for k in range(n) if k != i]
            negatives = sum(torch.exp(anchor @ other / temperature) for other in others)
            losses.append(-weights[i] * (anchor @ positives[i]) / temperature + negatives.log())
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("sigma", "known"), [(None, 0.827128), (0.5, 0.828303)])
def test_dcl(sigma, known):
    a, b = (t.requires_grad_() for t in check_inputs())
    loss = decoupled_contrastive(a, b, 0.5, sigma)
    assert loss.item() == pytest.approx(known, abs=1e-6)
    expected = slow_dcl(a, b, 0.5, sigma)
    torch.testing.assert_close(loss, expected)
    ours, theirs = torch.autograd.grad(loss, (a, b)), torch.autograd.grad(expected, (a, b))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_dcl_of_equal_projections_is_at_chance(sigma):
    z = torch.ones(5, 3)
    loss = decoupled_contrastive(z, z, 0.2, sigma).item()
    assert loss == pytest.approx(math.log(2 * 5 - 2))
    assert DCLObjective(nn.Identity(), nn.Identity(), 0.2).chance_loss(5) == pytest.approx(loss)


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_dcl_objective_gradient(sigma):
    """The gradient flows through both views, the encoder and the head."""
    torch.manual_seed(0)
    objective = DCLObjective(nn.Linear(4, 3), nn.Linear(3, 5), 0.5, sigma).double()
    views = check_inputs()
    objective(views)["loss"].backward()
    ours = [p.grad.clone() for p in objective.parameters()]
    objective.zero_grad()
    slow_dcl(*(objective.project(objective.encoder(v)) for v in views), 0.5, sigma).backward()
    torch.testing.assert_close(ours, [p.grad for p in objective.parameters()])


def test_dcl_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    z1, z2 = torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = decoupled_contrastive(z1, z2, 0.05, 0.5)
    assert loss.dtype == torch.float32
    assert loss.item() == decoupled_contrastive(z1, z2, 0.05, 0.5).item()


def test_dcl_refuses_single_samples():
    with pytest.raises(ValueError, match="at least 2 are needed"):
        decoupled_contrastive(*torch.ones(2, 1, 4), 0.5)


def test_dcl_refuses_other_than_two_views():
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        DCLObjective(nn.Identity(), nn.Identity(), 0.5)([torch.ones(4, 4)] * 3)
