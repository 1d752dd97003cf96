"""DINO: its loss against a slow reference, its center, and its temperatures."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from common import check_inputs, exhaustively, shrunk
from torch import nn

from sklearn_ssl import DINOTransformer
from sklearn_ssl.methods._multi_crop import multi_crop_loss
from sklearn_ssl.methods.distillation._base import PrototypeHead
from sklearn_ssl.methods.distillation.dino import DINOObjective


def slow_dino(teacher, students, center, teacher_temperature, temperature):
    """The mean over samples and pairs of a global and another view, one at a time."""
    losses = []
    for (i, t), (v, s) in itertools.product(enumerate(teacher), enumerate(students)):
        if i != v:
            for t_row, s_row in zip(t, s, strict=True):
                p = torch.exp((t_row - center) / teacher_temperature)
                q = torch.exp(s_row / temperature)
                losses.append(-(p / p.sum()) @ torch.log(q / q.sum()))
    return sum(losses) / len(losses)


def dino_objective(**settings):
    torch.manual_seed(0)
    settings = {
        "momentum": 0.9,
        "student_temperature": 0.1,
        "teacher_temperatures": (0.04, 0.08),
        "temperature_warmup": 0.5,
        "center_momentum": 0.9,
        "clip_grad": 3.0,
        "freeze_until": 0.25,
    } | settings
    encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    return DINOObjective(encoder, PrototypeHead(3, 8, 5, 6), **settings)


def test_dino():
    a, b = check_inputs()
    b.requires_grad_()
    targets = torch.softmax(a / 0.04, dim=1)[None]
    # The check value is of one pair: a teacher's view and another one of the student's.
    loss = multi_crop_loss(targets, torch.stack([a, b]), 0.1)
    assert loss.item() == pytest.approx(0.092490, abs=1e-6)

    teacher, students = torch.randn(2, 6, 4, dtype=torch.float64), [a, b, a - b, a * b]
    center = torch.randn(4, dtype=torch.float64) / 10
    expected = slow_dino(teacher, students, center, 0.5, 0.3)
    loss = multi_crop_loss(torch.softmax((teacher - center) / 0.5, 2), torch.stack(students), 0.3)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, b, retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, b))


def test_dino_of_uniform_outputs_is_at_chance():
    uniform = torch.full((2, 3, 8), 1 / 8)
    assert multi_crop_loss(uniform, torch.zeros(4, 3, 8), 0.1).item() == pytest.approx(math.log(8))


def test_dino_objective_gradient():
    """Views of two sizes for the student, the first two alone for the teacher, without gradient."""
    objective = dino_objective().double().eval()
    objective.encoder[0].weight.data += 0.1  # teacher and student differ
    objective.center.normal_()
    views = [*check_inputs(), torch.randn(6, 4, dtype=torch.float64)]
    center = objective.center.clone()
    objective(views)["loss"].backward()
    torch.testing.assert_close(objective.center, center)  # only training moves it
    ours = {name: p.grad for name, p in objective.named_parameters()}
    objective.zero_grad()
    with torch.no_grad():
        teacher = [objective.teacher.head(objective.encoder(v)) for v in views[:2]]
    students = [objective.student_head(objective.student(v)) for v in views]
    slow_dino(teacher, students, center, 0.04, 0.1).backward()
    theirs = {name: p.grad for name, p in objective.named_parameters()}
    assert {name.split(".")[0] for name, g in ours.items() if g is not None} == {
        "student",
        "student_head",
    }
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])


def test_dino_passes_views_of_a_size_together():
    torch.manual_seed(0)
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return x.mean(dim=(2, 3))

    objective = DINOObjective(
        Spy(),
        PrototypeHead(3, 8, 5, 6),
        momentum=0.9,
        student_temperature=0.1,
        teacher_temperatures=(0.04, 0.04),
        temperature_warmup=0.0,
        center_momentum=0.9,
        clip_grad=3.0,
        freeze_until=0.0,
    )
    large, small = torch.rand(2, 5, 3, 8, 8), torch.rand(3, 5, 3, 4, 4)
    objective([*large, *small])
    assert seen == [(10, 3, 8, 8), (10, 3, 8, 8), (15, 3, 4, 4)]
    with pytest.raises(
        ValueError, match="At least 2 views are required; the view recipe returned 1"
    ):
        objective([large[0]])
    with pytest.raises(
        ValueError, match=r"one size; the view recipe returned \(8, 8\) and \(4, 4\)"
    ):
        objective([large[0], small[0]])


def test_dino_center_teacher_and_temperature_move():
    objective = dino_objective().train()
    views = [v.float() for v in check_inputs()]
    with torch.no_grad():
        teacher = objective.teacher.head(copy.deepcopy(objective.encoder)(torch.cat(views)))
    found = objective(views)
    assert (objective.center == 0).all()  # the previous one belongs to the loss of a step
    objective.after_update(found, 1.0)
    torch.testing.assert_close(objective.center, 0.1 * teacher.mean(0))
    assert objective(views)["loss"] != found["loss"]  # the center belongs to the next loss

    start = copy.deepcopy(objective.encoder)
    for p in objective.student.parameters():
        p.data += 1
    objective.after_update(found, 0.5)  # momentum 1 - 0.1 * (1 + cos(pi / 2)) / 2 = 0.95
    for now, old in zip(objective.encoder.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.05)
    assert objective.teacher_temperature.item() == pytest.approx(0.08)
    objective.after_update(found, 0.125)
    assert objective.teacher_temperature.item() == pytest.approx(0.05)
    head, student_head = (
        objective.teacher.head.prototypes.clone(),
        objective.student_head.prototypes,
    )
    student_head.data += 1
    objective.after_update(found, 1.0)  # the momentum has risen to 1
    torch.testing.assert_close(objective.teacher.head.prototypes, head)
    objective.after_update(found, 1.2)  # beyond the planned end it is what it was at first
    torch.testing.assert_close(
        objective.teacher.head.prototypes, head + 0.1 * (student_head - head)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone", ["small_convnet", "small_vit", "resnet18", exhaustively("vit_b_16")]
)
def test_dino_trains_on_crops_of_two_sizes(photos, backbone):
    model = shrunk(DINOTransformer, backbone=backbone, n_local_crops=1).fit(photos[:4])
    sides = [view.shape[2:] for view in model.views_(torch.rand(2, 3, 32, 32))]
    assert sides == [(32, 32), (32, 32), (16, 16)]
    assert np.isfinite(model.transform(photos[:4])).all()
