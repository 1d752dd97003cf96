"""ReSSL: its loss beside a slow reference, its queue, its teacher, and its two kinds of views."""

import math

import numpy as np
import pytest
import torch
from common import check_inputs, shrunk
from torch import nn
from torch.nn.functional import normalize

from sklearn_ssl.methods.contrastive.ressl import (
    ReSSLObjective,
    ReSSLTransformer,
    relational_loss,
)
from sklearn_ssl.networks.queue import Queue


def slow_ressl(student, teacher, others, temperatures):
    """The paper's equation, one sample and one of its ``others`` at a time."""
    losses = []
    for q, k, those in zip(student, teacher, others, strict=True):
        q, k = q / q.norm(), k.detach() / k.detach().norm()
        of_q = [torch.exp(q @ other.detach() / temperatures[0]) for other in those]
        of_k = [torch.exp(k @ other.detach() / temperatures[1]) for other in those]
        pairs = zip(of_q, of_k, strict=True)
        losses.append(-sum(b / sum(of_k) * torch.log(a / sum(of_q)) for a, b in pairs))
    return sum(losses) / len(losses)


def ressl(size=8):
    torch.manual_seed(0)
    settings = Queue(size, 4), 0.9, 0.3, 0.2
    objective = ReSSLObjective(nn.Linear(4, 3), nn.Linear(3, 4), *settings)
    for parameter in objective.teacher.parameters():
        nn.init.normal_(parameter)
    return objective.double()


def test_ressl():
    """In two steps, of which only the second one has a queue, which is not full."""
    objective, (a, b), queued = ressl(20), check_inputs(), []
    parameters = [p for name, p in objective.named_parameters() if "teacher" not in name]
    for views in ([a, b], [a * b, a - b]):
        terms = objective(views)
        student = objective.project(objective.encoder(views[0]))
        teacher = objective.teacher.head(objective.teacher.encoder(views[1])).detach()
        units = list(normalize(teacher))
        others = [queued + [z for j, z in enumerate(units) if j != i] for i in range(6)]
        expected = slow_ressl(student, teacher, others, (0.3, 0.2))
        torch.testing.assert_close(terms["loss"], expected)
        losses = terms["loss"], expected
        ours, theirs = (torch.autograd.grad(x, parameters, retain_graph=True) for x in losses)
        torch.testing.assert_close(ours, theirs)
        terms["loss"].backward()
        assert all(p.grad is None for p in objective.teacher.parameters())
        before = [p.clone() for p in objective.teacher.parameters()]
        assert objective.queue.n_pushed == len(queued)  # forward alone changes nothing
        objective.after_update({k: v.detach() for k, v in terms.items()}, 0.0)
        queued += units
        torch.testing.assert_close(objective.queue.vectors[: len(queued)], torch.stack(queued))
        for now, old in zip(objective.teacher.parameters(), before, strict=True):
            assert not torch.equal(now, old)


def test_ressl_has_the_known_value():
    a, b = (normalize(z) for z in check_inputs())
    k, j = torch.arange(5.0).double()[:, None], torch.arange(4.0).double()
    queue = normalize(torch.cos(0.9 * k + 0.4 * j))
    loss = relational_loss(a @ queue.T, b @ queue.T, 0.1, 0.04)
    assert loss.item() == pytest.approx(0.438476, abs=1e-6)


def test_ressl_of_equal_projections_is_at_chance():
    objective, views = ressl(size=5), [torch.ones(6, 4).double()] * 2
    objective.queue.push(objective(views)["teacher"])
    loss = objective(views)["loss"].item()
    assert loss == pytest.approx(math.log(5 + 5)) == objective.chance_loss(6)


def test_ressl_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    objective = ReSSLObjective(nn.Identity(), nn.Identity(), Queue(8, 16), 0.9, 0.1, 0.04)
    views = torch.randn(2, 6, 16)
    objective.queue.push(objective(views)["teacher"])
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(views)["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == objective(views)["loss"].item()


def test_ressl_student_sees_the_stronger_augmentation(images):
    student, teacher = shrunk(ReSSLTransformer).fit(images).views_.recipes
    assert student.color_jitter == 0.8
    assert (teacher.color_jitter, teacher.gaussian_blur, teacher.n_views) == (0, 0, 1)
    assert (teacher.scale, teacher.hflip) == (student.scale, student.hflip)
    rows = np.random.default_rng(0).normal(size=(60, 10)).astype("f4")
    views = shrunk(ReSSLTransformer).fit(rows).views_(torch.from_numpy(rows))
    changed = [(view != torch.from_numpy(rows)).float().mean().item() for view in views]
    assert changed[0] > changed[1] + 0.2 > 0.2


def test_ressl_refuses_other_than_two_views():
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        ressl()([torch.ones(4, 4).double()] * 3)
