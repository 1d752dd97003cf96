"""W-MSE: its loss beside a slow reference, and its sub-batches."""

import itertools

import numpy as np
import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive.wmse import WMSEObjective, w_mse, whitened


def slow_whitened(z):
    """One column after the other (Gram-Schmidt), which is what a Cholesky factor does."""
    columns = []
    for column in (z - z.mean(0)).T:
        for other in columns:
            column = column - (column @ other) / (other @ other) * other
        columns.append(column)
    return torch.stack([c / (c @ c / (len(z) - 1)).sqrt() for c in columns], dim=1)


def slow_w_mse(views, parts):
    """The mean over pairs of views and samples, one at a time; ``parts`` are sub-batches."""
    distances = []
    for part in parts:
        whites = [slow_whitened(view[part]) for view in views]
        for first, second in itertools.combinations(whites, 2):
            for a, b in zip(first, second, strict=True):
                distances.append(((a / a.norm() - b / b.norm()) ** 2).sum())
    return sum(distances) / len(distances)


def test_wmse():
    inputs = [view.requires_grad_() for view in check_inputs()]
    a, b = whitened(torch.stack(inputs))
    loss = 2 - 2 * torch.cosine_similarity(a, b).mean()
    assert loss.item() == pytest.approx(0.843856, abs=1e-6)
    torch.testing.assert_close(loss, slow_w_mse(inputs, [slice(6)]))


@pytest.mark.parametrize(
    ("n", "p", "n_views", "sizes"),
    [(12, 3, 2, [6, 6]), (17, 2, 3, [4, 4, 4, 4]), (11, 3, 2, [11]), (5, 4, 2, [5])],
)
def test_wmse_in_sub_batches(n, p, n_views, sizes):
    """Of at least 2 p samples; gradients reach all views."""
    torch.manual_seed(0)
    views = list(torch.randn(n_views, n, p, dtype=torch.float64))
    inputs = [(view + views[0]).requires_grad_() for view in views]
    loss = w_mse(torch.stack(inputs))
    ends = np.cumsum(sizes)
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    expected = slow_w_mse([view[:, : n // 2] for view in inputs], parts)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, inputs) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
    assert all(gradient.abs().max() > 1e-4 for gradient in ours)


def test_wmse_divides_views_alike_and_at_random():
    torch.manual_seed(0)
    z = torch.randn(12, 3)
    objective = WMSEObjective(nn.Identity(), nn.Identity(), 1)
    assert objective([z, 2 * z + 1])["loss"].item() == pytest.approx(0, abs=1e-4)
    views = [z, z + torch.randn(12, 3)]
    losses = [objective(views)["loss"].item() for _ in range(3)]
    assert len(set(losses)) == 3
    torch.manual_seed(1)
    losses = [objective(views)["loss"].item() for _ in range(4)]
    objective.n_whitenings = 4
    torch.manual_seed(1)
    assert objective(views)["loss"].item() == pytest.approx(np.mean(losses))


def test_wmse_of_whitened_samples_leaves_them():
    torch.manual_seed(0)
    white = whitened(torch.randn(20, 4, dtype=torch.float64))
    torch.testing.assert_close(white.T.cov(), torch.eye(4).double())
    torch.testing.assert_close(whitened(white), white)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_wmse_is_finite_for_equal_and_for_few_samples(n):
    for z in (torch.zeros(2, n, 8), torch.ones(2, n, 8), torch.rand(2, n, 8)):
        z.requires_grad_()
        loss = w_mse(z)
        loss.backward()
        assert 0 <= loss.item() <= 4.001
        assert z.grad.isfinite().all()
    assert w_mse(torch.zeros(2, n, 8)).item() == 2
