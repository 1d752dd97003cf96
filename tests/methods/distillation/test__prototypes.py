"""What DINO and iBOT share: centering by Sinkhorn-Knopp, and KoLeo."""

import pytest
import torch
from common import check_inputs
from torch import nn

from sklearn_ssl.methods._multi_crop import multi_crop_loss
from sklearn_ssl.methods._sinkhorn import sinkhorn
from sklearn_ssl.methods.distillation._base import PrototypeHead
from sklearn_ssl.methods.distillation._prototypes import PrototypeObjective, koleo
from sklearn_ssl.methods.distillation.dino import DINOObjective

SETTINGS = {
    "momentum": 0.9,
    "student_temperature": 0.1,
    "teacher_temperatures": (0.04, 0.08),
    "temperature_warmup": 0.5,
    "center_momentum": 0.9,
    "clip_grad": 3.0,
    "freeze_until": 0.0,
}


def slow_koleo(features):
    z = [row / row.norm() for row in features]
    logs = []
    for i, x in enumerate(z):
        logs.append(torch.log(min((x - y).norm() for j, y in enumerate(z) if j != i) + 1e-8))
    return -sum(logs) / len(logs)


def test_koleo():
    a, _ = check_inputs()
    a.requires_grad_()
    loss, expected = koleo(a), slow_koleo(a)
    assert loss.item() == pytest.approx(0.243535, abs=1e-6)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, a) for x in (loss, expected)))


def test_probabilities_are_centered_or_balanced():
    torch.manual_seed(0)
    logits, center = torch.randn(6, 5), torch.randn(5)
    made = [
        PrototypeObjective(nn.Identity(), PrototypeHead(3, 8, 5, 5), centering=name, **SETTINGS)
        for name in ("softmax", "sinkhorn")
    ]
    expected = torch.softmax((logits - center) / 0.04, dim=1)
    torch.testing.assert_close(made[0].probabilities(logits, center), expected)
    torch.testing.assert_close(made[1].probabilities(logits, center), sinkhorn(logits, 0.04))


def test_koleo_is_of_the_students_features_of_each_global_view():
    torch.manual_seed(0)
    head = PrototypeHead(3, 8, 5, 6)
    objective = DINOObjective(nn.Linear(4, 3), head, koleo_weight=0.5, **SETTINGS).double().eval()
    views = [*check_inputs(), torch.randn(6, 4).double()]
    found = objective(views)
    expected = sum(slow_koleo(objective.student(view)) for view in views[:2]) / 2
    torch.testing.assert_close(found["koleo"], expected)
    with torch.no_grad():
        teacher = torch.cat([objective.teacher.head(objective.encoder(v)) for v in views[:2]])
    targets = torch.softmax(teacher / 0.04, dim=1).unflatten(0, (2, -1))
    logits = torch.stack([objective.student_head(objective.student(v)) for v in views])
    expected = multi_crop_loss(targets, logits, 0.1) + 0.5 * expected
    parameters = objective.student.weight, objective.student_head.prototypes
    losses = found["loss"], expected
    torch.testing.assert_close(*(torch.autograd.grad(loss, parameters) for loss in losses))
