"""FroSSL: its loss beside a slow reference, and its bounds."""

import math

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive.frossl import FroSSLObjective, frossl


def slow_frossl(z, weight):
    """The paper's equation, by the eigenvalues of covariances, one view at a time."""
    z = [torch.stack([column / column.norm() for column in view.T], dim=1) for view in z]
    mean, loss = sum(z) / len(z), 0
    for view in z:
        values = torch.linalg.eigvalsh(view.T @ view)
        entropy = -torch.log(((values / values.sum()) ** 2).sum())  # of Renyi, of order 2
        squares = [(a - b) ** 2 for a, b in zip(view.flatten(), mean.flatten(), strict=True)]
        distance = len(z) * view.shape[1] * sum(squares) / len(squares)
        loss = loss - entropy + weight * distance
    return loss


def test_frossl():
    a, b = check_inputs()
    objective = FroSSLObjective(nn.Identity(), nn.Identity(), 1.0)
    assert objective([a, b])["loss"].item() == pytest.approx(-1.478039, abs=1e-6)
    for given in ((a, b), (a, b, a * b), (a[:3], b[:3])):  # more and fewer samples than dimensions
        views = [view.clone().requires_grad_() for view in given]
        loss, expected = objective(views)["loss"], slow_frossl(views, 1.0)
        torch.testing.assert_close(loss, expected)
        ours, theirs = (torch.autograd.grad(x, views) for x in (loss, expected))
        torch.testing.assert_close(ours, theirs)


def test_frossl_is_between_equal_and_orthogonal_samples():
    for z, expected in ((torch.ones(6, 4), 0), (torch.eye(6), -2 * math.log(6))):
        regularization, invariance = frossl(torch.stack([z, 2 * z]))
        assert regularization.item() == pytest.approx(expected, abs=1e-5)
        assert invariance.item() == pytest.approx(0, abs=1e-5)
    z = torch.zeros(2, 6, 4, requires_grad=True)
    sum(frossl(z)).backward()
    assert z.grad.isfinite().all()


def test_frossl_refuses_one_view():
    objective = FroSSLObjective(nn.Identity(), nn.Identity(), 1.0)
    with pytest.raises(ValueError, match="needs 2 views or more; the view recipe gave 1"):
        objective([torch.ones(4, 4)])
