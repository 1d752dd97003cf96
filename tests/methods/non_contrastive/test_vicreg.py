"""VICReg and VIbCReg: their losses beside slow references."""

import pytest
import torch
from common import check_inputs, shrunk
from torch import nn

from sklearn_ssl.methods.non_contrastive.vicreg import VICRegObjective, VICRegTransformer
from sklearn_ssl.networks.iter_norm import IterNorm


def slow_vicreg(z1, z2, weights, normalized):
    """The papers' equations, one dimension and one pair of dimensions at a time."""
    n, p = z1.shape
    invariance = sum((a - b) ** 2 for a, b in zip(z1.flatten(), z2.flatten(), strict=True))
    variance, covariance = 0, 0
    for z in (z1, z2):
        columns = [column - column.sum() / n for column in z.T]
        for i, a in enumerate(columns):
            std = ((a * a).sum() / (n - 1) + 1e-4) ** 0.5
            variance = variance + torch.clamp(1 - std, min=0) / p / 2
            for b in columns[:i] + columns[i + 1 :]:
                scale = p * a.norm() * b.norm() if normalized else p**0.5 * (n - 1)
                covariance = covariance + ((a * b).sum() / scale) ** 2
    parts = invariance / (n * p), variance, covariance
    return sum(weight * part for weight, part in zip(weights, parts, strict=True))


@pytest.mark.parametrize(
    ("normalized", "weights", "value"),
    [
        (False, (25, 25, 1), 9.318997),
        (False, (25, 50, 1), 16.965952),  # without the half of the variance term
        (True, (25, 50, 200), 118.245216),
    ],
)
def test_vicreg(normalized, weights, value):
    inputs = [view.requires_grad_() for view in check_inputs()]
    objective = VICRegObjective(nn.Identity(), nn.Identity(), weights, normalized)
    terms, expected = objective(inputs), slow_vicreg(*inputs, weights, normalized)
    assert terms["loss"].item() == pytest.approx(value, abs=1e-5)
    torch.testing.assert_close(terms["loss"], expected)
    ours, theirs = (torch.autograd.grad(x, inputs) for x in (terms["loss"], expected))
    torch.testing.assert_close(ours, theirs)
    if not normalized:
        parts = [terms[name].item() for name in ("invariance", "variance", "covariance")]
        assert parts == pytest.approx([0.044187, 0.611756 / 2, 0.567356], abs=1e-6)


def test_vicreg_of_equal_uncorrelated_dimensions_is_zero():
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    for normalized in (False, True):
        objective = VICRegObjective(nn.Identity(), nn.Identity(), (25, 25, 1), normalized)
        assert objective([signs, signs])["loss"].item() == pytest.approx(0, abs=1e-6)


def test_vicreg_refuses_other_than_two_views():
    objective = VICRegObjective(nn.Identity(), nn.Identity(), (25, 25, 1), False)
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        objective([torch.ones(4, 4)] * 3)


def test_vibcreg_whitens_its_projections(images):
    plain = shrunk(VICRegTransformer).fit(images)
    assert plain.objective_.weights == (25.0, 25.0, 1.0)
    assert not any(isinstance(part, IterNorm) for part in plain.objective_.project)
    model = shrunk(VICRegTransformer, decorrelation="correlation").fit(images)
    assert model.objective_.weights == (25.0, 25.0, 200.0)
    assert isinstance(model.objective_.project[-1], IterNorm)
    weighted = shrunk(VICRegTransformer, covariance_weight=3.0).fit(images)
    assert weighted.objective_.weights == (25.0, 25.0, 3.0)
