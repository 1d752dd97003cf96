"""SimSiam and FastSiam: loss beside a slow reference, stop-gradient, rates, and neighbors."""

import pytest
import torch
from common import check_inputs, shrunk
from skorch.callbacks import Callback
from torch import nn
from torch.nn.functional import normalize

from sklearn_ssl.methods.non_contrastive._base import Predictor
from sklearn_ssl.methods.non_contrastive.simsiam import SimSiamObjective, SimSiamTransformer


def slow_simsiam(predictions, projections):
    """The mean over views of minus the cosines to the mean of the others, without gradients."""
    losses = []
    for i, p in enumerate(predictions):
        others = [z.detach() for j, z in enumerate(projections) if j != i]
        target = sum(others) / len(others)
        cosines = [a @ b / a.norm() / b.norm() for a, b in zip(p, target, strict=True)]
        losses.append(-sum(cosines) / len(cosines))
    return sum(losses) / len(losses)


def simsiam(queue_size=0):
    torch.manual_seed(0)
    projector = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False))
    return SimSiamObjective(nn.Linear(4, 3), projector, Predictor(4, 8, queue_size)).double()


@pytest.mark.parametrize("n_views", [2, 4])
def test_simsiam(n_views):
    objective, (a, b) = simsiam(), check_inputs()
    views = [a, b, a * b, a - 2 * b][:n_views]
    loss = objective(views)["loss"]
    z = [objective.project(objective.encoder(view)) for view in views]
    expected = slow_simsiam([objective.predict(x) for x in z], z)
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
    assert any(gradient.abs().max() > 1e-3 for gradient in ours)


def test_simsiam_has_the_known_value():
    objective, z = simsiam(), check_inputs()
    objective.predict.layers = nn.Identity()
    assert objective.predict.negative_cosine(z, z).item() == pytest.approx(-0.965228, abs=1e-6)


def test_simsiam_predicts_the_mean_of_the_neighbors_of_other_views():
    objective, (a, b) = simsiam(queue_size=8), check_inputs()
    terms = objective([a, b, a * b])
    objective.after_update(terms, 0.0)
    first = normalize(terms["embedding"].detach())
    torch.testing.assert_close(objective.predict.queue.vectors[:6], first)
    views = [b.flip(0), a.flip(1), a + b]
    z = [objective.project(objective.encoder(view)) for view in views]
    nearest = [torch.stack([max(first, key=lambda q: row @ q) for row in x]) for x in z]
    expected = slow_simsiam([objective.predict(x) for x in z], nearest)
    torch.testing.assert_close(objective(views)["loss"], expected)


def test_simsiam_rate_of_the_predictor_does_not_decay(images):
    seen = []

    class Watch(Callback):
        def on_grad_computed(self, net, **kwargs):
            seen.append(
                {group["constant_lr"]: group["lr"] for group in net.optimizer_.param_groups}
            )
            assert len([p for group in net.optimizer_.param_groups for p in group["params"]]) == n

    n = len(list(shrunk(SimSiamTransformer).fit(images).objective_.parameters()))
    shrunk(SimSiamTransformer, max_epochs=4, callbacks=[Watch()]).fit(images)
    assert seen[-1][True] == 0.002
    assert seen[-1][False] < 0.0005


def test_simsiam_has_as_many_default_views_as_asked_for(images):
    model = shrunk(SimSiamTransformer, n_views=4).fit(images)
    assert model.views_.n_views == 4
    assert len(model.views_(torch.rand(3, 1, 8, 8))) == 4
    last = model.objective_.project[-1]
    assert isinstance(last, nn.BatchNorm1d)
    assert not last.affine


def test_simsiam_refuses_single_views():
    with pytest.raises(ValueError, match="needs 2 views or more; the view recipe gave 1"):
        simsiam()([torch.ones(4, 4)])
