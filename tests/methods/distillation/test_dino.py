"""DINO: its loss beside a slow reference, its views, and what it returns."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from common import check_inputs, shrunk
from torch import nn

from sklearn_ssl import (
    DINOTransformer,
)
from sklearn_ssl.methods.distillation.dino import DINOHead, DINOObjective, dino_loss
from sklearn_ssl.networks.vit import attention_maps
from sklearn_ssl.views import CombinedViews, ImageViews, RowViews


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
        "gradient_clip": 3.0,
        "frozen_until": 0.25,
    } | settings
    encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    return DINOObjective(encoder, DINOHead(3, 8, 5, 6), **settings)


def test_dino():
    a, b = check_inputs()
    b.requires_grad_()
    targets = torch.softmax(a / 0.04, dim=1)[None]
    # The check value is of one pair: a teacher's view and another one of the student's.
    loss = dino_loss(targets, torch.stack([a, b]), 0.1)
    assert loss.item() == pytest.approx(0.092490, abs=1e-6)

    teacher, students = torch.randn(2, 6, 4, dtype=torch.float64), [a, b, a - b, a * b]
    center = torch.randn(4, dtype=torch.float64) / 10
    expected = slow_dino(teacher, students, center, 0.5, 0.3)
    loss = dino_loss(torch.softmax((teacher - center) / 0.5, 2), torch.stack(students), 0.3)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, b, retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, b))


def test_dino_head_gives_cosines():
    torch.manual_seed(0)
    head = DINOHead(3, 8, 5, 6)
    head.prototypes.data *= 3
    features = torch.randn(4, 3)
    projections = head.project(features)
    expected = torch.cosine_similarity(projections[:, None], head.prototypes, dim=2)
    torch.testing.assert_close(head(features), expected)


def test_dino_of_uniform_outputs_is_at_chance():
    uniform = torch.full((2, 3, 8), 1 / 8)
    assert dino_loss(uniform, torch.zeros(4, 3, 8), 0.1).item() == pytest.approx(math.log(8))


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
        teacher = [objective.head(objective.encoder(v)) for v in views[:2]]
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
        DINOHead(3, 8, 5, 6),
        momentum=0.9,
        student_temperature=0.1,
        teacher_temperatures=(0.04, 0.04),
        temperature_warmup=0.0,
        center_momentum=0.9,
        gradient_clip=3.0,
        frozen_until=0.0,
    )
    large, small = torch.rand(2, 5, 3, 8, 8), torch.rand(3, 5, 3, 4, 4)
    objective([*large, *small])
    assert seen == [(10, 3, 8, 8), (10, 3, 8, 8), (15, 3, 4, 4)]
    with pytest.raises(ValueError, match="two views or more; the view recipe gave 1"):
        objective([large[0]])
    with pytest.raises(
        ValueError, match=r"of one size; the view recipe gave \(8, 8\) and \(4, 4\)"
    ):
        objective([large[0], small[0]])


def test_dino_center_teacher_and_temperature_move():
    objective = dino_objective().train()
    views = [v.float() for v in check_inputs()]
    with torch.no_grad():
        teacher = objective.head(copy.deepcopy(objective.encoder)(torch.cat(views)))
    before = objective(views)["loss"]
    torch.testing.assert_close(objective.center, 0.1 * teacher.mean(0))
    assert objective(views)["loss"] != before  # the center belongs to the next loss

    start = copy.deepcopy(objective.encoder)
    for p in objective.student.parameters():
        p.data += 1
    objective.after_step(0.5)  # momentum 1 - 0.1 * (1 + cos(pi / 2)) / 2 = 0.95
    for now, old in zip(objective.encoder.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.05)
    assert objective.teacher_temperature.item() == pytest.approx(0.08)
    objective.after_step(0.125)
    assert objective.teacher_temperature.item() == pytest.approx(0.05)
    head, student_head = objective.head.prototypes.clone(), objective.student_head.prototypes
    student_head.data += 1
    objective.after_step(1.0)  # the momentum has risen to 1
    torch.testing.assert_close(objective.head.prototypes, head)
    objective.after_step(1.2)  # beyond the planned end it is what it was at first
    torch.testing.assert_close(objective.head.prototypes, head + 0.1 * (student_head - head))


def test_dino_clips_each_gradient_and_freezes_the_prototypes():
    objective = dino_objective()
    gradients = [torch.randn_like(p) for p in objective.student.parameters()]
    for scale in (100.0, 0.01):
        for p, g in zip(objective.student.parameters(), gradients, strict=True):
            p.grad = g * scale
        objective.student_head.prototypes.grad = torch.ones(6, 5)
        objective.before_step(0.3)
        for p, g in zip(objective.student.parameters(), gradients, strict=True):
            expected = g / g.norm() * min(3.0, scale * g.norm().item())
            torch.testing.assert_close(p.grad, expected, rtol=1e-4, atol=1e-6)
        assert objective.student_head.prototypes.grad is not None
    objective.before_step(0.2)
    assert objective.student_head.prototypes.grad is None


@pytest.mark.parametrize("backbone", ["small_convnet", "small_vit", "resnet18", "vit_b_16"])
def test_dino_trains_on_crops_of_two_sizes(photos, backbone):
    model = shrunk(DINOTransformer, backbone=backbone, n_local_crops=1).fit(photos[:4])
    sides = [view.shape[2:] for view in model.views_(torch.rand(2, 3, 32, 32))]
    assert sides == [(32, 32), (32, 32), (16, 16)]
    assert np.isfinite(model.transform(photos[:4])).all()


def test_dino_local_crops_are_small_parts(photos):
    model = shrunk(DINOTransformer, n_local_crops=3).fit(photos[:20])
    large, small = model.views_.recipes
    assert (large.n_views, small.n_views) == (2, 3)
    assert small.scale[1] <= large.scale[0]
    whole = shrunk(DINOTransformer, n_local_crops=0).fit(photos[:20])
    assert len(whole.views_(torch.rand(2, 3, 32, 32))) == 2
    assert len(shrunk(DINOTransformer).fit(photos[:20]).views_(torch.rand(2, 3, 32, 32))) == 6
    tiny = shrunk(DINOTransformer).fit(photos[:20, :23, :23])  # whose crops would show nothing
    assert len(tiny.views_(torch.rand(2, 3, 23, 23))) == 2
    rows = shrunk(DINOTransformer, n_local_crops=3).fit(photos[:20].reshape(20, -1)[:, :50])
    views = rows.views_(torch.rand(30, 50))
    assert len(views) == 5
    assert all((view != views[0]).any() for view in views[1:])


def test_dino_embeds_with_the_teacher_and_its_own_statistics(photos):
    """A teacher whose batch norms were never in training mode would have mean 0 and variance 1."""
    settings = {"max_epochs": 8, "batch_size": 16, "n_local_crops": 1}
    model = shrunk(DINOTransformer, **settings).fit(photos)
    objective = model._objective
    assert model.encoder_ is objective.encoder
    teacher, student = objective.encoder.backbone, objective.student.backbone
    first, other = (next(network.parameters()) for network in (teacher, student))
    assert not torch.allclose(first, other, rtol=0, atol=1e-5)
    # The teacher sees the large crops alone, and its statistics are of them and of its weights.
    for ours, theirs in zip(teacher.modules(), student.modules(), strict=True):
        if isinstance(ours, nn.BatchNorm2d | nn.BatchNorm1d):
            assert (ours.num_batches_tracked, theirs.num_batches_tracked) == (64, 128)
            assert not torch.allclose(ours.running_mean, theirs.running_mean)
    embedding = model.transform(photos)
    assert np.abs(embedding.mean(axis=0)).mean() < 0.5  # as standardised as its end is
    assert 0.5 < np.median(embedding.std(axis=0)) < 2


def test_dino_goes_on_beyond_its_planned_end(images):
    """The momentum, which has risen to 1, would keep the teacher as it is for ever."""
    model = shrunk(DINOTransformer, max_epochs=2, batch_size=20).fit(images)
    assert all(p.requires_grad for p in model.encoder_.parameters())
    weight = model.encoder_.backbone[0][0].weight.clone()
    model.partial_fit(images)
    moved = (model.encoder_.backbone[0][0].weight - weight).abs().max()
    assert moved > 1e-4


def test_dino_momentum_follows_the_length_of_the_run(images):
    short = shrunk(DINOTransformer, batch_size=20).fit(images)
    assert short._objective.momentum == 0.95
    dino = DINOTransformer(max_epochs=100, batch_size=20)
    for n_samples, momentum in ((200, 0.95), (1000, 1 - 100 / 5000), (20_000, 0.996)):
        training = dino._resolve_training(n_samples, torch.device("cpu"), 0, 0, True)
        objective = dino._make_objective(nn.Identity(), 4, training)
        assert objective.momentum == pytest.approx(momentum)
        assert objective.frozen_until == 0.01


def test_dino_weight_decay_rises(images):
    def final(**settings):
        dino = DINOTransformer(**settings)
        training = dino._resolve_training(200, torch.device("cpu"), 0, 0, True)
        return training.weight_decay, training.final_weight_decay

    assert final() == (1e-4, 0.04)
    assert final(optimizer="sgd") == (5e-4, 5e-4)
    assert final(weight_decay=0.3) == (0.3, 0.3)
    assert final(final_weight_decay=0.3) == (1e-4, 0.3)


def test_attention_maps_add_up_and_are_of_the_teacher(photos):
    model = shrunk(DINOTransformer, backbone="small_vit").fit(photos[:20])
    maps = model.attention_maps(photos[:20])
    assert maps.shape == (20, 4, 8, 8)
    assert maps.dtype == np.float32
    assert (maps >= 0).all()
    sums = maps.sum(axis=(2, 3))
    assert ((sums > 0.5) & (sums <= 1)).all()
    np.testing.assert_allclose(model.attention_maps(photos[3:5]), maps[3:5], atol=1e-6)
    assert np.abs(maps[0] - maps[1]).max() > 1e-6
    batch = torch.from_numpy(photos[:20]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        teacher = attention_maps(model._objective.encoder, batch).numpy()
        student = attention_maps(model._objective.student, batch).numpy()
    np.testing.assert_allclose(maps, teacher, atol=1e-6)
    assert np.abs(maps - student).max() > 1e-4
    middle = shrunk(
        DINOTransformer, backbone="small_vit", layer="encoder.layers.encoder_layer_1"
    ).fit(photos[:20])
    np.testing.assert_array_equal(middle.attention_maps(photos[:5]).shape, (5, 4, 8, 8))
    with pytest.raises(ValueError, match="need a vision transformer"):
        shrunk(DINOTransformer).fit(photos[:20]).attention_maps(photos[:20])


def test_backbones_that_cannot_take_the_small_crops(photos):
    def rigid(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))

    assert shrunk(DINOTransformer, backbone=rigid, n_local_crops=0).fit(photos[:20])
    with pytest.raises(ValueError, match=r"fails on samples of shape \(3, 16, 16\).*or its views"):
        shrunk(DINOTransformer, backbone=rigid).fit(photos[:20])


def test_views_of_the_wrong_kind(images, photos):
    local = CombinedViews((RowViews(), RowViews()))
    with pytest.raises(ValueError, match="are for rows, but X holds images"):
        shrunk(DINOTransformer, views=local).fit(images)
    views = CombinedViews((ImageViews(), ImageViews(size=0.5)))
    with pytest.raises(ValueError, match="are for images, but X holds rows"):
        shrunk(DINOTransformer, views=views).fit(images.reshape(200, -1))
