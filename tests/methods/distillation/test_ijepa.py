"""I-JEPA: its loss beside a slow reference, its blocks, and its teacher."""

import math

import pytest
import torch
from common import digits, shrunk
from torch.nn.functional import layer_norm

from sklearn_ssl.methods.distillation._latent import masked_smooth_l1
from sklearn_ssl.methods.distillation.ijepa import IJEPAObjective, IJEPATransformer, block_sides
from sklearn_ssl.networks.encoder import make_encoder


def ijepa(context_ratio=0.25):
    torch.manual_seed(0)
    encoder = make_encoder("small_vit", (1, 16, 16), [0.5], [0.25])
    return IJEPAObjective(encoder, 128, 0.9, 4, context_ratio, 16, 1)


def batch(n=6):
    images = torch.from_numpy(digits()[0][:n]).float()[:, None] / 16
    return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def slow_smooth_l1(predicted, targets, masks):
    errors = []
    for p, t, masked in zip(predicted, targets, masks, strict=True):
        for i in range(len(p)):
            if masked[i]:
                d = (p[i] - t[i]).abs()
                errors.append(torch.where(d < 1, d**2 / 2, d - 0.5).mean())
    return sum(errors) / len(errors)


def test_ijepa():
    torch.manual_seed(0)
    predicted = (2 * torch.randn(3, 5, 4, dtype=torch.float64)).requires_grad_()
    targets, masks = torch.randn(3, 5, 4, dtype=torch.float64), torch.rand(3, 5) < 0.5
    loss, expected = (f(predicted, targets, masks) for f in (masked_smooth_l1, slow_smooth_l1))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, predicted) for x in (loss, expected)))


def test_ijepa_objective_gradient():
    """The student sees the context alone; the teacher, without gradient, the whole image."""
    objective, images = ijepa(context_ratio=0.75).double().eval(), batch().double()
    for p in objective.student.parameters():
        p.data += 0.01 * torch.randn_like(p)
    torch.manual_seed(1)
    loss = objective([images])["loss"]
    loss.backward()
    ours = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    assert {name.split(".")[0] for name in ours} == {"student", "predict"}
    objective.zero_grad()

    torch.manual_seed(1)
    is_target, order = objective.drawn(images, (8, 8), 1)
    visible = order[:, :48]
    assert is_target.gather(1, visible).any()
    for i in range(6):
        is_target[i, visible[i]] = False
    with torch.no_grad():
        tokens = objective.teacher.features(images).tokens[:, 1:]
    tokens = objective.student.features(images, visible=visible).tokens, layer_norm(tokens, (128,))
    predicted = objective.predict(tokens[0], order, 48, (8, 8))
    expected = slow_smooth_l1(predicted, tokens[1], is_target)
    torch.testing.assert_close(loss, expected)
    expected.backward()
    for name, p in objective.named_parameters():
        if name in ours:
            torch.testing.assert_close(ours[name], p.grad)


def test_targets_are_blocks_of_one_size_and_the_context_is_outside():
    torch.manual_seed(0)
    objective, images = ijepa(), torch.rand(300, 1, 16, 16)
    objective.n_targets = 1
    is_target, order = objective.drawn(images, (8, 8), 1)
    blocks = is_target.unflatten(1, (8, 8))
    rows, columns = blocks.any(dim=2).sum(dim=1), blocks.any(dim=1).sum(dim=1)
    assert len(torch.unique(rows)) == len(torch.unique(columns)) == 1
    assert (blocks.sum(dim=(1, 2)) == rows[0] * columns[0]).all()
    assert blocks.any(dim=0).all()  # also in the last row and column
    context = is_target.gather(1, order)
    assert (context.int().diff(dim=1) >= 0).all()  # others first
    objective.n_targets = 4
    is_target, order = objective.drawn(images, (8, 8), 1)
    share = is_target.float().mean()
    assert 0.35 < share < 0.65
    assert is_target.gather(1, order[:, :16]).float().mean() < 0.02
    first = order[:, 0].bincount(minlength=64)
    assert (first > 0).float().mean() > 0.8


def test_sides_of_blocks_have_the_share_of_the_image():
    torch.manual_seed(0)
    sides = torch.tensor([block_sides((32, 32)) for _ in range(300)]).float()
    shares, aspects = sides.prod(dim=1) / 32**2, sides[:, 0] / sides[:, 1]
    assert 0.13 < shares.min() < 0.16
    assert 0.19 < shares.max() < 0.22
    assert 0.6 < aspects.min() < 0.85
    assert 1.4 < aspects.max() < 1.7
    assert all(1 <= side <= 1 for _ in range(20) for side in block_sides((2, 2)))


def test_targets_that_are_seen_do_not_count():
    objective, images = ijepa(context_ratio=0.9), batch()
    torch.manual_seed(0)
    is_target, order = objective.drawn(images, (8, 8), 1)
    assert is_target.gather(1, order[:, :58]).any()
    torch.manual_seed(0)
    loss = objective([images])["loss"]
    assert math.isfinite(loss.item())
    assert loss.item() > 0


def test_teacher_moves_after_the_step_and_embeds():
    objective = ijepa()
    before = [p.clone() for p in objective.teacher.parameters()]
    for p in objective.student.parameters():
        p.data += 1
    objective.after_update({}, 0.5)  # momentum 1 - 0.1 * (1 + cos(pi / 2)) / 2 = 0.95
    for now, old in zip(objective.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(now, old + 0.05)
    tokens = objective.teacher.features(batch()).tokens
    torch.testing.assert_close(objective.encoder(batch()), tokens.mean(dim=1))


def test_ijepa_loss_stays_in_full_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert ijepa()([batch()])["loss"].dtype == torch.float32


def test_other_networks_and_uncut_images_are_refused():
    images = digits()[0][:20]
    with pytest.raises(ValueError, match="IJEPATransformer needs a vision transformer"):
        shrunk(IJEPATransformer, backbone="small_convnet").fit(images)
    with pytest.raises(ValueError, match="cuts square images into patches of 2 pixels or more"):
        shrunk(IJEPATransformer).fit(images[:, :, :7])
