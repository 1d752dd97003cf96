"""Methods that learn from tiles: how tiles are cut, puzzles solved, and shortcuts closed."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from common import digits, shrunk
from PIL import Image
from sklearn.exceptions import ConvergenceWarning

import sklearn_ssl
from sklearn_ssl import JigsawTransformer, RelativePatchTransformer
from sklearn_ssl.methods.predictive.jigsaw import far_permutations
from sklearn_ssl.methods.predictive.relative_patch import pairs
from sklearn_ssl.views.tiles import Tiles, rearranged

BOTH = pytest.mark.parametrize("method", [JigsawTransformer, RelativePatchTransformer])


@pytest.fixture(scope="module")
def jigsaw():
    return shrunk(JigsawTransformer, max_epochs=8, tile_dim=64, hidden_dim=256).fit(
        digits()[0][:800]
    )


def cut(images, *, middle=False, **settings):
    """Cut tiles that are not standardised unless the settings say so."""
    settings = {"gap": 0.0, "jitter": 0.0, "standardize": False} | settings
    return Tiles(**settings)(images, middle)


def test_tiles_lie_in_the_middle_of_their_cells():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 24)
    for middle in (False, True):
        tiles = cut(images, grid=2, sides=(6, 9), gap=0.25, middle=middle)
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
    smaller = cut(ramp, grid=2, sides=(3, 3), middle=True)[0, 0, 0]
    assert (smaller[0].diff() > 1.5).all()


@pytest.mark.parametrize("side", [9, 16, 32])
def test_tiles_of_neighbours_have_no_pixel_in_common(side):
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
    fixed = cut(columns, grid=2, sides=(side, side), gap=0.1, jitter=0.2, middle=True)
    assert (fixed == fixed[:1]).all()


def test_standardised_tiles_tell_nothing_of_brightness_and_contrast():
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


def test_permutations_are_far_from_each_other():
    def least(chosen):
        return min((a != b).sum() for a, b in itertools.combinations(chosen, 2))

    few = far_permutations(9, 30, np.random.default_rng(0))
    assert few.shape == (30, 9)
    assert (np.sort(few, axis=1) == np.arange(9)).all()
    drawn = np.random.default_rng(1)
    assert least(few) >= 7 > least([drawn.permutation(9) for _ in range(30)])
    np.testing.assert_array_equal(few, far_permutations(9, 30, np.random.default_rng(0)))
    assert (few != far_permutations(9, 30, np.random.default_rng(1))).any()
    assert least(far_permutations(4, 4, np.random.default_rng(0))) == 4
    everything = far_permutations(4, 24, np.random.default_rng(0))
    assert len({tuple(row) for row in everything}) == 24


def test_puzzles_of_digits_are_solved(jigsaw):
    """Of digits that were in no training; who guesses has 1 / 24."""
    images = digits()[0][1000:1400]
    numbers = np.random.default_rng(0).integers(24, size=len(images))
    shuffled = jigsaw.shuffle(images, numbers)
    order = jigsaw.permutations_[numbers[0]]
    cells = [images[0, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
    np.testing.assert_array_equal(shuffled[0, :4, 4:], cells[order[1]])
    told = jigsaw.predict_pretext(shuffled)
    right = told == numbers
    assert right.mean() > 0.35
    solved = jigsaw.solve(shuffled)
    np.testing.assert_array_equal(solved[right], images[right])
    assert (solved[~right] != images[~right]).any(axis=(1, 2)).mean() > 0.9
    score = jigsaw.score_pretext(images)
    assert score == jigsaw.score_pretext(images)
    told = [jigsaw.predict_pretext(jigsaw.shuffle(images, k)) == k for k in range(24)]
    assert score == pytest.approx(np.mean(told), abs=1e-3)


def test_images_are_scored_in_a_hundred_orders_of_more(monkeypatch):
    X = np.random.default_rng(0).random((6, 12, 12))
    model = shrunk(JigsawTransformer, grid=3, n_permutations=250).fit(X)
    numbers = []

    def scores(parts, order):
        """Tell all images right but one."""
        numbers.append(model.permutations_.tolist().index(order[0].tolist()))
        told = torch.tensor([numbers[-1] - 1] + 5 * [numbers[-1]]) % 250
        return torch.nn.functional.one_hot(told, 250)

    monkeypatch.setattr(model._objective, "scores", scores)
    assert model.score_pretext(X) == pytest.approx(5 / 6)
    assert (len(numbers), numbers[0], numbers[-1]) == (100, 0, 249)
    assert set(np.diff(numbers)) == {2, 3}


def test_permutations_are_the_users_own(jigsaw):
    assert not np.shares_memory(jigsaw.permutations_, jigsaw._objective.permutations.numpy())


@pytest.mark.slow
def test_positions_of_patches_of_digits_are_told():
    """Of digits that were in no training, in both orders of a pair; who guesses has 1 / 8."""
    images, settings = digits()[0], {"patch_dim": 64, "hidden_dim": 256}
    model = shrunk(RelativePatchTransformer, max_epochs=8, **settings).fit(images[:800])
    told = model.predict_pretext(images[1000:1400])
    assert told.shape == (400, 8)
    score = model.score_pretext(images[1000:1400])
    assert score == np.mean(told == np.arange(8))
    assert score > 0.25

    def told_swapped(objective, samples):
        _, swapped = pairs(objective.parts(samples, middle=True)[1])
        return objective.classify(swapped.flatten(0, 1)).argmax(dim=1).unflatten(0, (-1, 8))

    swapped = model._map(images[1000:1400], "_objective", told_swapped)
    assert np.mean(swapped == 7 - np.arange(8)) == pytest.approx(score, abs=0.1)


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
    told = [model.predict_pretext(model.shuffle(X, k)) == k for k in range(100)]
    assert model.score_pretext(X) == pytest.approx(np.mean(told), abs=2e-3)
    assert 0 < np.mean(told) < 0.2


@BOTH
def test_tiles_of_small_images_are_enlarged(photos, method):
    assert shrunk(method).fit(photos[:20])._objective.tiles.sides == (16, 16)
    assert shrunk(method).fit(digits()[0][:20])._objective.tiles.sides == (8, 8)
    assert Tiles.over((64, 96), 3, 0.125, 0.125, True).sides == (16, 24)


@pytest.mark.parametrize("layout", ["last", "first", "rows", "tensor"])
def test_puzzles_keep_layout_and_type(photos, layout):
    X = photos[:20]
    settings = {"image_shape": (32, 32, 3)} if layout == "rows" else {}
    first = X.transpose(0, 3, 1, 2)
    given = {"first": first, "rows": X.reshape(20, -1), "tensor": torch.from_numpy(first.copy())}
    model = shrunk(JigsawTransformer, **settings).fit(given.get(layout, X))
    shuffled = model.shuffle(given.get(layout, X), 5)
    assert shuffled.dtype == np.uint8
    last = shuffled.transpose(0, 2, 3, 1) if layout in ("first", "tensor") else shuffled
    number = model.permutations_[5][0]
    y, x = number // 2 * 16, number % 2 * 16
    np.testing.assert_array_equal(last[:, :16, :16], X[:, y : y + 16, x : x + 16])
    again = shuffled.reshape(20, -1) if layout == "rows" else shuffled
    solved = model.solve(again)
    assert solved.dtype == np.uint8
    assert solved.shape == shuffled.shape
    np.testing.assert_array_equal(np.sort(solved, axis=None), np.sort(X, axis=None))


def test_permutations_that_are_none_are_refused(jigsaw):
    images = digits()[0][:5]
    for wrong, told in (
        (24, r"int64 of shape \(\), of which 24 is the first"),
        (-1, r"int64 of shape \(\), of which -1 is the first"),
        (1.0, r"float64 of shape \(\), of which 1\.0 is the first"),
        ([0, 1], r"int64 of shape \(2,\)\."),
        (np.zeros((5, 1), int), r"int64 of shape \(5, 1\)\."),
        ([0, 1, 25, 3, 24], r"int64 of shape \(5,\), of which 25 is the first"),
        (["a" * 99], r"<U99 of shape \(1,\), of which a{20} is the first"),
    ):
        message = f"permutation must be an int from 0 to 23, or 5 of .* Got {told}"
        with pytest.raises(ValueError, match=message):
            jigsaw.shuffle(images, wrong)
    with pytest.raises(ValueError, match=r"n_permutations=25 is more than the 24 that 2 x 2"):
        JigsawTransformer(n_permutations=25).fit(images)


@BOTH
def test_images_too_small_for_tiles_are_refused(method):
    X = np.random.default_rng(0).random((10, 40, 12, 1))
    least = 4 if method is JigsawTransformer else 6
    message = rf"40 x {least - 1} pixels .* the shorter side needs at least {least} pixels"
    with pytest.raises(ValueError, match=message):
        shrunk(method).fit(X[:, :, : least - 1])
    assert shrunk(method).fit(X[:, :, :least]).transform(X[:, :, :least]).shape[0] == 10
    with pytest.raises(ValueError, match=r"at least \d\d pixels"):
        shrunk(method, gap=0.5, jitter=0.45).fit(X)
    with pytest.raises(ValueError, match=r"gap=0\.5 and jitter=0\.5 leave nothing of a tile"):
        shrunk(method, gap=0.5, jitter=0.5).fit(X)


@BOTH
def test_unreadable_files_are_not_counted(photos, tmp_path, method):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"no image")
    model = shrunk(method, on_error="skip").fit(paths)
    told = model.predict_pretext(paths)
    assert (told[3] == -1).all()
    assert (np.delete(told, 3, axis=0) >= 0).all()
    assert model.score_pretext(paths) == model.score_pretext(np.delete(photos[:12], 3, axis=0))
    with pytest.raises(ValueError, match="None of the images in X could be read"):
        model.score_pretext(paths[3:4])
    if method is JigsawTransformer:
        shuffled = model.shuffle(paths, np.arange(12))
        assert (shuffled[3] == -1).all()
        expected = model.shuffle(photos[4:5], 4)
        np.testing.assert_array_equal(shuffled[4], expected[0])


@pytest.mark.parametrize(
    ("method", "what"), [(JigsawTransformer, "tiles"), (RelativePatchTransformer, "patches")]
)
def test_backbones_that_cannot_take_tiles(photos, method, what):
    def rigid(shape):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8))

    with pytest.raises(ValueError, match=rf"shape \(3, 16, 16\).*such as the {what} of its images"):
        shrunk(method, backbone=rigid).fit(photos[:20])


@BOTH
def test_what_is_told_is_the_same_after_saving(method, tmp_path):
    images = digits()[0][:60]
    model = shrunk(method, max_epochs=5, gap=0.0, jitter=0.6).fit(images)  # places in the middle
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict_pretext(images), model.predict_pretext(images))
    assert loaded.score_pretext(images) == model.score_pretext(images)
    if method is JigsawTransformer:
        np.testing.assert_array_equal(loaded.permutations_, model.permutations_)


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


@pytest.mark.filterwarnings("ignore:Nothing was learned")  # soon enough, of orders
@pytest.mark.parametrize(
    ("method", "grid", "epochs", "chance"),
    [
        pytest.param(JigsawTransformer, 2, 60, 1 / 24, marks=pytest.mark.exhaustive),
        pytest.param(RelativePatchTransformer, 3, 20, 1 / 8, marks=pytest.mark.slow),
    ],
)
def test_edges_that_go_on_tell_places_but_for_a_gap(method, grid, epochs, chance):
    make = functools.partial(bands, grid=grid)
    assert score_of(method, make, epochs, gap=0.0, jitter=0.0) > 2 * chance
    with pytest.warns(ConvergenceWarning, match="Nothing was learned"):
        assert score_of(method, make, epochs, gap=0.5, jitter=0.0) < 1.3 * chance


@pytest.mark.slow
@BOTH
def test_brightness_tells_places_but_of_standardised_tiles(method):
    make = functools.partial(ramp, grid=2 if method is JigsawTransformer else 3)
    chance = 1 / 24 if method is JigsawTransformer else 1 / 8
    assert score_of(method, make, 15, standardize=False) > 3 * chance
    assert score_of(method, make, 15) < 1.3 * chance


@pytest.mark.slow
def test_chromatic_aberration_tells_places_but_of_dropped_colours():
    assert score_of(RelativePatchTransformer, aberration, 15, drop_colors=False) > 0.25
    assert score_of(RelativePatchTransformer, aberration, 15) < 0.16


def test_pictures_show_patches_where_they_are_told(photos):
    images = torch.from_numpy(photos[:20]).permute(0, 3, 1, 2) / 255
    net = shrunk(RelativePatchTransformer).fit(photos[:20])._objective
    places, mean = torch.arange(8).expand(20, -1), net.encoder.mean

    def cells(images):  # (n, 9, c, 10, 10); two lines remain
        return (
            images[:, :, :30, :30]
            .unfold(2, 10, 10)
            .unfold(3, 10, 10)
            .flatten(2, 3)
            .mT.swapaxes(1, 2)
        )

    net.told = lambda images: places
    seen, made = net.pictures(images)
    torch.testing.assert_close(made, images)
    torch.testing.assert_close(seen[:, :, 10:20, 10:20], images[:, :, 10:20, 10:20])
    moved = (cells(seen) != cells(images)).flatten(2).any(dim=2)
    assert 6 < moved.sum(dim=1).float().mean() < 8
    torch.testing.assert_close(*(cells(x).sum(dim=1) for x in (seen, images)))
    net.told = lambda images: 0 * places + 6  # all to the place below the middle
    _, made = net.pictures(images)
    torch.testing.assert_close(cells(made)[:, 4], cells(images)[:, 4])
    assert all(
        (cells(made)[i, 7] == cells(images)[i]).flatten(1).all(dim=1).any() for i in range(20)
    )
    for place in (0, 1, 2, 3, 5, 6, 8):
        torch.testing.assert_close(cells(made)[:, place], mean.expand(20, 3, 10, 10))
    torch.testing.assert_close(made[:, :, 30:], images[:, :, 30:])
