"""TiCo: its loss beside a slow reference, its covariance, and its teacher."""

import copy

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive.tico import TiCoObjective


def slow_tico(student, teacher, before, beta, rho):
    """The paper's algorithm, one sample at a time; and the covariance after the step."""
    z = [row / row.norm() for row in student]
    targets = [row.detach() / row.detach().norm() for row in teacher]
    batch = sum(torch.outer(row, row) for row in z).detach() / len(z)
    covariance = beta * before + (1 - beta) * batch
    invariance = sum(1 - a @ b for a, b in zip(z, targets, strict=True)) / len(z)
    contrast = sum(row @ covariance @ row for row in z) / len(z)
    return invariance + rho * contrast, covariance


def tico():
    torch.manual_seed(0)
    settings = {"momentum": 0.9, "beta": 0.7, "rho": 3.0}
    objective = TiCoObjective(nn.Linear(4, 3), nn.Linear(3, 4), 4, **settings)
    for parameter in objective.teacher.parameters():
        nn.init.normal_(parameter)
    return objective.double()


def test_tico():
    """In two steps, of which the second one has a covariance from the first."""
    objective, (a, b), covariance = tico(), check_inputs(), torch.zeros(4, 4).double()
    parameters = [p for name, p in objective.named_parameters() if "teacher" not in name]
    for views in ([a, b], [a * b, a - b]):
        terms = objective(views)
        student = objective.project(objective.encoder(views[0]))
        teacher = objective.teacher.head(objective.teacher.encoder(views[1]))
        expected, covariance = slow_tico(student, teacher, covariance, 0.7, 3.0)
        torch.testing.assert_close(terms["loss"], expected)
        losses = terms["loss"], expected
        ours, theirs = (torch.autograd.grad(x, parameters, retain_graph=True) for x in losses)
        torch.testing.assert_close(ours, theirs)
        terms["loss"].backward()
        assert all(p.grad is None for p in objective.teacher.parameters())
        objective.after_update({k: v.detach() for k, v in terms.items()}, 0.5)
        torch.testing.assert_close(objective.covariance, covariance)


def test_tico_has_the_known_value():
    objective, (a, b) = (
        TiCoObjective(nn.Identity(), nn.Identity(), 4, momentum=0.9, beta=0.9, rho=8),
        check_inputs(),
    )
    assert objective([a, b])["loss"].item() == pytest.approx(0.425411, abs=1e-6)
    assert not objective.covariance.any()  # forward alone changes nothing


def test_tico_teacher_follows_after_the_step():
    objective = tico()
    expected = copy.deepcopy(objective.teacher)
    objective.after_update(objective(check_inputs()), 0.5)
    expected.update(objective.encoder, objective.project, 0.5)
    torch.testing.assert_close(objective.teacher.state_dict(), expected.state_dict())


def test_tico_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    objective = TiCoObjective(nn.Identity(), nn.Identity(), 16, momentum=0.9, beta=0.9, rho=8.0)
    views = torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective(views)
    assert terms["loss"].dtype == terms["covariance"].dtype == torch.float32
    assert terms["loss"].item() == objective(views)["loss"].item()


def test_tico_refuses_other_than_two_views():
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        tico()([torch.ones(4, 4).double()] * 3)
