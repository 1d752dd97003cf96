"""Iterative normalization: whitening of each group, and the averages of evaluation mode."""

import torch

from sklearn_ssl.networks.iter_norm import IterNorm


def correlated(n=200, p=8):
    torch.manual_seed(0)
    mixed = torch.randn(n, p, dtype=torch.float64) @ torch.randn(p, p, dtype=torch.float64)
    return mixed / 10 + torch.randn(n, p, dtype=torch.float64) + 3


def slow_inverse_root(covariance, n_iterations=5):
    """Newton's iterations of the paper."""
    scaled, root = covariance / covariance.trace(), torch.eye(len(covariance)).double()
    for _ in range(n_iterations):
        root = (3 * root - torch.linalg.matrix_power(root, 3) @ scaled) / 2
    return root / covariance.trace().sqrt()


def test_groups_are_whitened():
    x = correlated().requires_grad_()
    y = IterNorm(8, 2).double()(x)
    expected = []
    for group in x.split(4, dim=1):
        covariance = group.T.cov(correction=0) + 1e-5 * torch.eye(4).double()
        expected.append((group - group.mean(0)) @ slow_inverse_root(covariance))
    expected = torch.cat(expected, dim=1)
    torch.testing.assert_close(y, expected)
    factors = torch.randn_like(y)
    ours, theirs = (torch.autograd.grad((z * factors).sum(), x) for z in (y, expected))
    torch.testing.assert_close(ours, theirs)
    for group in y.split(4, dim=1):
        errors = group.T.cov(correction=0) - torch.eye(4).double()
        assert errors.abs().max() < 0.2  # after few iterations
        assert errors.abs().max() > 1e-6


def test_evaluation_uses_moving_averages():
    x, norm = correlated(), IterNorm(8, 2).double()
    torch.testing.assert_close(norm.eval()(x), x)
    norm.train()
    for _ in range(200):
        y = norm(x)
    torch.testing.assert_close(norm.eval()(x), y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm(x[:3]), norm(x)[:3])
    once = IterNorm(8, 2).double()
    once(x)
    torch.testing.assert_close(once.mean.flatten(), 0.1 * x.mean(dim=0))


def test_sizes_of_groups():
    assert [IterNorm(p).whitening.shape for p in (512, 100, 16, 7)] == [
        (64, 8, 8),
        (4, 25, 25),
        (16, 1, 1),
        (1, 7, 7),
    ]


def test_precision():
    x, norm = correlated().float(), IterNorm(8, 2)
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, IterNorm(8, 2)(x.bfloat16().float()))
