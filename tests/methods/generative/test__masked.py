"""Masked patches of images: what is masked is not seen, and what is made of it."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from common import digits, shrunk
from PIL import Image
from sklearn.datasets import load_wine
from torch import nn

import sklearn_ssl
from methods.generative.references import masked_objective
from sklearn_ssl import Images, MAETransformer, SimMIMTransformer
from sklearn_ssl.inspection import PretextDisplay
from sklearn_ssl.training.micro_batches import micro_batches
from sklearn_ssl.views import ImageViews


@pytest.fixture(scope="module")
def mae():
    return shrunk(MAETransformer, max_epochs=12).fit(digits()[0][:400])


@pytest.fixture(scope="module")
def simmim():
    return shrunk(SimMIMTransformer, max_epochs=12).fit(digits()[0][:400])


KINDS = [("mae", "small_vit"), ("simmim", "small_vit"), ("simmim", "small_convnet")]


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(("method", "backbone"), KINDS)
def test_what_is_hidden_is_not_seen(method, backbone, normalized):
    net = masked_objective(method, normalized=normalized, backbone=backbone)
    images, others = torch.rand(2, 6, 3, 32, 32)
    masks = net.masks(images)
    with torch.no_grad():
        told, features = net.predict(images, masks)
        same = net.predict(torch.where(masks, others, images), masks)
        torch.testing.assert_close(same, (told, features), rtol=0, atol=0)
        hidden = masks.expand_as(images)
        seen = net.predict(torch.where(hidden, images, others), masks)
        assert ((seen[0] - told).abs().amax(dim=(1, 2, 3)) > 1e-4).all()
        filled = net.filled(images, masks)
    torch.testing.assert_close(filled[~hidden], images[~hidden], rtol=0, atol=0)
    assert (filled[hidden] != images[hidden]).float().mean() > 0.9
    assert 0 <= filled.min() <= filled.max() <= 1


@pytest.mark.parametrize("side", [4, 8, 16])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.75])
def test_as_many_patches_are_hidden_of_each_image(side, ratio):
    net = masked_objective(side=side, ratio=ratio)
    masks = net.masks(torch.rand(400, 3, 32, 32))
    assert masks.shape == (400, 1, 32, 32)
    assert masks.dtype == torch.bool
    n = (32 // side) ** 2
    grid = masks[:, 0, ::side, ::side]
    assert torch.equal(masks[:, 0], grid.repeat_interleave(side, 1).repeat_interleave(side, 2))
    assert (grid.sum(dim=(1, 2)) == round(ratio * n)).all()
    assert len(torch.unique(grid.flatten(1), dim=0)) > 3  # each image has its own
    shares = grid.float().mean(dim=0)
    assert (shares - round(ratio * n) / n).abs().max() < 0.15  # nowhere more than elsewhere
    again = [net.masks(torch.rand(3, 3, 32, 32), torch.Generator().manual_seed(5)) for _ in "12"]
    assert torch.equal(*again)


def test_masks_follow_the_size_of_views():
    net = masked_objective()
    assert net.masks(torch.rand(2, 3, 16, 24)).shape == (2, 1, 16, 24)
    assert net([torch.rand(2, 3, 16, 24)])["loss"] > 0
    with pytest.raises(ValueError, match=r"cut into patches of 8 pixels, and .* 20 x 32"):
        net.masks(torch.rand(2, 3, 20, 32))


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("method", ["mae", "simmim"])
def test_micro_batches_take_the_visible_patches_along(method, size):
    net, images = masked_objective(method).train(), torch.rand(10, 3, 32, 32)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    found = []
    for most in (None, size):
        net.load_state_dict(state)
        net.zero_grad()
        torch.manual_seed(0)
        with micro_batches(net, most):
            loss = net([images])["loss"]
            loss.backward()
        found.append((loss, [p.grad.clone() for p in net.parameters() if p.grad is not None]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["last", "first", "rows", "gray"])
def test_reconstructions_are_laid_out_as_images_are(photos, layout):
    X = photos[:40]
    settings = {"input": Images(shape=(32, 32, 3))} if layout == "rows" else {}
    given = {
        "last": X,
        "first": X.transpose(0, 3, 1, 2),
        "rows": X.reshape(40, -1),
        "gray": X[..., 0],
    }[layout]
    model = shrunk(MAETransformer, **settings).fit(given)
    told = model.reconstruct(given, random_state=0)
    assert told.dtype == np.uint8
    assert told.shape == (X.shape if layout == "rows" else given.shape)
    told = told.transpose(0, 2, 3, 1) if layout == "first" else told
    expected = X[..., 0] if layout == "gray" else X
    same = (told == expected).reshape(40, 8, 4, 8, 4, -1).all(axis=(2, 4, 5))
    assert (same.sum(axis=(1, 2)) >= 16).all()
    assert same.mean() < 0.3
    assert len(np.unique(same, axis=0)) == 40
    as_floats = shrunk(MAETransformer, **settings).fit(given.astype("f4"))
    floats = as_floats.reconstruct(torch.from_numpy(given.astype("f4")), random_state=0)
    assert floats.dtype == np.float32
    assert 0 <= floats.min() <= floats.max() <= 255


def test_reconstructions_follow_the_random_state(mae):
    images = digits()[0][400:700]  # several batches
    told = mae.reconstruct(images, random_state=3)
    np.testing.assert_array_equal(mae.reconstruct(images, random_state=3), told)
    rng = np.random.RandomState(3)
    np.testing.assert_array_equal(mae.reconstruct(images, random_state=rng), told)
    assert (mae.reconstruct(images, random_state=rng) != told).mean() > 0.1
    assert (mae.reconstruct(images) != told).mean() > 0.1
    kept = np.isclose(told, images, atol=1e-5).reshape(300, 4, 2, 4, 2).all(axis=(2, 4))
    assert (kept.sum(axis=(1, 2)) >= 8).all()  # of 16 patches
    assert kept.mean() < 0.8  # some are black, and told so


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "simmim"])
def test_what_was_hidden_is_told(name, request):
    model, images = request.getfixturevalue(name), digits()[0][400:700]
    plain = model.reconstruct(images, random_state=3)
    told, mask = model.reconstruct(images, random_state=3, return_mask=True)
    np.testing.assert_array_equal(told, plain)
    assert (mask.dtype, mask.shape) == (bool, images.shape)
    np.testing.assert_allclose(told[~mask], images[~mask], atol=1e-4)
    assert not np.isclose(told[mask], images[mask], atol=1e-4).mean() > 0.6  # black as they were
    np.testing.assert_array_equal(mask.mean(axis=(1, 2)), 0.5 if name == "mae" else 0.625)
    for ratio, share in ((0.25, 0.25), (0.9, 0.875)):
        told, mask = model.reconstruct(images, 3, mask_ratio=ratio, return_mask=True)
        np.testing.assert_array_equal(mask.mean(axis=(1, 2)), share)
        net = copy.copy(model.objective_)
        net.mask_ratio = ratio
        batch = torch.from_numpy(images).float()[:, None] / 16
        with torch.no_grad():  # all patches that are not hidden are seen
            expected = net.filled(batch, torch.from_numpy(mask)[:, None])[:, 0]
        np.testing.assert_allclose(told, 16 * expected, atol=1e-3)
        np.testing.assert_allclose(told[~mask], images[~mask], atol=1e-4)
    for ratio in (0, 1, 2.0, "auto"):
        with pytest.raises(ValueError, match=r"mask_ratio must be None or in \(0, 1\). Got"):
            model.reconstruct(images, mask_ratio=ratio)


def hidden_pixels(model, images):
    """What is hidden in score_pretext, and what is put there, by hand."""
    batch = torch.from_numpy(images).float()[:, None] / 16
    draw, net = torch.Generator().manual_seed(model._seed), model.objective_
    with torch.no_grad():
        masks = net.masks(batch, draw)
        told = net.filled(batch, masks)
    return batch, masks, told


@pytest.mark.parametrize("name", ["mae", "simmim"])
@pytest.mark.slow
def test_hidden_patches_of_digits_are_better_than_the_mean(name, request):
    """Of images that were not trained on; the mean color is what knows nothing of the others."""
    model, images = request.getfixturevalue(name), digits()[0][800:1200]
    score = model.score_pretext(images)
    assert score == model.score_pretext(images)
    batch, masks, told = hidden_pixels(model, images)
    error = (told - batch).square()[masks].mean()
    assert score == pytest.approx(-10 * math.log10(error), abs=1e-3)
    mean = (model.objective_.encoder.mean - batch).square()[masks].mean()
    assert score > -10 * math.log10(mean) + 1


def test_unreadable_files_have_no_images(photos, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"no image")
    model = shrunk(MAETransformer, input=Images(on_error="skip")).fit(paths)
    made = model.reconstruct(paths, random_state=0)
    assert made.shape == (12, 32, 32, 3)
    assert (made[3] == -1).all()
    assert np.isfinite(model.score_pretext(paths))
    _, mask = model.reconstruct(paths, random_state=0, return_mask=True)
    readable = np.delete(np.arange(12), 3)
    pixels = np.stack([np.asarray(Image.open(paths[i])) for i in readable])
    np.testing.assert_array_equal(made[readable][~mask[readable]], pixels[~mask[readable]])
    net, batch = model.objective_, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    masks = net.masks(torch.zeros(12, 3, 32, 32), torch.Generator().manual_seed(model._seed))
    with torch.no_grad():
        errors = (net.filled(batch, masks[readable]) - batch).square().mean(dim=1)
    error = errors[masks[readable, 0]].mean()
    assert model.score_pretext(paths) == pytest.approx(-10 * math.log10(error), abs=1e-3)
    with pytest.warns(UserWarning, match="could not be read") as warned:
        model.set_params(input__on_error="warn").score_pretext(paths)
    assert len(warned) == 1


def test_reconstructions_are_the_same_after_saving(mae, tmp_path):
    images = digits()[0][:60]
    mae.save(tmp_path / "model.safetensors")
    made = mae.reconstruct(images, random_state=0)
    for model in (
        sklearn_ssl.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(mae)),
    ):
        np.testing.assert_array_equal(model.reconstruct(images, random_state=0), made)


@pytest.mark.parametrize("method", [MAETransformer, SimMIMTransformer])
def test_pictures_show_masked_filled_and_original_image(photos, method):
    model = shrunk(method).fit(photos[:40])
    display = PretextDisplay.from_estimator(model, photos[40:], n_samples=3, random_state=0)
    hidden = (display.inputs != display.images).any(axis=3)
    assert hidden.mean() == pytest.approx(0.75 if method is MAETransformer else 0.625, abs=0.05)
    np.testing.assert_array_equal(display.outputs[~hidden], display.images[~hidden])
    assert (display.outputs[hidden] != display.inputs[hidden]).any(axis=1).mean() > 0.9


@pytest.mark.slow
def test_the_embedding_is_the_mean_over_tokens(tmp_path):
    images = digits()[0][:20]
    settings = {"flip_tta": False, "backbone": "small_vit"}
    for method in (MAETransformer, SimMIMTransformer):
        model = shrunk(method, **settings).fit(images)
        encoder = model.objective_.encoder
        scaled = torch.from_numpy(images).float()[:, None] / 16
        with torch.no_grad():
            tokens = encoder.backbone.features((scaled - encoder.mean) / encoder.std).tokens
        assert tokens.shape == (20, 17, 128)
        np.testing.assert_allclose(model.transform(images), tokens.mean(dim=1), atol=1e-5)
        read = shrunk(method, layer="heads", **settings).fit(images)
        np.testing.assert_allclose(read.transform(images), tokens[:, 0], atol=1e-5)
        model.save(tmp_path / "model.safetensors")
        loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(loaded.transform(images), model.transform(images))


def refused(method, X, message, **settings):
    with pytest.raises(ValueError, match=message):
        shrunk(method, **settings).fit(X)


def test_patches_that_do_not_fit_are_refused(photos):
    X, mae = photos[:20], MAETransformer
    message = r"patch_size=5 does not cut images of 32 x 32 pixels into patches\. .* is 4\."
    refused(SimMIMTransformer, X, message, patch_size=5)
    message = r"patch_size=2 .* patches of whole patches of the network, of 4 pix.* is 4\."
    refused(mae, X, message, patch_size=2)
    refused(mae, X, "patch_size=33 .* is 32", patch_size=33)
    refused(mae, X, "mask_ratio=0.5 masks 0 of the 1 patches.*ble. Set a smaller", patch_size=32)
    refused(mae, X, "mask_ratio=0.001 masks 0 of the 64 .* Give 0.0156 to 0.984", mask_ratio=0.001)
    refused(mae, X, "mask_ratio=0.999 masks 64 of the 64 patches", mask_ratio=0.999)
    for ratio in (0, 1, 1.5):
        refused(mae, X, "'mask_ratio' parameter of MAETransformer", mask_ratio=ratio)
    tiny = np.random.default_rng(0).random((10, 13, 13))
    message = "more than one value. Set norm_pix_loss=False"
    refused(mae, tiny, message, backbone="small_vit", norm_pix_loss=True)
    for size, side in ((0.4375, 14), (0.25, 8)):  # of patches of 8 pixels the latter is one
        views = ImageViews(size=size, n_views=1)
        message = f"view recipe gave views of {side} x {side}"
        refused(SimMIMTransformer, X, message, views=views)


@pytest.mark.parametrize("method", [MAETransformer, SimMIMTransformer])
def test_tabular_data_is_refused(method):
    name = method.__name__
    refused(
        method, load_wine().data, f"{name} needs images, X holds tabular data .* or VIMETransformer"
    )
    for backbone in ("mlp", "small_vit"):
        refused(method, load_wine().data, "or VIMETransformer", backbone=backbone)


def test_who_guesses_has_the_loss_of_chance():
    torch.manual_seed(0)
    noise = 0.5 + 0.2 * torch.randn(50, 3, 32, 32).sign()
    for method in ("mae", "simmim"):
        for normalized in (True, False):
            net = masked_objective(method, normalized=normalized)
            for parameter in net.decode.parameters():
                nn.init.zeros_(parameter)
            expected = net.chance_loss(50)
            loss = net([noise])["loss"].item()
            # Absolute errors vary about their mean, so their bound is not reached.
            least = 0.97 if normalized and method == "simmim" else 0.999
            assert least * expected < loss < expected + 1e-5, (method, normalized)
