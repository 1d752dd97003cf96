"""Super-resolution: its loss beside a slow reference, its views, and what it returns."""

import numpy as np
import pytest
import torch
from common import digits, shrunk
from torch import nn

from methods.generative.references import dense, pictures
from sklearn_ssl import SuperResolutionTransformer
from sklearn_ssl.methods.generative.super_resolution import SuperResolutionObjective
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.views import ImageViews


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_super_resolution(scale):
    objective = dense(SuperResolutionObjective, scale)
    objective.decode.last.weight.data.normal_(std=0.05)
    images, errors, chances = pictures(), [], []
    found = objective([images])
    for image in images:
        small = image.unflatten(2, (-1, scale)).unflatten(1, (-1, scale)).mean(dim=(2, 4))[None]
        plain = nn.functional.interpolate(small, (8, 8), mode="bicubic", align_corners=False)
        maps = objective.encoder.features(plain).map
        told = plain + objective.decode(maps, (8, 8))
        errors.append((told[0] - image).square().mean())
        chances.append((plain[0] - image).square().mean())
    expected = sum(errors) / sum(chances)
    torch.testing.assert_close(found["loss"], expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (found["loss"], expected))
    torch.testing.assert_close(ours, theirs)


def test_super_resolution_begins_with_interpolation():
    encoder = make_encoder("small_convnet", (2, 8, 8), [0.4, 0.6], [0.2, 0.3])
    objective = SuperResolutionObjective(encoder, 2).double().eval()
    assert objective([pictures()])["loss"].item() == objective.chance_loss(3) == 1


@pytest.fixture(scope="module")
def enlarging():
    return shrunk(SuperResolutionTransformer, max_epochs=12).fit(digits()[0][:400])


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_images_are_enlarged(photos, scale):
    model = shrunk(SuperResolutionTransformer, scale=scale).fit(photos[:40])
    assert 10 < model.score_pretext(photos[40:60]) < 40
    told = model.upscale(photos[:5])
    assert told.shape == (5, 32 * scale, 32 * scale, 3)
    assert told.dtype == np.uint8
    smaller = told.reshape(5, 32, scale, 32, scale, 3).mean(axis=(2, 4))
    assert np.abs(smaller - photos[:5]).mean() < 10


@pytest.mark.slow
def test_enlarged_digits_are_better_than_interpolated_ones(enlarging):
    """Of images that were not trained on, made smaller and enlarged again."""
    images = digits()[0][800:1200]
    small = images.reshape(400, 4, 2, 4, 2).mean(axis=(2, 4))
    plain = nn.functional.interpolate(
        torch.from_numpy(small)[:, None] / 16, (8, 8), mode="bicubic", align_corners=False
    )
    error = np.mean(np.square(plain[:, 0].clamp(0, 1).numpy() - images / 16))
    assert enlarging.score_pretext(images) > -10 * np.log10(error) + 1


def test_sides_that_the_scale_does_not_divide_are_refused():
    X = np.random.default_rng(0).random((10, 10, 14))
    message = r"scale=4 does not divide images of 10 x 14 .* 8 x 12, or set input=Images\(size=8"
    with pytest.raises(ValueError, match=message):
        SuperResolutionTransformer(scale=4).fit(X)
    assert shrunk(SuperResolutionTransformer).fit(X).upscale(X).shape == (10, 20, 28)


def test_views_that_the_scale_does_not_divide_are_refused():
    X = np.random.default_rng(0).random((10, 12, 16))
    model = shrunk(SuperResolutionTransformer, scale=4, views=ImageViews(size=0.5, n_views=1))
    with pytest.raises(
        ValueError, match=r"scale=4 does not divide views of 6 x 8 .*view recipe gives"
    ):
        model.fit(X)


def test_enlarged_images_are_made_in_smaller_batches(monkeypatch):
    X = np.random.default_rng(0).random((700, 8, 8)).astype("f4")
    sizes = {}
    for scale in (2, 4):
        model, seen = shrunk(SuperResolutionTransformer, scale=scale).fit(X[:20]), []
        upscaled = model.objective_.upscale
        monkeypatch.setattr(
            model.objective_, "upscale", lambda x, f=upscaled, s=seen: s.append(len(x)) or f(x)
        )
        assert model.upscale(X).shape == (700, 8 * scale, 8 * scale)
        assert sum(seen) == 700
        sizes[scale] = max(seen)
    assert sizes == {2: 128, 4: 32}
