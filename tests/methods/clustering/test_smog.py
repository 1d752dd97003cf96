"""SMoG: its loss beside a slow reference, its groups, and when they are reset."""

import math

import numpy as np
import pytest
import torch
from common import check_inputs, shrunk, training_of
from torch import nn
from torch.nn.functional import normalize

from methods.clustering.references import blobs
from sklearn_ssl.methods.clustering._groups import updated_groups
from sklearn_ssl.methods.clustering.smog import (
    SMoGObjective,
    SMoGTransformer,
    reset_epochs_for,
)
from sklearn_ssl.networks.heads import mlp


def slow_groups(groups, z, momentum):
    """The moving average of each group that is the nearest one to some vectors."""
    groups, nearest = (
        list(groups),
        [max(range(len(groups)), key=lambda c: v @ groups[c]) for v in z],
    )
    for c in set(nearest):
        mean = sum(v for v, n in zip(z, nearest, strict=True) if n == c) / nearest.count(c)
        moved = momentum * groups[c] + (1 - momentum) * mean
        groups[c] = moved / moved.norm()
    return groups


def slow_smog(z, predictions, targets, groups, momentum, temperature):
    """The mean cross entropy of the group of each teacher's view in the other view."""
    z, predictions, targets = ([normalize(v) for v in x] for x in (z, predictions, targets))
    updated, losses = slow_groups(groups, torch.cat(z), momentum), []
    for prediction, target in zip(predictions, targets[::-1], strict=True):
        for p, t in zip(prediction, target, strict=True):
            label = max(range(len(groups)), key=lambda c: t @ groups[c])
            exp = [torch.exp(p @ g / temperature) for g in updated]
            losses.append(-torch.log(exp[label] / sum(exp)))
    return sum(losses) / len(losses)


def smog_objective(reset_epochs=3):
    torch.manual_seed(0)
    heads = mlp(5, 8, 4, last_norm=True, affine=False), mlp(4, 8, 4)
    settings = 0.9, 0.7, 0.3, reset_epochs
    return SMoGObjective(nn.Linear(4, 5), *heads, torch.randn(7, 4), *settings)


def test_smog():
    objective, views = smog_objective().double(), list(check_inputs())
    for parameter in objective.teacher.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    objective(views)["loss"].backward()
    ours = {name: p.grad for name, p in objective.named_parameters()}
    objective.zero_grad()
    z = [objective.project(objective.encoder(view)) for view in views]
    predictions = [objective.predict(part) for part in z]
    teacher = objective.teacher
    targets = [teacher.head(teacher.encoder(view)).detach() for view in views]
    expected = slow_smog(z, predictions, targets, objective.groups, 0.7, 0.3)
    torch.testing.assert_close(objective(views)["loss"], expected)
    expected.backward()
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad)
    assert {name.split(".")[0] for name, gradient in ours.items() if gradient is not None} == {
        *("encoder", "project", "predict")
    }


def test_smog_groups_follow_their_vectors():
    a, b = (normalize(t) for t in check_inputs())
    groups = normalize(torch.cat([b[:3], -b[:1]]))
    moved = updated_groups(groups, a, 0.7)
    torch.testing.assert_close(moved, torch.stack(slow_groups(groups, a, 0.7)))
    alone = updated_groups(groups, groups[:1], 0.0)  # the others do not move
    torch.testing.assert_close(alone[1:], groups[1:])


def test_smog_groups_and_teacher_are_updated_after_the_step():
    objective, views = smog_objective(), [view.float() for view in check_inputs()]
    before = objective.groups.clone()
    terms = {name: value.detach() for name, value in objective(views).items()}
    assert torch.equal(objective.groups, before)
    weight = objective.teacher.encoder.weight.clone()
    objective.encoder.weight.data += 1
    objective.after_update(terms, 0.0)
    assert torch.equal(objective.groups, terms["groups"])
    assert not torch.equal(objective.groups, before)
    torch.testing.assert_close(objective.teacher.encoder.weight, weight + 0.1)


def test_smog_resets_groups_to_clusters_and_the_teacher_to_the_student():
    objective, features, rng = smog_objective().train(), blobs(), np.random.default_rng(0)
    objective.encoder.weight.data += 1
    objective.project[0].weight.data += 1
    resets = []
    for _ in range(7):
        objective.groups.fill_(0)
        objective.plan_epoch(lambda: features, rng)
        resets.append(bool(objective.groups.any()))
    assert resets == [True, False, False, True, False, False, True]
    z = normalize(objective.project.eval()(torch.from_numpy(features)))
    similarities = z @ objective.groups.T
    assert (similarities.amax(dim=1) > 0.9).all()
    torch.testing.assert_close(objective.groups.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(objective.teacher.encoder.weight, objective.encoder.weight)
    torch.testing.assert_close(objective.teacher.head[0].weight, objective.project[0].weight)


@pytest.mark.parametrize(
    ("n", "max_epochs", "expected"),
    [(900, 15, 1), (900, 60, 3), (50_000, 60, 2), (1_000_000, 60, 1)],
)
def test_smog_resets_every_300_steps_or_twentieth(n, max_epochs, expected):
    estimator = SMoGTransformer(max_epochs=max_epochs)
    training = training_of(estimator, n)
    assert reset_epochs_for(training) == expected


def test_smog_of_equal_predictions_is_at_chance():
    objective, views = smog_objective(), [view.float() for view in check_inputs()]
    nn.init.zeros_(objective.predict[-1].weight), nn.init.zeros_(objective.predict[-1].bias)
    assert objective(views)["loss"].item() == pytest.approx(math.log(7))
    assert objective.chance_loss(6) == pytest.approx(math.log(7))


def test_smog_loss_stays_in_full_precision_under_autocast():
    objective, views = smog_objective(), [view.float() for view in check_inputs()]
    objective.encoder = objective.project = objective.predict = nn.Identity()
    objective.teacher.encoder = objective.teacher.head = nn.Identity()
    expected = slow_smog(views, views, views, objective.groups, 0.7, 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(views)["loss"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)


def test_smog_refuses_other_than_two_views():
    with pytest.raises(ValueError, match="SMoG compares two views; the view recipe gave 3"):
        smog_objective()([torch.ones(4, 4)] * 3)


def test_smog_predicts_the_nearest_group(images):
    model = shrunk(SMoGTransformer, n_groups=7).fit(images)
    assert model.groups_.shape == (7, 16)
    with torch.no_grad():
        z = model.objective_.projected(torch.from_numpy(images).float()[:, None] / 16)
    np.testing.assert_array_equal(model.predict(images), (z.numpy() @ model.groups_.T).argmax(1))
