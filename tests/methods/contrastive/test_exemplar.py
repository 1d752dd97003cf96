"""Exemplar: its loss beside a slow reference, its views, and what it returns."""

import copy
import math

import numpy as np
import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl import (
    ExemplarTransformer,
)
from sklearn_ssl.methods.contrastive.exemplar import ExemplarObjective


def exemplar_objective(momentum, n_exemplars=6):
    torch.manual_seed(0)
    objective = ExemplarObjective(nn.Linear(4, 3), 3, n_exemplars, 5, 0.3, momentum).double()
    a, _ = check_inputs()
    epoch = objective.plan_epoch(
        lambda: objective.encoder(a).detach().numpy(), np.random.default_rng(0)
    )
    return objective, epoch


@pytest.mark.parametrize("momentum", [0.5, None])
def test_exemplar(momentum):
    objective, _ = exemplar_objective(momentum)
    views, classes = list(check_inputs()), torch.tensor([3, 0, 5, 1, 2, 4])
    if momentum is not None:
        objective.bank = torch.randn(6, 5, dtype=torch.float64)
        objective.bank /= objective.bank.norm(dim=1, keepdim=True)
    vectors = objective.bank if momentum is not None else objective.class_vectors
    loss, losses = objective(views, classes)["loss"], []
    for view in views:
        for x, c in zip(view, classes, strict=True):
            z = objective.project(objective.encoder(x))
            scores = [torch.cosine_similarity(z, v, dim=0) / 0.3 for v in vectors]
            scores = torch.stack(scores)
            losses.append(-torch.log(torch.exp(scores[c]) / torch.exp(scores).sum()))
    expected = sum(losses) / len(losses)
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    assert len(parameters) == (4 if momentum is not None else 5)
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("classes", [[3, 0, 5, 1], [2, 0, 2, 2]])
def test_exemplar_remembers_after_the_step_what_views_were_projected_to(classes):
    objective, epoch = exemplar_objective(0.25)
    views, classes = list(check_inputs()), torch.tensor(classes)
    expected = objective.bank.clone()
    a = nn.functional.normalize(objective.project(objective.encoder(views[0]))).float()
    torch.testing.assert_close(expected[epoch.targets], a)  # it begins so, in the order of classes
    found = objective([v[:4] for v in views], classes)
    torch.testing.assert_close(objective.bank, expected)
    assert not found["means"].requires_grad
    objective.after_update(found, 0.0)
    for number in set(classes.tolist()):
        rows = [v[i] for v in views for i in range(4) if classes[i] == number]
        z = [nn.functional.normalize(objective.project(objective.encoder(x)), dim=0) for x in rows]
        moved = 0.25 * expected[number] + 0.75 * (sum(z) / len(z)).float()
        expected[number] = moved / moved.norm()
    torch.testing.assert_close(objective.bank, expected)
    assert not objective.bank.requires_grad


@pytest.mark.parametrize("momentum", [0.5, None])
def test_exemplar_shows_few_classes_as_often_as_there_are_samples(momentum):
    objective, epoch = exemplar_objective(momentum, n_exemplars=4)
    assert len(epoch.order) == 6
    assert set(epoch.order) == set(objective.exemplars)
    assert len(objective.exemplars) == 4
    assert sorted(epoch.targets[objective.exemplars].tolist()) == [0, 1, 2, 3]
    second = objective.plan_epoch(None, np.random.default_rng(1))  # the same classes
    torch.testing.assert_close(second.targets, epoch.targets)
    assert objective.chance_loss(6) == pytest.approx(math.log(4))
    objective.after_training(None, None, False)
    assert objective.n_samples is objective.exemplars is objective.bank is None


def test_exemplar_reinitializes_from_projections():
    """Learned vectors of a training before are those of other samples."""
    objective, epoch = exemplar_objective(None)
    (a, _), first = check_inputs(), objective.class_vectors.detach().clone()
    assert epoch.renewed == ()
    objective.after_training(None, None, False)
    again, _ = exemplar_objective(None)
    again.load_state_dict(objective.state_dict())
    z = nn.functional.normalize(again.project(again.encoder(a[:4])))
    features = again.encoder(a[:4]).detach().numpy()
    epoch = again.plan_epoch(lambda: features, np.random.default_rng(3))
    assert epoch.renewed == (again.class_vectors,)
    torch.testing.assert_close(again.class_vectors[epoch.targets].float(), z.float())
    torch.testing.assert_close(again.class_vectors[4:], first[4:])
    assert again.plan_epoch(None, np.random.default_rng(4)).renewed == ()


def test_exemplar_scores_samples_against_each_other():
    objective, _ = exemplar_objective(0.5)
    objective.eval()
    a, b = check_inputs()
    state = copy.deepcopy(objective.get_extra_state())
    features = objective.encoder(a[:5]).detach().numpy()
    scored = copy.copy(objective)  # as in ``score``
    targets = scored.scoring_targets(lambda: features)
    loss = scored([b[:5]], targets)["loss"]
    za, zb = (nn.functional.normalize(objective.project(objective.encoder(x[:5]))) for x in (a, b))
    expected = nn.functional.cross_entropy(zb @ za.T / 0.3, torch.arange(5))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_equal(objective.get_extra_state(), state)
    assert objective.scored is None


def test_exemplar_resumes_with_learned_classes(images):
    """The samples that a vector stands for are others in each training."""
    X = images.reshape(200, -1)
    settings = {"memory_bank": False, "max_epochs": 6, "random_state": 0}
    whole = ExemplarTransformer(**settings, warm_start=True).fit(X)
    in_parts = ExemplarTransformer(**settings)
    for _ in range(6):
        in_parts.partial_fit(X)
    assert in_parts.loss_curve_[-1] < whole.loss_curve_[-1] + 0.02
    whole.fit(X)
    assert whole.loss_curve_[6] < whole.loss_curve_[5] + 0.02
