"""Relative patch: its loss beside a slow reference, its views, and what it returns."""

import numpy as np
import pytest
import torch
from common import digits, shrunk

from methods.predictive.references import check_gradients, slow_tile, tiles_of
from sklearn_ssl import RelativePatchTransformer
from sklearn_ssl.methods.predictive.relative_patch import RelativePatchObjective, pairs
from sklearn_ssl.views import Tiles


def test_relative_patch():
    encoder, tiles = tiles_of(3)
    objective = RelativePatchObjective(encoder, 128, tiles, True, 5, 6).double().eval()
    views = list(torch.rand(2, 3, 1, 12, 12, dtype=torch.float64))
    loss, losses = objective(views)["loss"], []
    # Where the second patch lies, seen from the first: rows below, columns to the right.
    places = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    for image in torch.cat(views):
        for row, column in places:
            there, here = (
                slow_tile(image, 1 + y, 1 + x, 4, encoder) for y, x in ((row, column), (0, 0))
            )
            for first, second, seen in (
                (here, there, (row, column)),
                (there, here, (-row, -column)),
            ):
                both = torch.cat([objective.project(x).clamp(min=0) for x in (first, second)])
                scores, label = objective.classify(both[None])[0], places.index(seen)
                losses.append(-torch.log(torch.exp(scores[label]) / torch.exp(scores).sum()))
    check_gradients(objective, loss, sum(losses) / len(losses))


def test_other_grids_are_refused():
    images = digits()[0][:20]
    shrunk(RelativePatchTransformer, tiles=Tiles(grid=3)).fit(images)
    with pytest.raises(ValueError, match=r"needs grid=3\. Got tiles=Tiles\(grid=2"):
        shrunk(RelativePatchTransformer, tiles=Tiles(grid=2)).fit(images)


@pytest.mark.exhaustive
def test_positions_of_patches_of_digits_are_predicted():
    """Of digits that were in no training, in both orders of a pair; who guesses has 1 / 8."""
    images, settings = digits()[0], {"patch_dim": 64, "hidden_dim": 256}
    model = shrunk(RelativePatchTransformer, max_epochs=8, **settings).fit(images[:800])
    told = model.predict_pretext(images[1000:1400])
    assert told.shape == (400, 8)
    score = model.score_pretext(images[1000:1400])
    assert score == np.mean(told == np.arange(8))
    assert score > 0.25

    def told_swapped(objective, samples):
        _, swapped = pairs(objective.encode(samples)[1])
        return objective.classify(swapped.flatten(0, 1)).argmax(dim=1).unflatten(0, (-1, 8))

    swapped = model._map(images[1000:1400], "objective_", told_swapped)
    assert np.mean(swapped == 7 - np.arange(8)) == pytest.approx(score, abs=0.1)


def test_pictures_show_patches_at_predicted_positions(photos):
    images = torch.from_numpy(photos[:20]).permute(0, 3, 1, 2) / 255
    net = shrunk(RelativePatchTransformer).fit(photos[:20]).objective_
    places, mean = torch.arange(8).expand(20, -1), net.encoder.mean

    def cells(images):  # (n, 9, c, 10, 10); two lines remain
        return (
            images[:, :, :30, :30]
            .unfold(2, 10, 10)
            .unfold(3, 10, 10)
            .flatten(2, 3)
            .mT.swapaxes(1, 2)
        )

    net.predict = lambda images: places
    seen, made = net.pictures(images)
    torch.testing.assert_close(made, images)
    torch.testing.assert_close(seen[:, :, 10:20, 10:20], images[:, :, 10:20, 10:20])
    moved = (cells(seen) != cells(images)).flatten(2).any(dim=2)
    assert 6 < moved.sum(dim=1).float().mean() < 8
    torch.testing.assert_close(*(cells(x).sum(dim=1) for x in (seen, images)))
    net.predict = lambda images: 0 * places + 6  # all to the place below the middle
    _, made = net.pictures(images)
    torch.testing.assert_close(cells(made)[:, 4], cells(images)[:, 4])
    assert all(
        (cells(made)[i, 7] == cells(images)[i]).flatten(1).all(dim=1).any() for i in range(20)
    )
    for place in (0, 1, 2, 3, 5, 6, 8):
        torch.testing.assert_close(cells(made)[:, place], mean.expand(20, 3, 10, 10))
    torch.testing.assert_close(made[:, :, 30:], images[:, :, 30:])
