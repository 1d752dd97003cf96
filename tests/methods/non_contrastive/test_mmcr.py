"""MMCR: its loss beside a slow reference, and what it is smallest for."""

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive.mmcr import MMCRObjective, mmcr


def nuclear_norm(matrix):
    """The sum of the square roots of the eigenvalues of the smaller product."""
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows < columns else matrix.T @ matrix
    return torch.linalg.eigvalsh(product).clamp(min=1e-30).sqrt().sum()


def slow_mmcr(z, weight):
    """The paper's equation, one sample at a time."""
    samples = [torch.stack([row / row.norm() for row in rows]) for rows in zip(*z, strict=True)]
    centroids = torch.stack([sum(rows) / len(rows) for rows in samples])
    local = sum(map(nuclear_norm, samples)) / len(samples)
    return weight * local - nuclear_norm(centroids)


@pytest.mark.parametrize("n_views", [2, 3])
def test_mmcr(n_views):
    a, b = check_inputs()
    views = [view.requires_grad_() for view in (a, b, a * b)[:n_views]]
    objective = MMCRObjective(nn.Identity(), nn.Identity(), 0.3)
    loss, expected = objective(views)["loss"], slow_mmcr(views, 0.3)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, views) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_mmcr_prefers_samples_apart_and_their_views_together():
    apart, equal = torch.eye(6), torch.eye(1, 6).expand(6, 6)

    def capacity(*views):
        return mmcr(torch.stack(views, dim=1))[0].item()

    assert capacity(apart, apart) == pytest.approx(6, rel=1e-5)
    assert capacity(3 * apart, apart) == pytest.approx(6, rel=1e-5)  # lengths do not count
    assert capacity(equal, equal) == pytest.approx(6**0.5, rel=1e-5)
    assert capacity(apart, apart.roll(1, 0)) < 5
    assert mmcr(torch.stack([apart, apart], dim=1))[1].item() == pytest.approx(2**0.5, rel=1e-5)


def test_mmcr_has_finite_gradients_for_equal_views():
    z = torch.ones(5, 3, 4, requires_grad=True)
    centroids, local = mmcr(z)
    (centroids + local).backward()
    assert z.grad.isfinite().all()


def test_mmcr_refuses_one_view():
    objective = MMCRObjective(nn.Identity(), nn.Identity(), 0.3)
    with pytest.raises(ValueError, match="needs 2 views or more; the view recipe gave 1"):
        objective([torch.ones(4, 4)])
