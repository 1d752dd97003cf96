"""Rotation: its loss beside a slow reference, its views, and what it returns."""

import math

import numpy as np
import pytest
import torch
from common import digits, shrunk
from torch import nn

from sklearn_ssl import (
    RotationTransformer,
)
from sklearn_ssl.methods.predictive.rotation import TRANSFORMATIONS, RotationObjective


class FirstPixels(nn.Module):
    """The corners of an image, by which a rotation can be told."""

    def forward(self, images):
        return images[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]


def test_rotation():
    torch.manual_seed(0)
    objective = RotationObjective(FirstPixels(), 4, "rotations").double()
    images = torch.rand(3, 1, 4, 6, dtype=torch.float64)
    middle = images[:, :, :, 1:5].numpy()
    loss = objective([images])["loss"]
    losses = []
    for turns in range(4):
        for image in middle:
            turned = torch.from_numpy(np.rot90(image, turns, (1, 2)).copy())[None]
            scores = objective.classify(objective.encoder(turned))[0]
            losses.append(-torch.log(torch.exp(scores[turns]) / torch.exp(scores).sum()))
    expected = sum(losses) / len(losses)
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_rotation_of_equal_scores_is_at_chance():
    for name, transformations in TRANSFORMATIONS.items():
        objective = RotationObjective(FirstPixels(), 4, name)
        nn.init.zeros_(objective.classify.weight), nn.init.zeros_(objective.classify.bias)
        loss = objective([torch.rand(2, 1, 4, 4)] * 2)["loss"]
        assert loss.item() == pytest.approx(math.log(len(transformations)))


def test_rotation_moves_pixels_and_mixes_none():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    for name, transformations in TRANSFORMATIONS.items():
        copies = RotationObjective(FirstPixels(), 4, name).transformed(image)
        assert len(copies) == len(transformations)
        assert len(torch.unique(copies.flatten(1), dim=0)) == len(copies)  # all different
        torch.testing.assert_close(
            copies.flatten(1).sort().values, image.view(1, 16).expand(len(copies), 16)
        )
        torch.testing.assert_close(copies[:1], image)


def test_rotation_passes_all_copies_in_one_batch():
    seen = []

    class Spy(FirstPixels):
        def forward(self, images):
            seen.append(len(images))
            return super().forward(images)

    RotationObjective(Spy(), 4, "rotations")([torch.rand(5, 1, 4, 4)])
    assert seen == [20]


@pytest.mark.slow
def test_rotation_predicts_what_was_done():
    """Digits are told apart from those upside down, also digits that fit has not seen."""
    images = digits()[0]
    model = RotationTransformer(max_epochs=6, random_state=0).fit(images[:1000])
    unseen = images[1000:1400]
    assert model.score_pretext(unseen) > 0.6
    for turns in range(4):
        predicted = model.predict_pretext(np.rot90(unseen, turns, (1, 2)))
        assert predicted.shape == (400,)
        assert np.mean(predicted == turns) > 0.4
    told = [model.predict_pretext(np.rot90(unseen, t, (1, 2))) == t for t in range(4)]
    assert model.score_pretext(unseen) == pytest.approx(np.mean(told))
    untrained = RotationTransformer(max_epochs=1, lr=1e-12, random_state=0).fit(images[:1000])
    assert abs(untrained.score_pretext(unseen) - 0.25) < 0.1


@pytest.mark.parametrize(
    ("transformations", "n"), [("rotations", 4), ("half_turn", 2), ("rotations_and_flips", 8)]
)
def test_rotation_sets(photos, transformations, n):
    model = shrunk(RotationTransformer, transformations=transformations, lr=1e-12)
    model.fit(photos[:60])
    assert model.loss_curve_[0] == pytest.approx(np.log(n), rel=0.3)
    assert 0 <= model.predict_pretext(photos).min() <= model.predict_pretext(photos).max() < n
    assert model.views_.hflip == (0.0 if n == 8 else 0.5)  # a flip would be a wrong label


def test_rotation_of_images_that_are_not_square(photos):
    wide = photos[:60, :20]
    model = shrunk(RotationTransformer).fit(wide)
    (view,) = model.views_(torch.rand(2, 3, 20, 32))
    assert view.shape == (2, 3, 20, 20)
    assert model.transform(wide).shape == (60, 256)
    np.testing.assert_array_equal(model.predict_pretext(wide), _classes(model, wide[:, :, 6:26]))
    assert 0 <= model.score_pretext(wide) <= 1


def _classes(model, images):
    batch = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        scores = model.objective_.classify(model.objective_.encoder(batch))
    return scores.argmax(dim=1).numpy()
