"""Tiles: how they are cut, moved and normalized, and which shortcuts they close."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from common import digits, shrunk
from sklearn.exceptions import ConvergenceWarning

from sklearn_ssl import JigsawTransformer, RelativePatchTransformer
from sklearn_ssl.views import Tiles
from sklearn_ssl.views.tiles import TileCutter, rearranged

BOTH = pytest.mark.parametrize("method", [JigsawTransformer, RelativePatchTransformer])


def cut(images, *, sides, centered=False, **settings):
    """Cut tiles that are not standardized unless the settings say so."""
    settings = {"gap": 0.0, "jitter": 0.0, "standardize": False} | settings
    cutter, (n, *shape) = TileCutter(Tiles(**settings), sides), images.shape
    return cutter.apply(images, cutter.draw(n, shape, device="cpu", centered=centered))


def test_tiles_are_centered_in_their_cells():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 24)
    for centered in (False, True):
        tiles = cut(images, grid=2, sides=(6, 9), gap=0.25, centered=centered)
        assert tiles.shape == (2, 4, 3, 6, 9)
        for i, tile in enumerate(tiles.unbind(1)):
            y, x = 1 + i // 2 * 8, 1 + i % 2 * 12  # and columns begin half a pixel later
            expected = images[:, :, y : y + 6, x : x + 10]
            expected = (expected[..., :-1] + expected[..., 1:]) / 2
            torch.testing.assert_close(tile[..., 1:-1], expected[..., 1:-1])
    whole = cut(images, grid=2, sides=(8, 12))
    torch.testing.assert_close(whole[:, 3], images[:, :, 8:, 12:])
    torch.testing.assert_close(whole[:, 1], images[:, :, :8, 12:])


def test_tiles_are_resized():
    ramp = torch.arange(12.0).expand(1, 1, 12, 12)
    larger = cut(ramp, grid=2, sides=(12, 12))[0, 1, 0]
    torch.testing.assert_close(larger[0, 1:-1], 6 + (torch.arange(1.0, 11) + 0.5) / 2 - 0.5)
    smaller = cut(ramp, grid=2, sides=(3, 3), centered=True)[0, 0, 0]
    assert (smaller[0].diff() > 1.5).all()


@pytest.mark.parametrize("side", [9, 16, 32])
def test_tiles_of_neighbors_have_no_pixel_in_common(side):
    """Each has its own random place, within its cell, and a gap of a pixel at least."""
    torch.manual_seed(0)
    columns = torch.arange(float(side)).expand(200, 1, side, side)  # of each pixel, its number
    for images, beside in (columns, 1), (columns.mT, 2):
        tiles = cut(images, grid=2, sides=(side, side), gap=0.1, jitter=0.2)
        assert tiles[:, 0].max() + 1 <= tiles[:, beside].min()
        assert tiles[:, 0].min() >= 0
        assert tiles[:, beside].max() <= side - 1
        means = tiles.mean(dim=(2, 3, 4))
        assert len(torch.unique(means[:, 0])) > 100
        assert 0.15 * side / 2 < means[:, 0].max() - means[:, 0].min() <= 0.2 * side / 2 + 0.5
        assert (means[:, 0] - means[:, 3] + side / 2).abs().max() > 0.05 * side
    fixed = cut(columns, grid=2, sides=(side, side), gap=0.1, jitter=0.2, centered=True)
    assert (fixed == fixed[:1]).all()


def test_standardized_tiles_have_brightness_and_contrast_of_the_image():
    torch.manual_seed(0)
    images = torch.rand(3, 2, 16, 16) * torch.tensor([1.0, 0.5])[:, None, None] + 0.3
    images[:, :, 8:] = images[:, :, 8:] / 2 + 0.5
    tiles = cut(images, grid=2, sides=(8, 8), standardize=True)
    plain = cut(images, grid=2, sides=(8, 8))
    for moment, tolerance in (torch.mean, 1e-5), (torch.std, 1e-2):
        expected = moment(images, dim=(2, 3))[:, None].expand(3, 4, 2)
        torch.testing.assert_close(moment(tiles, dim=(3, 4)), expected, rtol=tolerance, atol=0)
        assert (moment(plain, dim=(3, 4)) - expected).abs().mean() > 0.02
    for tile, other in zip(tiles.flatten(0, 2), plain.flatten(0, 2), strict=True):
        assert torch.corrcoef(torch.stack([tile.flatten(), other.flatten()]))[0, 1] > 0.9999
    flat = images.clone()
    flat[:, :, :8, :8] = 0.7
    assert cut(flat, grid=2, sides=(8, 8), standardize=True)[:, 0].std(dim=(2, 3)).max() < 1e-3


def test_one_channel_replaces_dropped_colors():
    """It is random, and in predictions green."""
    torch.manual_seed(0)
    images, cutter = torch.rand(50, 3, 12, 12), TileCutter(Tiles(3, standardize=False), (4, 4))
    settings = {"device": "cpu", "drop_colors": True}
    drawn = cutter.draw(50, (3, 12, 12), **settings)
    tiles = cutter.apply(images, replace(drawn, channels=None))
    gray = cutter.apply(images, drawn)
    assert (gray == gray[:, :, :1]).all()
    left = (tiles == gray).all(dim=(3, 4))
    assert (left.sum(dim=2) == 1).all()
    assert (left.float().mean(dim=(0, 1)) > 0.25).all()
    assert (left[:, 0] != left[:, 1]).any()
    drawn = cutter.draw(50, (3, 12, 12), centered=True, **settings)
    tiles = cutter.apply(images, replace(drawn, channels=None))
    assert (cutter.apply(images, drawn) == tiles[:, :, 1:2]).all()
    gray = cutter.draw(50, (1, 12, 12), **settings)
    assert gray.channels is None


@pytest.mark.parametrize(("grid", "sides"), [(2, (4, 6)), (3, (9, 9)), (3, (11, 10))])
def test_cells_are_moved_and_moved_back(grid, sides):
    images = torch.arange(2.0 * math.prod(sides)).reshape(2, 1, *sides)
    rng = np.random.default_rng(0)
    order = torch.from_numpy(np.stack([rng.permutation(grid**2) for _ in images]))
    moved = rearranged(images, grid, order)
    height, width = (side // grid for side in sides)

    def cell(image, i):
        y, x = i // grid * height, i % grid * width
        return image[0, y : y + height, x : x + width]

    for image, source, numbers in zip(moved, images, order, strict=True):
        for place, number in enumerate(numbers):
            assert torch.equal(cell(image, place), cell(source, number))
    rest = torch.ones(sides, dtype=bool)
    rest[: grid * height, : grid * width] = False
    assert torch.equal(moved[:, :, rest], images[:, :, rest])
    assert torch.equal(rearranged(moved, grid, order.argsort(dim=1)), images)
    filled = rearranged(images, grid, order.where(order > 0, -1), fill=-5.0)
    empty = rearranged((filled == -5).float(), grid, order.argsort(dim=1))
    for image in empty:
        assert cell(image, 0).all()
        assert image.sum() == height * width


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 4}, r'grid must be 2, 3 or "auto"\. Got 4 instead'),
        ({"gap": 1}, r"gap must be in \[0, 1\)\. Got 1 instead"),
        ({"jitter": "auto"}, r"jitter must be in \[0, 1\)\. Got 'auto' instead"),
        ({"gap": 0.5, "jitter": 0.5}, r"gap=0\.5 and jitter=0\.5 leave nothing of a tile"),
        ({"standardize": "yes"}, r"standardize must be a bool\. Got 'yes' instead"),
    ],
)
def test_invalid_tiles_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Tiles(**settings)
    with pytest.raises(TypeError, match="Did you mean 'gap'"):
        Tiles(gaps=0.1)


@BOTH
def test_searches_go_over_parameters_of_tiles(method):
    model = method(tiles=Tiles(gap=0.25)).set_params(tiles__jitter=0.5)
    assert model.tiles == Tiles(gap=0.25, jitter=0.5)
    assert model.get_params()["tiles__gap"] == 0.25
    with pytest.raises(ValueError, match=r"Set tiles=Tiles\(\.\.\.\) first"):
        method().set_params(tiles__gap=0.25)
    with pytest.raises(ValueError, match="The 'tiles' parameter of "):
        method(tiles=3).fit(digits()[0][:20])


@pytest.mark.exhaustive
def test_larger_images_have_more_tiles(photos):
    assert shrunk(JigsawTransformer).fit(photos[:20]).permutations_.shape == (24, 4)
    X = np.random.default_rng(0).random((6, 48, 50))
    model = shrunk(JigsawTransformer).fit(X)
    assert model.permutations_.shape == (100, 9)
    assert model.permutations_.dtype == np.int64
    again = shrunk(JigsawTransformer, n_permutations=7).fit(X)
    assert again.permutations_.shape == (7, 9)
    assert not np.array_equal(
        again.permutations_,
        shrunk(JigsawTransformer, n_permutations=7, random_state=1).fit(X).permutations_,
    )
    shuffled = model.shuffle(X, np.arange(6))
    np.testing.assert_allclose(shuffled[:, :, 48:], X[:, :, 48:], rtol=1e-6)
    # As the cells are those that users can move, what remains is not looked at.
    correct = [model.predict_pretext(model.shuffle(X, k)) == k for k in range(100)]
    assert model.score_pretext(X) == pytest.approx(np.mean(correct), abs=2e-3)
    assert 0 < np.mean(correct) < 0.2


@BOTH
def test_tiles_of_small_images_are_enlarged(photos, method):
    assert shrunk(method).fit(photos[:20]).objective_.tiles.sides == (16, 16)
    assert shrunk(method).fit(digits()[0][:20]).objective_.tiles.sides == (8, 8)
    assert Tiles().over((64, 96), 3).sides == (16, 24)


@BOTH
def test_images_too_small_for_tiles_are_refused(method):
    X = np.random.default_rng(0).random((10, 40, 12, 1))
    least = 4 if method is JigsawTransformer else 6
    message = rf"40 x {least - 1} pixels .* the shorter side needs at least {least} pixels"
    with pytest.raises(ValueError, match=message):
        shrunk(method).fit(X[:, :, : least - 1])
    assert shrunk(method).fit(X[:, :, :least]).transform(X[:, :, :least]).shape[0] == 10
    with pytest.raises(ValueError, match=r"at least \d\d pixels"):
        shrunk(method, tiles=Tiles(gap=0.5, jitter=0.45)).fit(X)


@BOTH
def test_backbones_that_cannot_take_tiles(photos, method):
    def rigid(shape):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8))

    with pytest.raises(ValueError, match=r"shape \(3, 16, 16\).*such as the tiles of its images"):
        shrunk(method, backbone=rigid).fit(photos[:20])


def score_of(method, make, max_epochs, **settings):
    """Accuracy on noise of a method that has seen other noise, new at every step."""
    torch.manual_seed(0)
    train, test = ((255 * make(n)).byte().permute(0, 2, 3, 1).numpy() for n in (320, 300))
    settings = {"batch_size": 64, "random_state": 0, "max_epochs": max_epochs} | settings
    return method(views=lambda batch: [make(len(batch))], **settings).fit(train).score_pretext(test)


def bands(n, grid=2):
    """Noise in which a band along each edge of a cell has a value of its own, on both sides."""
    side = 8 * grid
    images = 0.3 * torch.randn(n, 1, side, side)
    for edge in range(grid + 1):
        band = slice(max(0, 8 * edge - 2), 8 * edge + 2)
        images[:, :, band] += torch.randn(n, 1, 1, grid).repeat_interleave(8, 3)
        images[:, :, :, band] += torch.randn(n, 1, grid, 1).repeat_interleave(8, 2)
    return (0.5 + 0.15 * images).clamp(0, 1)


def ramp(n, grid=2):
    """Noise that is brighter at the bottom and at the right."""
    side = 5 * grid
    y, x = torch.arange(side)[:, None] / side, torch.arange(side) / side
    return (0.2 + 0.2 * y + 0.4 * x + 0.1 * torch.randn(n, 1, side, side)).clamp(0, 1)


def aberration(n):
    """Noise whose red channel is a larger copy of the green one."""
    noise, place = torch.rand(n, 17, 17), torch.arange(15)
    larger = place + 1 - (place // 5 - 1)  # a pixel farther outwards, but in the middle
    red, green = noise[:, larger[:, None], larger], noise[:, 1:16, 1:16]
    return torch.stack([red, green, torch.rand(n, 15, 15)], dim=1)


@pytest.mark.filterwarnings("ignore:The loss is near chance level")  # soon enough, of orders
@pytest.mark.parametrize(
    ("method", "grid", "epochs", "chance"),
    [
        pytest.param(JigsawTransformer, 2, 60, 1 / 24, marks=pytest.mark.exhaustive),
        pytest.param(RelativePatchTransformer, 3, 20, 1 / 8, marks=pytest.mark.exhaustive),
    ],
)
def test_continuing_edges_reveal_positions_without_a_gap(method, grid, epochs, chance):
    make = functools.partial(bands, grid=grid)
    assert score_of(method, make, epochs, tiles=Tiles(gap=0.0, jitter=0.0)) > 2 * chance
    with pytest.warns(ConvergenceWarning, match="The loss is near chance level"):
        assert score_of(method, make, epochs, tiles=Tiles(gap=0.5, jitter=0.0)) < 1.3 * chance


@pytest.mark.exhaustive
@BOTH
def test_brightness_reveals_positions_unless_tiles_are_standardized(method):
    make = functools.partial(ramp, grid=2 if method is JigsawTransformer else 3)
    chance = 1 / 24 if method is JigsawTransformer else 1 / 8
    assert score_of(method, make, 15, tiles=Tiles(standardize=False)) > 3 * chance
    assert score_of(method, make, 15) < 1.3 * chance


@pytest.mark.exhaustive
def test_chromatic_aberration_reveals_positions_unless_colors_are_dropped():
    assert score_of(RelativePatchTransformer, aberration, 15, drop_colors=False) > 0.25
    assert score_of(RelativePatchTransformer, aberration, 15) < 0.16
