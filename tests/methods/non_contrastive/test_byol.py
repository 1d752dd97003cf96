"""BYOL: its loss beside a slow reference, its teacher, and nearest neighbors as targets."""

import copy

import pytest
import torch
from common import check_inputs, shrunk
from torch import nn
from torch.nn.functional import normalize

from sklearn_ssl.methods.non_contrastive._base import Predictor
from sklearn_ssl.methods.non_contrastive.byol import BYOLObjective, BYOLTransformer


def slow_byol(predictions, targets):
    """Both directions of the paper's equation, the squared distance of vectors of length one."""
    losses = []
    for p, z in zip(predictions, targets[::-1], strict=True):
        rows = zip(p, z.detach(), strict=True)
        losses.append([(a / a.norm() - b / b.norm()).square().sum() for a, b in rows])
    return sum(map(sum, losses)) / len(targets[0])


def byol(queue_size=0):
    torch.manual_seed(0)
    objective = BYOLObjective(nn.Linear(4, 3), nn.Linear(3, 4), Predictor(4, 8, queue_size), 0.9)
    for parameter in objective.teacher.parameters():
        nn.init.normal_(parameter)
    return objective.double()


def test_byol():
    objective, views = byol(), check_inputs()
    loss = objective(views)["loss"]
    student = [objective.predict(objective.project(objective.encoder(view))) for view in views]
    teacher = [objective.teacher.head(objective.teacher.encoder(view)) for view in views]
    expected = slow_byol(student, teacher)
    torch.testing.assert_close(loss, expected)
    parameters = [p for name, p in objective.named_parameters() if "teacher" not in name]
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
    objective(views)["loss"].backward()
    assert all(p.grad is None for p in objective.teacher.parameters())


def test_byol_has_the_known_value():
    a, b = check_inputs()
    objective = byol()
    objective.predict.layers = nn.Identity()
    both = objective.predict.negative_cosine([a, b], [a, b])
    assert (2 + 2 * both).item() == pytest.approx(0.069544, abs=1e-6)


def test_byol_teacher_follows_after_the_step():
    objective, views = byol(), check_inputs()
    expected = copy.deepcopy(objective.teacher)
    objective.after_update(objective(views), 0.5)
    expected.update(objective.encoder, objective.project, 0.5)
    torch.testing.assert_close(objective.teacher.state_dict(), expected.state_dict())


def test_byol_predicts_neighbors_in_the_teachers_earlier_projections():
    """Of the first view, and without the current batch."""
    objective, views = byol(queue_size=8), check_inputs()
    plain = objective(views)
    torch.testing.assert_close(plain["loss"], byol()(views)["loss"])  # the queue is empty
    first = objective.teacher.head(objective.teacher.encoder(views[0]))
    torch.testing.assert_close(plain["targets"], first)
    objective.after_update(plain, 0.0)
    torch.testing.assert_close(objective.predict.queue.vectors[:6], normalize(first))
    views = [view.flip(0) * torch.rand_like(view) for view in views]
    student = [objective.predict(objective.project(objective.encoder(view))) for view in views]
    nearest = []
    for view in views:
        z = objective.teacher.head(objective.teacher.encoder(view))
        nearest.append(torch.stack([max(normalize(first), key=lambda q: row @ q) for row in z]))
    torch.testing.assert_close(objective(views)["loss"], slow_byol(student, nearest))
    assert objective.predict.queue.n_pushed == 6  # forward alone changes nothing


def test_byol_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    predict, z = Predictor(16, 8, 4), list(1 + 0.01 * torch.randn(2, 6, 16))
    predict.layers = nn.Identity()
    predict.remember(z[0])
    with torch.autocast("cpu", torch.bfloat16):
        loss = predict.negative_cosine(z, z)
    assert loss.dtype == torch.float32
    assert loss.item() == predict.negative_cosine(z, z).item()


def test_byol_refuses_other_than_two_views():
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        byol()([torch.ones(4, 4)] * 3)


def test_byol_queue_is_filled_during_training_and_stored(images):
    model = shrunk(BYOLTransformer, neighbors=True, queue_size=20).fit(images)
    assert model.objective_.predict.queue.is_filled.all()
    stored = {name for name in model.objective_.state_dict() if "queue" in name}
    assert stored == {"predict.queue.vectors", "predict.queue.n_pushed"}
