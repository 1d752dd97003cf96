"""Split-brain autoencoder: what each half sees, and what it predicts."""

import copy

import numpy as np
import pytest
import torch
from common import photo_patches
from skimage.color import lab2rgb, rgb2lab
from torch import nn

from sklearn_ssl import SplitBrainTransformer
from sklearn_ssl.methods.generative.cielab import lab_to_rgb, rgb_to_lab
from sklearn_ssl.methods.generative.split_brain import SplitBrainObjective
from sklearn_ssl.networks.encoder import make_encoder


def soft_code(value, bins):
    """Gaussian weights of the five nearest bins."""
    distances = (bins - value).norm(dim=1)
    code = torch.zeros(len(bins), dtype=torch.float64)
    for near in distances.argsort()[:5]:
        code[near] = torch.exp(-(distances[near] ** 2) / 50)
    return code / code.sum()


def small_objective():
    torch.manual_seed(0)
    encoder = make_encoder("small_convnet", (3, 8, 8), [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
    return SplitBrainObjective(encoder).double().eval()


def test_split_brain():
    objective = small_objective()
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        objective.before_training([images[:3], images[3:]])
    found, losses, codes = objective([images]), [[], []], [[], []]
    for image in images:
        lab = torch.from_numpy(rgb2lab(image.numpy(), channel_axis=0))
        scaled = [lab[:1] / 100, lab[1:] / 220 + 0.5]
        seen = scaled[0].expand(3, -1, -1), torch.cat([scaled[1], scaled[1].mean(0)[None]])
        encoders = objective.encoder.backbone.of_lightness, objective.encoder.backbone.of_colors
        targets = lab[1:], lab[:1]
        for k, (half, x, target) in enumerate(zip(encoders, seen, targets, strict=True)):
            x = ((x - half.mean) / half.std)[None]
            for stage in list(half.backbone)[:-1]:
                x = stage(x)
            told = objective.heads[k].decode(x, (2, 2))[0]
            for i in range(2):
                for j in range(2):
                    value = target[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean(dim=(1, 2))
                    codes[k].append(soft_code(value, objective.heads[k].bins))
                    losses[k].append(-(codes[k][-1] * told[:, i, j].log_softmax(0)).sum())
    color, lightness = (sum(of) / len(of) for of in losses)
    torch.testing.assert_close(found["color_loss"], color, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["lightness_loss"], lightness, rtol=1e-3, atol=1e-3)
    parameters = list(objective.parameters())
    ours = torch.autograd.grad(found["loss"], parameters)
    theirs = torch.autograd.grad(color + lightness, parameters)
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=1e-3)
    means = [sum(of) / len(of) for of in codes]
    chance = sum(torch.special.entr(mean).sum() for mean in means)
    assert objective.chance_loss(4) == pytest.approx(chance.item(), rel=1e-3)


def test_each_half_sees_its_channels():
    objective = small_objective()
    lab = rgb_to_lab(0.3 + 0.4 * torch.rand(2, 3, 8, 8, dtype=torch.float64)).requires_grad_()
    images = objective.encoder.normalized(lab_to_rgb(lab))
    halves = objective.encoder.backbone.halves(images)
    for half, own, other in zip(halves, (0, 1), (slice(1, 3), slice(1)), strict=True):
        [gradient] = torch.autograd.grad(half.map.square().sum(), lab, retain_graph=True)
        strength = gradient.abs().amax(dim=(0, 2, 3))
        assert strength[own] > 1000 * strength[other].max()


def test_halves_do_not_share_weights():
    objective = small_objective()
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    terms, halves = objective([images]), objective.encoder.backbone
    for term, off in (("color_loss", "of_colors"), ("lightness_loss", "of_lightness")):
        gradients = torch.autograd.grad(
            terms[term],
            list(getattr(halves, off).parameters()),
            retain_graph=True,
            allow_unused=True,
        )
        assert all(gradient is None for gradient in gradients)


def test_pictures_are_the_expected_channels():
    objective = small_objective()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        shown, made = objective.pictures(images)
        logits, _ = objective.predict(images)
    assert shown is images
    values = [
        torch.stack(
            [
                sum(p * b[k] for p, b in zip(shares, head.bins, strict=True))
                for k in range(head.bins.shape[1])
            ]
        )
        for head, of in zip(objective.heads, logits, strict=True)
        for shares in [of.softmax(dim=1)[0]]
    ]
    lab = nn.functional.interpolate(
        torch.cat([values[1], values[0]])[None], (8, 8), mode="bilinear", align_corners=False
    )
    expected = lab2rgb(lab[0].numpy(), channel_axis=0)
    np.testing.assert_allclose(made[0], expected, atol=2e-3)


@pytest.fixture(scope="module")
def patches():
    return photo_patches(200, 16)


def test_predictions_are_better_than_gray(patches):
    model = SplitBrainTransformer(max_epochs=10, random_state=0).fit(patches)
    assert model.loss_curve_[-1] < 0.9 * model.health_["chance_loss"][-1]
    start = copy.deepcopy(model).set_params(max_epochs=1, warm_start=False).fit(patches)
    assert model.score_pretext(patches) > start.score_pretext(patches) + 1


def test_gray_images(patches):
    model = SplitBrainTransformer(max_epochs=1, random_state=0).fit(patches)
    gray = patches.mean(axis=3).astype(np.uint8)
    n = model.transform(patches).shape[1] // 2
    repeated = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_allclose(model.transform(gray), model.transform(repeated), atol=1e-4)
    assert np.ptp(model.transform(gray)[:, n:], axis=0).max() < 1e-2  # no colors
    for call in (model.score, model.score_pretext):
        with pytest.raises(ValueError, match="are gray"):
            call(gray)
    with pytest.raises(ValueError, match="three channels and no colors"):
        SplitBrainTransformer().fit(repeated)
    with pytest.raises(ValueError, match=r"color images of 3 channels.*Those of X have 1"):
        SplitBrainTransformer().fit(gray)
