"""Geometry of views: positions in one view are found in the image, and in other views."""

import pytest
import torch

from sklearn_ssl.views import (
    CombinedViews,
    Geometry,
    ImageViews,
    MultiCrop,
    TableViews,
    Tiles,
    map_points,
)

STILL = {"color_jitter": 0.0, "grayscale": 0.0, "gaussian_blur": 0.0}
RECIPES = {
    "crops": (ImageViews(**STILL), (40, 40)),
    "flips": (ImageViews(hflip=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0), **STILL), (32, 32)),
    "wide": (ImageViews(n_views=3, **STILL), (40, 60)),
    "smaller": (ImageViews(size=0.5, **STILL), (64, 48)),
    "square": (ImageViews(square=True, **STILL), (48, 64)),
    "turned": (ImageViews(rotation=30.0, scale=(0.2, 0.4), **STILL), (50, 70)),
    "quarters": (ImageViews(quarter_turn=0.7, rotation=5.0, scale=(0.2, 0.4), **STILL), (60, 60)),
    "multi_crop": (MultiCrop(ImageViews(**STILL)), (48, 64)),
    "combined": (
        CombinedViews((ImageViews(n_views=1, **STILL), ImageViews(size=0.5, **STILL))),
        (40, 48),
    ),
}
each_recipe = pytest.mark.parametrize(("recipe", "sides"), RECIPES.values(), ids=RECIPES)


def ramps(n, sides):
    """Images whose two channels are the row and the column of each pixel."""
    return (
        torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij"))
        .float()
        .repeat(n, 1, 1, 1)
    )


def pixels(sides, margin=2):
    """Positions of the pixels of a view, without those near its edges."""
    return torch.cartesian_prod(*(torch.arange(margin, side - margin) for side in sides))


def at(view, points):
    """Values of a view (n, c, h, w) at positions (n, n_points, 2), (n, n_points, c)."""
    sides = torch.tensor(view.shape[2:])
    grid = ((2 * points + 1) / sides - 1).flip(-1)[:, :, None]
    found = torch.nn.functional.grid_sample(view, grid, align_corners=False)
    return found[..., 0].mT


def drawn_views(recipe, sides, n=12):
    torch.manual_seed(0)
    images = ramps(n, sides)
    drawn = recipe.draw(n, images.shape[1:], device="cpu")
    geometries = drawn.geometries()
    views = recipe.apply(images, drawn)
    assert [geometry.sides for geometry in geometries] == [view.shape[2:] for view in views]
    return views, geometries


def in_image(places, sides, margin=1.0):
    """Whether places are inside of images, where turned views show no reflections."""
    return ((places >= margin) & (places <= torch.tensor(sides) - 1 - margin)).all(dim=-1)


@each_recipe
def test_pixels_come_from_the_place_that_geometry_says(recipe, sides):
    views, geometries = drawn_views(recipe, sides)
    for view, geometry in zip(views, geometries, strict=True):
        points = pixels(geometry.sides)
        shown = at(view, points.float().expand(len(view), -1, -1))
        places = points.float() @ geometry.matrix[:, :, :2].mT + geometry.matrix[:, None, :, 2]
        inside = in_image(places, sides)
        assert inside.float().mean() > 0.6
        assert (places - shown)[inside].abs().max() < 0.1


@each_recipe
def test_points_of_one_view_are_found_in_another_to_a_tenth_of_a_pixel(recipe, sides):
    views, geometries = drawn_views(recipe, sides)
    n_compared = 0
    for view, source in zip(views, geometries, strict=True):
        for other, target in zip(views, geometries, strict=True):
            points = pixels(source.sides)
            mapped, inside = map_points(points, source, target)
            assert mapped.shape == (12, len(points), 2)
            ours = at(view, points.float().expand(12, -1, -1))
            theirs = at(other, mapped)
            # The height and width, in the image, of pixels of the coarser view.
            lengths = [g.matrix[:, None, :, :2].norm(dim=-1) for g in (source, target)]
            sure = inside & ((mapped > 2) & (mapped < torch.tensor(target.sides) - 3)).all(-1)
            sure &= in_image(ours, sides, 2.0)
            error = (ours - theirs).abs() / torch.maximum(*lengths).clamp(min=1)
            assert error[sure].max() < 0.1
            n_compared += sure.sum().item()
    assert n_compared > 1000 * len(views)


@each_recipe
def test_points_come_back(recipe, sides):
    _, geometries = drawn_views(recipe, sides)
    first, last = geometries[0], geometries[-1]
    points = 10 * torch.rand(12, 5, 2)
    there, _ = map_points(points, first, last)
    back, inside = map_points(there, last, first)
    torch.testing.assert_close(back, points, atol=1e-3, rtol=0)
    assert inside.all()
    part, _ = map_points(points[3:7], first[3:7], last[3:7])
    torch.testing.assert_close(part, there[3:7])


def test_points_are_inside_up_to_the_edges_of_pixels():
    matrix = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]])  # two rows further down
    source, target = Geometry(torch.eye(2, 3)[None], (10, 6)), Geometry(matrix, (4, 5))
    rows = torch.tensor([[1.4, 0], [1.6, 0], [5.4, 0], [5.6, 0], [3, -0.4], [3, -0.6], [3, 4.4]])
    mapped, inside = map_points(rows, source, target)
    torch.testing.assert_close(mapped[0], rows - torch.tensor([2.0, 0.0]))
    assert inside[0].tolist() == [False, True, True, False, True, False, True]


@pytest.mark.parametrize("centered", [False, True])
def test_tiles_know_their_places(centered):
    torch.manual_seed(0)
    images = ramps(8, (36, 48))
    cutter = Tiles(grid=3, standardize=False).over((36, 48), 3)
    drawn = cutter.draw(8, (2, 36, 48), device="cpu", centered=centered)
    tiles = cutter.apply(images, drawn)
    geometries = drawn.geometries()
    assert len(geometries) == 9
    for tile, geometry in zip(tiles.unbind(1), geometries, strict=True):
        points = pixels(geometry.sides)
        mapped, _ = map_points(
            points, geometry, Geometry(torch.eye(2, 3).repeat(8, 1, 1), (36, 48))
        )
        shown = at(tile, points.float().expand(8, -1, -1))
        assert (mapped - shown).abs().max() < 0.1
    half = cutter.apply(images[4:], drawn[4:])
    torch.testing.assert_close(half, tiles[4:])


def test_views_without_a_geometry_have_none():
    assert TableViews().draw(3, (4,), device="cpu").geometries() == []


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.rand(4), r"points must have the shape .* Got the shape \(4,\)"),
        (torch.rand(3, 4, 3), r"Got the shape \(3, 4, 3\)"),
        (torch.rand(4, 5, 2), r"same images.*'source': 3, 'target': 3, 'points': 4"),
    ],
)
def test_bad_points(points, message):
    geometry = Geometry(torch.eye(2, 3).repeat(3, 1, 1), (8, 8))
    with pytest.raises(ValueError, match=message):
        map_points(points, geometry, geometry)
