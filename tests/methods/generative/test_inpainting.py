"""Inpainting: its loss beside a slow reference, its views, and what it returns."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from common import digits, shrunk

from methods.generative.references import dense, pictures
from sklearn_ssl import Images, InpaintingTransformer, SuperResolutionTransformer
from sklearn_ssl.methods.generative._rectangles import central_masks
from sklearn_ssl.methods.generative.inpainting import (
    InpaintingObjective,
)


@pytest.mark.parametrize("adversarial_weight", [0.0, 0.1])
def test_inpainting(adversarial_weight):
    objective = dense(InpaintingObjective, "center", 0.25, adversarial_weight)
    if adversarial_weight:  # a discriminator that sees something
        for parameter in objective.discriminate.parameters():
            parameter.data *= 4
    images, losses = pictures(), []
    found = objective([images])
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    real, fake, deceived = [], [], []
    for image in images:
        seen = image.clone()
        seen[:, 2:6, 2:6] = mean[:, None, None]
        maps = objective.encoder.features(seen[None]).map
        told = objective.decode(maps, (8, 8))[0]  # in standard deviations from the mean
        for channel in range(2):
            right = (image[channel, 2:6, 2:6] - mean[channel]) / std[channel]
            losses += [(told[channel, 2:6, 2:6] - right).square().mean()]
        filled = image.clone()
        filled[:, 2:6, 2:6] = (told * std[:, None, None] + mean[:, None, None])[:, 2:6, 2:6]
        if adversarial_weight:
            real.append(-torch.log(torch.sigmoid(objective.discriminate(image[None]))))
            judged = torch.sigmoid(objective.discriminate(filled[None].clamp(0, 1)))
            fake.append(-torch.log(1 - judged))
            deceived.append(-torch.log(judged))
    error = sum(losses) / len(losses)
    if not adversarial_weight:
        torch.testing.assert_close(found["loss"], error)
        return
    critic, fooled = sum(real + fake)[0] / 6, sum(deceived)[0] / 3
    torch.testing.assert_close(found["discriminator_loss"], critic)
    torch.testing.assert_close(found["loss"], error + adversarial_weight * fooled)
    # Each has its loss: the network does not help the discriminator, nor is it taught by it.
    network, discriminator = objective.optimizer_groups()
    assert discriminator["loss"] == "discriminator_loss"
    assert {id(p) for p in discriminator["params"]} == {
        id(p) for p in objective.discriminate.parameters()
    }
    everything = {id(p) for p in objective.parameters()}
    assert {id(p) for group in (network, discriminator) for p in group["params"]} == everything
    [deceiving] = torch.autograd.grad(fooled, list(objective.decode.parameters())[-2])
    assert deceiving.abs().max() > 1e-4


def test_inpainting_sees_nothing_of_the_masked_region():
    objective = dense(InpaintingObjective, "random", 0.25, 0.0)
    images = pictures(40)
    torch.manual_seed(0)
    masks = objective.masks(images)
    assert masks.shape == (40, 1, 8, 8)
    assert 0.15 < masks.double().mean() < 0.35
    assert len(torch.unique(masks.flatten(1), dim=0)) > 20
    other = torch.where(masks, pictures(40).flip(0), images)
    torch.testing.assert_close(
        objective.reconstruct(images, masks), objective.reconstruct(other, masks)
    )
    filled = objective.filled(images, masks)
    known = ~masks.expand_as(images)
    torch.testing.assert_close(filled[known], images[known], rtol=0, atol=0)
    tiny = InpaintingObjective.masks(dense(InpaintingObjective, "random", 1e-4, 0.0), images)
    assert (tiny.sum(dim=(1, 2, 3)) >= 1).all()
    assert central_masks(1, (8, 6), 0.25, "cpu").sum() == 4 * 3


@pytest.mark.parametrize("sides", [(8, 8), (32, 32), (12, 40)])
@pytest.mark.parametrize("area", [0.1, 0.25, 0.5, 0.9])
def test_random_masks_are_everywhere_alike(sides, area):
    objective = dense(InpaintingObjective, "random", area, 0.0)
    torch.manual_seed(0)
    masks = objective.masks(torch.zeros(4000, 1, 1, 1).expand(-1, 2, *sides))[:, 0].double()
    shares = masks.mean(dim=(1, 2))
    assert shares.mean() == pytest.approx(area, rel=0.05)
    assert shares.max() < 1
    often = masks.mean(dim=0)
    for other in (often.flip(0), often.flip(1)):
        by_chance = ((often + other) / len(masks)).sqrt()  # a standard deviation, or less
        assert ((often - other).abs() <= 4.5 * by_chance).all()


@pytest.mark.parametrize("sides", [(8, 8), (2, 1), (1, 2), (6, 40)])
@pytest.mark.parametrize("mask", ["random", "center"])
def test_some_pixels_are_visible(sides, mask):
    objective = dense(InpaintingObjective, mask, 0.99, 0.0)
    masks = objective.masks(torch.zeros(50, 2, *sides))
    assert (masks.sum(dim=(1, 2, 3)) == math.prod(sides) - min(sides)).all()


CIRCLE = np.hypot(*np.mgrid[-3.5:4, -3.5:4]) < 2


def test_masked_pixels_are_filled_and_the_others_are_unchanged(inpainting):
    images = digits()[0][400:420]
    for mask in (None, CIRCLE, np.broadcast_to(CIRCLE, images.shape)):
        region = np.broadcast_to(CIRCLE if mask is not None else central_region(), images.shape)
        told = inpainting.inpaint(images, mask)
        assert told.shape == images.shape
        assert told.dtype == np.float32
        np.testing.assert_allclose(told[~region], images[~region], rtol=1e-6, atol=1e-6)
        assert 0 <= told.min() <= told.max() <= 16
        error = np.mean(np.square(told - images)[region])
        assert error < 0.9 * np.mean(np.square(images.mean() - images)[region])
    other = np.where(region, 5.0, images)  # masked pixels are not used
    np.testing.assert_allclose(inpainting.inpaint(other, CIRCLE), told, atol=1e-4)


def central_region():
    region = np.zeros((8, 8), bool)
    region[2:6, 2:6] = True
    return region


def test_each_image_has_its_own_mask(inpainting):
    images = digits()[0][400:1000]  # several batches
    masks = np.random.default_rng(0).random(images.shape) < 0.2
    told = inpainting.inpaint(images, masks)
    np.testing.assert_allclose(told[~masks], images[~masks], rtol=1e-6, atol=1e-6)
    assert np.abs(told - images)[masks].mean() > 0.5
    np.testing.assert_allclose(inpainting.inpaint(images[-3:], masks[-3:]), told[-3:], atol=1e-3)


def test_nan_is_masked(inpainting):
    images = digits()[0][400:410]
    unknown = np.where(CIRCLE, np.nan, images)
    told = inpainting.inpaint(unknown)
    np.testing.assert_array_equal(told, inpainting.inpaint(images, CIRCLE))
    assert np.isnan(unknown[:, CIRCLE]).all()  # X is left as it was


@pytest.mark.parametrize("kind", ["float16", "tensor", "bfloat16", "arrays", "lists"])
def test_nan_may_be_in_whatever_holds_numbers(inpainting, kind):
    images = digits()[0][400:410]
    unknown = np.where(CIRCLE, np.nan, images)
    given = {
        "float16": unknown.astype("f2"),
        "tensor": torch.from_numpy(unknown),
        "bfloat16": torch.from_numpy(unknown).bfloat16(),
        "arrays": list(unknown),
        "lists": unknown.tolist(),
    }[kind]
    expected = inpainting.inpaint(images, CIRCLE)
    np.testing.assert_allclose(inpainting.inpaint(given), expected, atol=1e-5)
    many = digits()[0][:400]  # whose sum is too large for half precision
    whole = many.astype("f2") if kind == "float16" else torch.from_numpy(many).bfloat16()
    expected = inpainting.inpaint(many, central_region())
    np.testing.assert_allclose(inpainting.inpaint(whole), expected, atol=1e-5)


def test_nan_may_be_in_tables_of_flattened_images():
    images = digits()[0][:40]
    table = pd.DataFrame(images.reshape(40, -1), columns=[f"p{i}" for i in range(64)])
    model = shrunk(InpaintingTransformer, input=Images(shape=(8, 8))).fit(table)
    expected = model.inpaint(table, CIRCLE)
    unknown = table.mask(np.broadcast_to(CIRCLE.ravel(), table.shape))
    np.testing.assert_array_equal(model.inpaint(unknown), expected)
    rows = shrunk(InpaintingTransformer, input=Images(shape=(8, 8))).fit(table.to_numpy())
    np.testing.assert_array_equal(rows.inpaint(unknown.to_numpy().tolist()), expected)


def test_nan_outside_of_the_mask(inpainting):
    images = digits()[0][400:410]
    corner = np.zeros((8, 8), bool)
    corner[:3, :3] = True
    unknown = images.copy()
    unknown[3:5, CIRCLE] = np.nan
    told = inpainting.inpaint(unknown, corner)
    both = np.broadcast_to(corner, images.shape).copy()
    both[3:5] |= CIRCLE
    np.testing.assert_array_equal(told, inpainting.inpaint(images, both))


def test_infinity_is_refused(inpainting):
    images = digits()[0][400:410]
    images[4, 2, 2], images[3, 1, 1] = np.inf, np.nan
    with pytest.raises(ValueError, match=r"contains infinity. Use NaN for missing values"):
        inpainting.inpaint(images)


@pytest.mark.parametrize("axis", [1, 3])
def test_nan_lies_where_it_is_given(photos, axis):
    """Not where an array like that of fit would have them."""
    X = photos[:12].astype("f4") / 255
    model = shrunk(InpaintingTransformer).fit(X)
    unknown = X.copy()
    unknown[:, 3:20, 5:9, 1] = np.nan
    expected = model.inpaint(unknown)
    known = np.ones((32, 32), bool)
    known[3:20, 5:9] = False
    np.testing.assert_allclose(expected[:, known], X[:, known], atol=1e-6)
    assert (expected[:, ~known] != X[:, ~known]).mean() > 0.9
    told = model.inpaint(np.moveaxis(unknown, 3, axis))
    np.testing.assert_allclose(told, np.moveaxis(expected, 3, axis), atol=1e-5)


@pytest.mark.parametrize("size", [32, 24])
def test_bytes_cannot_be_nan(photos, size):
    X = photos[:12].astype("f4") / 255
    unknown = X[:, :size].copy()
    unknown[0, 3, 5, 1] = np.nan
    model = shrunk(InpaintingTransformer, input=Images(size=16)).fit(X)
    for given in (unknown, unknown.transpose(0, 3, 1, 2)):
        with pytest.raises(ValueError, match=r"contains NaN.* inpaint takes a mask"):
            model.inpaint(given)
    told = model.inpaint(X, np.eye(16, dtype=bool))
    assert (told.dtype, told.shape) == (np.uint8, (12, 16, 16, 3))
    files = shrunk(InpaintingTransformer).fit([*photos[:6], photos[6, :20]])
    with pytest.raises(ValueError, match=r"contains NaN.* inpaint takes a mask"):
        files.inpaint(unknown)


def test_the_mask_in_the_middle_is_as_large_as_in_fit():
    images = digits()[0][:40]
    model = shrunk(InpaintingTransformer).fit(images)
    expected = model.inpaint(images)
    np.testing.assert_array_equal(model.set_params(mask_ratio=0.6).inpaint(images), expected)


@pytest.mark.parametrize("layout", ["last", "first", "rows"])
def test_colors_stay_where_they_are(photos, layout):
    X = photos[:40]
    masks = np.zeros((32, 32), bool)
    masks[4:20, 9:30] = True
    settings = {"input": Images(shape=(32, 32, 3))} if layout == "rows" else {}
    given = {"last": X, "first": X.transpose(0, 3, 1, 2), "rows": X.reshape(40, -1)}[layout]
    model = shrunk(InpaintingTransformer, **settings).fit(given)
    told = model.inpaint(given, masks)
    assert told.dtype == np.uint8
    told = told.transpose(0, 2, 3, 1) if layout == "first" else told
    np.testing.assert_array_equal(told[:, ~masks], X[:, ~masks])
    assert (told[:, masks] != X[:, masks]).any(axis=-1).mean() > 0.9
    missing = np.where(masks[..., None], np.nan, X.astype("f4"))
    if layout == "last":
        model = shrunk(InpaintingTransformer).fit(X.astype("f4"))
        np.testing.assert_array_equal(model.inpaint(missing), model.inpaint(X.astype("f4"), masks))


def test_values_below_zero_stay_where_they_are():
    images = digits()[0][:60] / 8 - 1
    told = shrunk(InpaintingTransformer).fit(images).inpaint(images, CIRCLE)
    np.testing.assert_allclose(told[:, ~CIRCLE], images[:, ~CIRCLE], atol=1e-6)
    assert told.min() >= -1
    assert told.max() <= 1


def test_filled_digits_are_better_than_the_mean(inpainting):
    images = digits()[0][800:1200]
    region = images[:, 2:6, 2:6] / 16
    error = np.mean(np.square(region - digits()[0][:400].mean() / 16))
    score = inpainting.score_pretext(images)
    assert score > -10 * np.log10(error) + 1
    told = inpainting.inpaint(images)[:, 2:6, 2:6] / 16
    assert score == pytest.approx(-10 * np.log10(np.mean(np.square(told - region))), abs=1e-3)


def test_wrong_masks_are_refused(inpainting):
    images = digits()[0][:5]
    for mask in (np.ones((8, 7), bool), np.ones((4, 8, 8), bool), np.ones((8, 8))):
        with pytest.raises(ValueError, match=r"mask must be of bool and of shape \(8, 8\) or \(5"):
            inpainting.inpaint(images, mask)


@pytest.mark.parametrize("shape", [(24, 24), (24, 32), (30, 26)])
def test_default_views_are_whole_images_without_blur(shape):
    X = np.random.default_rng(0).random((8, *shape)).astype("f4")
    views = shrunk(SuperResolutionTransformer).fit(X).views_
    images = torch.from_numpy(X)[:, None]
    torch.manual_seed(0)
    [seen] = replace(views, color_jitter=0.0)(images)
    errors = [(seen - x).abs().amax(dim=(1, 2, 3)) for x in (images, images.flip(3))]
    assert torch.minimum(*errors).max() < 1e-4
    assert 0 < (errors[0] < 1e-4).sum() < 8


@pytest.mark.slow
def test_a_discriminator_sharpens():
    """Neighboring pixels in masked regions differ more, and the error is hardly larger."""
    images, differences, scores = digits()[0], [], []
    for weight in (0.0, 2.0):
        settings = {"mask": "center", "adversarial_weight": weight, "max_epochs": 12}
        model = shrunk(InpaintingTransformer, **settings).fit(images[:400])
        told = model.inpaint(images[800:1200])[:, 2:6, 2:6]
        differences.append(sum(np.abs(np.diff(told, axis=axis)).mean() for axis in (1, 2)))
        scores.append(model.score_pretext(images[800:1200]))
        assert ("discriminator_loss" in model.history_[-1]) == (weight > 0)
    assert differences[1] > 1.08 * differences[0]
    assert scores[1] > scores[0] - 0.3
    row = model.history_[-1]
    expected = row["squared_error"] + 2 * row["adversarial_loss"]
    assert row["train_loss"] == pytest.approx(expected, rel=1e-4)
    assert 0.1 < row["discriminator_loss"] < 1
