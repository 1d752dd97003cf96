"""Shared parts of distillation methods: teacher, head, crops, schedules, attention maps."""

import numpy as np
import pytest
import torch
from common import shrunk, training_of
from torch import nn

from sklearn_ssl import (
    DINOTransformer,
    SimCLRTransformer,
)
from sklearn_ssl.methods.distillation._base import PrototypeHead, SelfDistillationObjective
from sklearn_ssl.networks.vit import attention_maps
from sklearn_ssl.views import CombinedViews, ImageViews, TableViews


def objective():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    settings = {"momentum": 0.9, "clip_grad": 3.0, "freeze_until": 0.25}
    return SelfDistillationObjective(encoder, PrototypeHead(3, 8, 5, 6), **settings)


def test_teacher_averages_weights_only():
    tested, before = objective().train(), objective().teacher
    for p in tested.student.parameters():
        p.data += 1
    for p in tested.student_head.parameters():
        p.data += 1
    tested.student[1].running_mean += 5
    tested.after_update({}, 0.5)  # momentum 1 - 0.1 * (1 + cos(pi / 2)) / 2 = 0.95
    for now, old in zip(tested.teacher.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.05)
    torch.testing.assert_close(tested.encoder[1].running_mean, torch.zeros(3))
    features, outputs = tested.teacher([torch.randn(3, 4), torch.randn(3, 4)])
    assert not features.requires_grad
    assert not outputs.requires_grad
    assert tested.encoder[1].num_batches_tracked == 1  # statistics of its own


def test_weights_of_a_saved_model_are_those_of_its_teacher(photos, tmp_path):
    model = shrunk(DINOTransformer, max_epochs=2, backbone="small_convnet").fit(photos[:20])
    model.save(tmp_path / "saved")
    path = tmp_path / "saved"
    start = shrunk(SimCLRTransformer, backbone="small_convnet", weights=path, lr=1e-12)
    start.fit(photos[:20])
    ours, theirs = (dict(m.encoder_.backbone.named_parameters()) for m in (start, model))
    for name, weights in theirs.items():
        torch.testing.assert_close(ours[name], weights)


def test_prototype_head_returns_cosines():
    torch.manual_seed(0)
    head = PrototypeHead(3, 8, 5, 6)
    head.prototypes.data *= 3
    features = torch.randn(4, 3)
    projections = head.project(features)
    expected = torch.cosine_similarity(projections[:, None], head.prototypes, dim=2)
    torch.testing.assert_close(head(features), expected)


def test_each_gradient_is_clipped_and_prototypes_are_frozen():
    tested = objective()
    gradients = [torch.randn_like(p) for p in tested.student.parameters()]
    for scale in (100.0, 0.01):
        for p, g in zip(tested.student.parameters(), gradients, strict=True):
            p.grad = g * scale
        tested.student_head.prototypes.grad = torch.ones(6, 5)
        tested.before_update(0.3)
        for p, g in zip(tested.student.parameters(), gradients, strict=True):
            expected = g / g.norm() * min(3.0, scale * g.norm().item())
            torch.testing.assert_close(p.grad, expected, rtol=1e-4, atol=1e-6)
        assert tested.student_head.prototypes.grad is not None
    tested.before_update(0.2)
    assert tested.student_head.prototypes.grad is None


def test_local_crops_are_small_parts(photos):
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


@pytest.mark.slow
def test_teacher_embeds_with_its_own_statistics(photos):
    """A teacher whose batch norms were never in training mode would have mean 0 and variance 1."""
    settings = {"max_epochs": 8, "batch_size": 16, "n_local_crops": 1}
    model = shrunk(DINOTransformer, **settings).fit(photos)
    objective = model.objective_
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
    assert np.abs(embedding.mean(axis=0)).mean() < 0.5  # as standardized as its end is
    assert 0.5 < np.median(embedding.std(axis=0)) < 2


def test_teacher_moves_beyond_the_planned_end(images):
    """The momentum, which has risen to 1, would keep the teacher as it is for ever."""
    model = shrunk(DINOTransformer, max_epochs=2, batch_size=20).fit(images)
    assert all(p.requires_grad for p in model.encoder_.parameters())
    weight = model.encoder_.backbone[0][0].weight.clone()
    model.partial_fit(images)
    moved = (model.encoder_.backbone[0][0].weight - weight).abs().max()
    assert moved > 1e-4


def test_momentum_follows_the_number_of_steps(images):
    short = shrunk(DINOTransformer, batch_size=20).fit(images)
    assert short.objective_.teacher.momentum == 0.95
    dino = DINOTransformer(max_epochs=100, batch_size=20)
    for n_samples, momentum in ((200, 0.95), (2500, 1 - 100 / 12_500), (20_000, 0.996)):
        training = training_of(dino, n_samples)
        objective = dino._make_objective(nn.Identity(), 4, training)
        assert objective.teacher.momentum == pytest.approx(momentum)
        assert objective.freeze_until == 0.01


def test_weight_decay_rises(images):
    def final(**settings):
        dino = DINOTransformer(**settings)
        training = training_of(dino, 200)
        objective = dino._make_objective(nn.Identity(), 4, training)
        finals = {group["final_weight_decay"] for group in objective.optimizer_groups()}
        return training.weight_decay, *finals

    assert final() == (1e-4, 0.04)
    assert final(optimizer="sgd") == (5e-4, 5e-4)
    assert final(weight_decay=0.3) == (0.3, 0.3)
    assert final(final_weight_decay=0.3) == (1e-4, 0.3)


@pytest.mark.slow
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
        teacher = attention_maps(model.objective_.encoder, batch).numpy()
        student = attention_maps(model.objective_.student, batch).numpy()
    np.testing.assert_allclose(maps, teacher, atol=1e-6)
    assert np.abs(maps - student).max() > 1e-4
    middle = shrunk(
        DINOTransformer, backbone="small_vit", layer="encoder.layers.encoder_layer_1"
    ).fit(photos[:20])
    np.testing.assert_array_equal(middle.attention_maps(photos[:5]).shape, (5, 4, 8, 8))
    with pytest.raises(ValueError, match="require a vision transformer"):
        shrunk(DINOTransformer).fit(photos[:20]).attention_maps(photos[:20])


def test_backbones_that_cannot_take_local_crops(photos):
    def rigid(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))

    assert shrunk(DINOTransformer, backbone=rigid, n_local_crops=0).fit(photos[:20])
    with pytest.raises(ValueError, match=r"fails on samples of shape \(3, 16, 16\).*or its views"):
        shrunk(DINOTransformer, backbone=rigid).fit(photos[:20])


def test_views_of_the_wrong_kind(images, photos):
    local = CombinedViews((TableViews(), TableViews()))
    with pytest.raises(ValueError, match="are for tabular data, but X holds images"):
        shrunk(DINOTransformer, views=local).fit(images)
    views = CombinedViews((ImageViews(), ImageViews(size=0.5)))
    with pytest.raises(ValueError, match="are for images, but X holds tabular data"):
        shrunk(DINOTransformer, views=views).fit(images.reshape(200, -1))
