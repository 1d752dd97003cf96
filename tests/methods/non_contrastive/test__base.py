"""What methods share that compare the projections of all views."""

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods.non_contrastive._base import (
    GaussianObjective,
    ProjectionObjective,
    off_diagonal,
)


class Distance(ProjectionObjective):
    def terms_of(self, z, views):
        return {"loss": (z[0] - z[1]).square().sum()}


def test_losses_of_projections_are_in_full_precision():
    torch.manual_seed(0)
    objective = Distance(nn.Linear(4, 3), nn.Linear(3, 2))
    views = list(torch.randn(2, 5, 4))
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective(views)
        z1, z2 = objective.projections(views)
    assert (terms["embedding"].dtype, terms["loss"].dtype) == (torch.bfloat16, torch.float32)
    assert terms["loss"].item() == (z1.float() - z2.float()).square().sum().item()


def test_off_diagonal():
    matrices = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 0.0], [1.0, 6.0]]])
    assert off_diagonal(matrices).tolist() == [2**2 + 3**2, 1]


class FirstMoments(GaussianObjective):
    def distance_to_gaussian(self, z, directions):
        self.directions = directions
        return {"mean": (z @ directions).mean().square(), "more": z.square().mean()}


def test_gaussian_objective():
    """All views are near the mean of the global ones, which gets gradients."""
    torch.manual_seed(0)
    objective = FirstMoments(nn.Identity(), nn.Linear(4, 3), 0.2, 7).double()
    objective.project = nn.Linear(4, 3).double()
    objective.encoder = nn.AdaptiveAvgPool1d(4)  # of views of any size
    a, b = check_inputs()
    c = torch.cat([a, 2 * b], dim=1)[:, :6]
    terms = objective([a, b, c])
    assert set(terms) == {"loss", "invariance", "mean", "more", "embedding", "projection_std"}
    torch.testing.assert_close(objective.directions.norm(dim=0), torch.ones(7).double())
    z = [objective.project(objective.encoder(view)) for view in (a, b, c)]
    torch.testing.assert_close(terms["projection_std"], z[0].std(dim=0).mean().detach())
    assert not objective.diagnose({"epoch": 1, "projection_std": 0.2})
    said = objective.diagnose({"epoch": 7, "projection_std": 0.04})["collapse"]
    assert "in epoch 7 projections have a mean standard deviation of 0.04, where" in said
    distances = [
        (z[view][i, j] - (z[0][i, j] + z[1][i, j]) / 2) ** 2
        for view in range(3)
        for i in range(6)
        for j in range(3)
    ]
    expected = sum(distances) / len(distances)
    torch.testing.assert_close(terms["invariance"], expected)
    parameters = list(objective.project.parameters())
    ours, theirs = (
        torch.autograd.grad(x, parameters, retain_graph=True)
        for x in (terms["invariance"], expected)
    )
    torch.testing.assert_close(ours, theirs)
    total = 0.2 * (terms["mean"] + terms["more"]) + 0.8 * expected
    torch.testing.assert_close(terms["loss"], total)


def test_gaussian_objective_draws_other_directions_at_each_step():
    objective = FirstMoments(nn.Identity(), nn.Identity(), 0.2, 5)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        objective(list(torch.ones(2, 6, 4)))
        drawn.append(objective.directions)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.isclose(drawn[0], drawn[2]).any()
    with pytest.raises(ValueError, match="needs 2 views or more; the view recipe gave 1"):
        objective([torch.ones(6, 4)])
