"""Sinkhorn-Knopp: assignments beside the published algorithm, and its limits."""

import pytest
import torch
from common import check_inputs
from torch.nn.functional import normalize

from sklearn_ssl.methods._sinkhorn import sinkhorn


def slow_sinkhorn(scores, epsilon, n_iterations):
    """Rows (prototypes) and columns (samples) of the published code, scaled in turn."""
    n, k = scores.shape
    codes = torch.exp((scores - scores.max()) / epsilon).T
    codes = codes / codes.sum()
    for _ in range(n_iterations):
        codes = torch.stack([row / row.sum() / k for row in codes])
        codes = torch.stack([column / column.sum() / n for column in codes.T], dim=1)
    return (codes * n).T


def check_scores():
    a, _ = check_inputs()
    k, j = torch.arange(5.0).double()[:, None], torch.arange(4.0).double()
    return normalize(a) @ normalize(torch.cos(0.9 * k + 0.4 * j)).T


def test_sinkhorn():
    codes = sinkhorn(check_scores())
    first = torch.tensor([0.999731, 0.000243, 0.000015, 0.000011, 0.000000]).double()
    torch.testing.assert_close(codes[0], first, atol=1e-6, rtol=0)
    use = torch.tensor([0.1745, 0.1583, 0.1717, 0.2813, 0.2141]).double()
    torch.testing.assert_close(codes.mean(dim=0), use, atol=1e-4, rtol=0)
    for epsilon, n_iterations in ((0.05, 3), (0.3, 1), (1.0, 7)):
        expected = slow_sinkhorn(check_scores(), epsilon, n_iterations)
        torch.testing.assert_close(sinkhorn(check_scores(), epsilon, n_iterations), expected)


def test_sinkhorn_uses_all_prototypes_equally_in_the_limit():
    codes = sinkhorn(check_scores(), 0.3, 200)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(6).double())
    torch.testing.assert_close(codes.mean(dim=0), torch.full((5,), 0.2).double())
    equal = sinkhorn(torch.ones(3, 4))
    torch.testing.assert_close(equal, torch.full((3, 4), 0.25))


@pytest.mark.parametrize("epsilon", [1e-3, 0.05])
def test_sinkhorn_stays_finite_in_full_precision_and_without_gradients(epsilon):
    scores = check_scores().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        codes = sinkhorn(scores.bfloat16(), epsilon)
    assert codes.dtype == torch.float32
    assert not codes.requires_grad
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(6))
