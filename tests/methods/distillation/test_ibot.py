"""iBOT: its loss beside a slow reference, its masks, and what moves when."""

import copy
import math

import numpy as np
import pytest
import torch
from common import digits

from sklearn_ssl.methods._multi_crop import multi_crop_loss
from sklearn_ssl.methods.distillation._base import PatchHead, PrototypeHead
from sklearn_ssl.methods.distillation._masks import at_places, blanked, drawn_blocks, masks_of
from sklearn_ssl.methods.distillation.ibot import IBOTObjective, patch_loss
from sklearn_ssl.networks.encoder import make_encoder


def slow_patch_loss(targets, logits, masked, temperature):
    """The mean over images of the mean over their masked patches, one at a time."""
    losses = []
    for image, scores, is_masked in zip(targets, logits, masked, strict=True):
        patches = [
            -p @ torch.log(torch.exp(s / temperature) / torch.exp(s / temperature).sum())
            for p, s in zip(image, scores, strict=True)
        ]
        losses.append(sum(patches) / len(patches) if is_masked else 0.0)
    return sum(losses) / len(losses)


def ibot(**settings):
    torch.manual_seed(0)
    encoder = make_encoder("small_vit", (1, 8, 8), [0.5], [0.25])
    heads = PrototypeHead(128, 8, 5, 6), PatchHead(128, 8, 5, 7)
    settings = {
        "mask_ratio": 0.3,
        "patch_weight": 0.5,
        "momentum": 0.9,
        "student_temperature": 0.1,
        "teacher_temperatures": (0.04, 0.08),
        "temperature_warmup": 0.5,
        "center_momentum": 0.9,
        "clip_grad": 3.0,
        "freeze_until": 0.25,
    } | settings
    return IBOTObjective(encoder, *heads, **settings)


def batch(n=6, side=8):
    return torch.from_numpy(digits()[0][:n]).float()[:, None, :side, :side] / 16


def test_ibot():
    torch.manual_seed(0)
    targets = torch.rand(4, 3, 5, dtype=torch.float64).softmax(dim=2)
    logits = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    masked = torch.tensor([1.0, 0.0, 1.0, 0.0])
    loss, expected = (f(targets, logits, masked, 0.3) for f in (patch_loss, slow_patch_loss))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, logits) for x in (loss, expected)))


def test_ibot_objective_gradient():
    """Masked global views and a local one for the student, whole ones for the teacher."""
    objective = ibot().double().eval()
    for p in objective.student.parameters():
        p.data += 0.01 * torch.randn_like(p)
    views = [batch().double(), batch().flip(3).double(), batch(6)[..., 2:6, 2:6].double()]
    torch.manual_seed(1)
    found = objective(views)
    found["loss"].backward()
    ours = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    parts = {name.split(".")[0] for name in ours}
    assert parts == {"student", "student_head", "patch_head", "blank"}
    objective.zero_grad()

    torch.manual_seed(1)
    images = torch.cat(views[:2])
    places, masked = drawn_blocks(images, (4, 4), 0.3, 0.5, 2)
    assert masked.sum() == 6
    assert places.shape == (12, 5)
    with torch.no_grad():
        taught = objective.encoder.features(images)
        teacher = objective.teacher.head(taught.pooled).unflatten(0, (2, -1))
        patches = objective.teacher_patch_head(at_places(taught.map, places))
    seen = blanked(images, masks_of(places, (4, 4), masked), objective.blank)
    whole = objective.student.features(seen)
    pooled = [*whole.pooled.chunk(2), objective.student(views[2])]
    logits = torch.stack([objective.student_head(x) for x in pooled])
    loss = multi_crop_loss(torch.softmax(teacher / 0.04, dim=2), logits, 0.1)
    predicted = objective.patch_head(at_places(whole.map, places))
    of_patches = slow_patch_loss(torch.softmax(patches / 0.04, dim=2), predicted, masked, 0.1)
    torch.testing.assert_close(found["patch_loss"], of_patches)
    torch.testing.assert_close(found["loss"], loss + 0.5 * of_patches)
    (loss + 0.5 * of_patches).backward()
    for name, p in objective.named_parameters():
        if name in ours:
            torch.testing.assert_close(ours[name], p.grad)


def test_ibot_of_uniform_outputs_is_at_chance():
    objective = ibot()
    for part in (objective.student_head, objective.patch_head):
        torch.nn.init.zeros_(part.prototypes)
    expected = math.log(6) + 0.5 * 0.5 * math.log(7)
    loss = objective([batch(), batch()])["loss"].item()
    assert loss == pytest.approx(expected)
    assert ibot().chance_loss(6) == pytest.approx(1.25 * math.log(6))  # of heads of one size


def test_ibot_teacher_and_center_of_patches_move_after_the_step():
    objective = ibot().train()
    head, center = copy.deepcopy(objective.teacher_patch_head), objective.patch_center.clone()
    terms = objective([batch(), batch().flip(3)])
    torch.testing.assert_close(objective.patch_center, center)
    for p in objective.patch_head.parameters():
        p.data += 1
    objective.after_update(terms, 0.5)  # momentum 1 - 0.1 * (1 + cos(pi / 2)) / 2 = 0.95
    for now, old in zip(objective.teacher_patch_head.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.05)
    torch.testing.assert_close(objective.patch_center, 0.1 * terms["patch_center"])


def test_prototypes_of_patches_are_frozen_at_first():
    objective = ibot()
    for progress, frozen in ((0.2, True), (0.3, False)):
        objective([batch(), batch().flip(3)])["loss"].backward()
        objective.before_update(progress)
        assert (objective.patch_head.prototypes.grad is None) == frozen


def test_masked_patches_are_connected_and_have_one_color():
    torch.manual_seed(0)
    images = torch.rand(200, 3, 16, 16)
    places, masked = drawn_blocks(images, (8, 8), 0.3, 0.5, 2)
    masks = masks_of(places, (8, 8))
    assert (masks.sum(dim=(1, 2, 3)) == 19).all()
    assert masked.sum() == 100
    vertical, horizontal = masks[:, :, 1:] & masks[:, :, :-1], masks[..., 1:] & masks[..., :-1]
    neighbors = (vertical.sum() + horizontal.sum()) / masks.sum()
    assert neighbors > 1.2  # about 0.5 for patches anywhere
    assert (masks.float().mean(dim=0) - 19 / 64).abs().max() < 0.2
    blank = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    seen = blanked(images, masks_of(places, (8, 8), masked), blank)
    changed = (seen != images).any(dim=1)
    np.testing.assert_array_equal(changed.flatten(1).any(dim=1), masked)
    assert (changed[masked].flatten(1).sum(dim=1) == 19 * 4).all()
    assert (seen.permute(0, 2, 3, 1)[changed] == blank[:, 0, 0]).all()


def test_patches_of_maps_are_those_of_the_places():
    maps, places = torch.rand(3, 5, 2, 4), torch.tensor([[0, 7], [3, 4], [6, 1]])
    found = at_places(maps, places)
    for i in range(3):
        for j in range(2):
            row, column = divmod(places[i, j].item(), 4)
            torch.testing.assert_close(found[i, j], maps[i, :, row, column])


def test_views_with_one_patch_are_refused():
    with pytest.raises(ValueError, match="views of this size have only one"):
        drawn_blocks(torch.rand(2, 1, 2, 2), (1, 1), 0.3)
