"""MSN: its loss beside a slow reference, its prior, and which views are masked."""

import math

import pytest
import torch
from common import check_inputs, digits
from torch import nn
from torch.nn.functional import log_softmax, normalize

from sklearn_ssl.methods.distillation._base import PrototypeHead
from sklearn_ssl.methods.distillation.msn import MSNObjective, msn_terms, sharpened
from sklearn_ssl.networks.encoder import make_encoder

SETTINGS = {
    "temperature": 0.1,
    "sharpening": 0.25,
    "sinkhorn_iterations": 3,
    "mask_ratio": 0.25,
    "prior_exponent": 0.0,
    "prior_weight": 1.0,
    "momentum": 0.9,
    "clip_grad": 3.0,
    "freeze_until": 0.0,
}


def check_prototypes():
    k = torch.arange(5, dtype=torch.float64)[:, None]
    return normalize(torch.cos(0.9 * k + 0.4 * torch.arange(4)))


def slow_targets(scores, temperature, sharpening, n_iterations):
    """Probabilities, sharpened, and scaled by columns and rows."""
    p = torch.exp(scores / temperature)
    p = p / p.sum(dim=1, keepdim=True)
    p = p ** (1 / sharpening)
    p = p / p.sum(dim=1, keepdim=True)
    for _ in range(n_iterations):
        p = p / p.sum(dim=0)
        p = p / p.sum(dim=1, keepdim=True)
    return p


def slow_msn(anchors, targets, temperature, prior):
    """Cross entropies of each anchor, and the divergence of the mean from the prior."""
    losses, probabilities = [], []
    for view in anchors:
        for scores, target in zip(view, targets, strict=True):
            p = torch.exp(scores / temperature)
            probabilities.append(p / p.sum())
            losses.append(-target @ torch.log(probabilities[-1]))
    mean = sum(probabilities) / len(probabilities)
    return sum(losses) / len(losses), (mean * torch.log(mean / prior)).sum()


def test_msn():
    a, b = check_inputs()
    a.requires_grad_()
    prototypes, uniform = check_prototypes(), torch.full((5,), 1 / 5, dtype=torch.float64)
    targets = sharpened(normalize(b) @ prototypes.T, 0.1, 0.25, 3)
    torch.testing.assert_close(targets, slow_targets(normalize(b) @ prototypes.T, 0.1, 0.25, 3))
    scores = normalize(a) @ prototypes.T
    found = msn_terms(log_softmax(scores / 0.1, dim=1)[None], targets, uniform.log())
    assert sum(found).item() == pytest.approx(0.896785, abs=1e-6)

    prior = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1], dtype=torch.float64)
    views = torch.stack([scores, 2 * scores])
    found = msn_terms(log_softmax(views / 0.3, dim=2), targets, prior.log())
    expected = slow_msn(views, targets, 0.3, prior)
    torch.testing.assert_close(found, expected)
    ours, theirs = (
        torch.autograd.grad(x[0] + 2 * x[1], a, retain_graph=True) for x in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)


def test_msn_objective_gradient():
    """The teacher sees the first view, with the student's prototypes, without gradient."""
    torch.manual_seed(0)
    settings = SETTINGS | {"prior_exponent": 0.5, "prior_weight": 0.7}
    objective = MSNObjective(nn.Linear(4, 3), PrototypeHead(3, 8, 5, 6), **settings).double()
    for p in (*objective.student.parameters(), *objective.student_head.parameters()):
        p.data += 0.1 * torch.randn_like(p)  # teacher and student differ
    views = [*check_inputs(), torch.randn(6, 4).double()]
    found = objective(views)
    found["loss"].backward()
    ours = {name: p.grad for name, p in objective.named_parameters()}
    assert {name.split(".")[0] for name, g in ours.items() if g is not None} == {
        "student",
        "student_head",
    }
    objective.zero_grad()
    with torch.no_grad():
        z = objective.teacher.head.project(objective.encoder(views[0]))
        scores = normalize(z) @ normalize(objective.student_head.prototypes).T
    targets = slow_targets(scores, 0.1, 0.25, 3)
    prior = torch.arange(1, 7).double() ** -0.5
    logits = [objective.student_head(objective.student(view)) for view in views[1:]]
    entropy, divergence = slow_msn(logits, targets, 0.1, prior / prior.sum())
    torch.testing.assert_close(found["loss"], entropy + 0.7 * divergence)
    (entropy + 0.7 * divergence).backward()
    for name, p in objective.named_parameters():
        torch.testing.assert_close(ours[name], p.grad)


@pytest.mark.parametrize("exponent", [0.0, 0.25])
def test_msn_of_uniform_outputs_is_at_chance(exponent):
    settings = SETTINGS | {"prior_exponent": exponent, "prior_weight": 0.5}
    objective = MSNObjective(nn.Linear(4, 3), PrototypeHead(3, 8, 5, 6), **settings)
    nn.init.zeros_(objective.student_head.prototypes)
    loss = objective([torch.randn(6, 4)] * 2)["loss"].item()
    assert objective.chance_loss(6) == pytest.approx(loss, rel=1e-5)
    assert (loss > math.log(6) + 1e-3) == (exponent > 0)


@pytest.mark.parametrize("name", ["small_vit", "small_convnet"])
def test_views_of_the_size_of_the_first_are_masked(name):
    encoder = make_encoder(name, (1, 16, 16), [0.5], [0.25]).eval()
    objective = MSNObjective(encoder, PrototypeHead(128, 8, 5, 6), **SETTINGS).eval()
    images = torch.from_numpy(digits()[0][:6]).float()[:, None] / 16
    images = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        plain, masked = encoder(images), objective.masked(images, images.shape)
        assert ((masked - plain).abs().amax(dim=1) > 1e-4).all()
        small = images[..., ::2, ::2]
        torch.testing.assert_close(objective.masked(small, images.shape), encoder(small))
        # The first images are those of another process, with the same draws.
        torch.manual_seed(0)
        first = objective.masked(images, images.shape)
        torch.manual_seed(0)
        torch.testing.assert_close(objective.masked(images, images.shape), first)
        other = torch.where(torch.rand(16, 16) < 0.5, images, 0.5)
        assert (objective.masked(other, images.shape) - first).abs().max() > 1e-4


def test_msn_needs_two_views_of_one_size():
    objective = MSNObjective(nn.Linear(4, 3), PrototypeHead(3, 8, 5, 6), **SETTINGS)
    with pytest.raises(ValueError, match="At least 2 views are required"):
        objective([torch.randn(6, 4)])


def test_msn_loss_stays_in_full_precision_under_autocast():
    objective = MSNObjective(nn.Linear(4, 3), PrototypeHead(3, 8, 5, 6), **SETTINGS)
    with torch.autocast("cpu", torch.bfloat16):
        found = objective([torch.randn(6, 4), torch.randn(6, 4)])
    assert found["loss"].dtype == torch.float32
