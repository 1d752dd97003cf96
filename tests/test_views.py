"""What the views do to images and rows, not their shapes alone."""

import numpy as np
import pytest
import torch

from sklearn_ssl.views import CombinedViews, ImageViews, RowViews
from sklearn_ssl.views.image import LUMA, blur, change_colors, draw_placement, resample

STILL = ImageViews(
    crop_area=(1.0, 1.0),
    crop_aspect=(1.0, 1.0),
    flip=0.0,
    jitter=0.0,
    brightness=0.4,
    contrast=0.4,
    gray=0.0,
    blur=0.0,
    n_views=1,
)


def change(**settings):
    return ImageViews(**(vars(STILL) | settings))


def luma(images):
    return (images * torch.tensor(LUMA)[:, None, None]).sum(dim=1)


@pytest.fixture
def batch(photos):
    """Colour photographs, (128, 3, 32, 32) in [0, 1]."""
    torch.manual_seed(0)
    return torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255


def test_recipe_of_nothing_changes_nothing(batch):
    (view,) = STILL(batch)
    torch.testing.assert_close(view, batch, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_area": (0.2, 0.9)},
        {"flip": 0.5},
        {"rotation": 20.0},
        {"quarter_turn": 0.5},
        {"jitter": 1.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
        {"jitter": 1.0, "brightness": 0.0, "saturation": 0.0, "hue": 0.0},
        {"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "hue": 0.0},
        {"jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0},
        {"gray": 0.5},
        {"blur": 0.5},
    ],
    ids=lambda settings: next(iter(settings)) + str(len(settings)),
)
def test_each_change_is_drawn_for_each_image(batch, settings):
    same = batch[:1].expand(64, -1, -1, -1)
    first, second = change(**settings, n_views=2)(same)
    assert len(torch.unique(first.flatten(1), dim=0)) > 1  # one draw for all would give 1
    assert not torch.equal(first, second)


def test_flip_is_a_flip(batch):
    (view,) = change(flip=1.0)(batch)
    torch.testing.assert_close(view, batch.flip(3), atol=1e-5, rtol=0)
    (view,) = change(flip=0.5)(batch)
    flipped = (view - batch.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    kept = (view - batch).abs().amax((1, 2, 3)) < 1e-4
    assert (flipped | kept).all()
    assert 40 < flipped.sum() < 88


def test_quarter_turns_are_exact(batch):
    (view,) = change(quarter_turn=1.0)(batch)
    turns = torch.stack([batch.rot90(k, (2, 3)) for k in (1, 2, 3)])
    distance = (turns - view).abs().amax((2, 3, 4))  # (3, n)
    assert (distance.amin(0) < 1e-4).all()
    assert len(distance.argmin(0).unique()) == 3


def test_rotation_turns_by_at_most_its_angle():
    placement = draw_placement(torch.zeros(2000, 3, 32, 32), change(rotation=30.0))
    angle = torch.atan2(placement[:, 1, 0], placement[:, 0, 0]) * 180 / torch.pi
    assert angle.abs().max() <= 30.001
    assert angle.min() < -25
    assert angle.max() > 25


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_crops_keep_to_area_aspect_and_image(size):
    recipe = change(crop_area=(0.2, 0.8), crop_aspect=(0.75, 4 / 3))
    placement = draw_placement(torch.zeros(4000, 3, *size), recipe)
    width, height = placement[:, 0, 0].abs(), placement[:, 1, 1].abs()  # shares of the sides
    area = width * height
    assert area.min() >= 0.2 - 1e-4
    assert area.max() <= 0.8 + 1e-4
    assert 0.2 < area.quantile(0.05) < 0.27  # uniform, not bunched
    aspect = width * size[1] / (height * size[0])
    assert 0.75 - 1e-4 <= aspect.min() < 0.78
    assert 1.28 < aspect.max() <= 4 / 3 + 1e-4
    assert (placement[:, 0, 2].abs() + width <= 1 + 1e-4).all()
    assert (placement[:, 1, 2].abs() + height <= 1 + 1e-4).all()


def test_crop_that_never_fits_is_the_largest_allowed():
    placement = draw_placement(torch.zeros(4, 3, 10, 100), change(crop_aspect=(0.75, 4 / 3)))
    torch.testing.assert_close(placement[:, 1, 1], torch.ones(4))
    torch.testing.assert_close(placement[:, 0, 0], torch.full((4,), 10 * 4 / 3 / 100))


def test_crop_shows_the_part_that_was_drawn():
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    half = torch.tensor([[[0.5, 0, -0.5], [0, 1, 0]]])  # the left half
    view = resample(ramp, half, (32, 32))
    torch.testing.assert_close(
        view[0, 0, 5, 4:-4], torch.linspace(0, 15.5 / 31, 32)[4:-4], atol=0.02, rtol=0
    )


def test_brightness_and_contrast_match_their_definition(batch):
    dim = batch * 0.5 + 0.2  # far from the bounds, where nothing is clipped
    bright = change_colors(dim, change(jitter=1.0, contrast=0.0, saturation=0.0, hue=0.0))
    factor = bright / dim
    torch.testing.assert_close(factor.amax((1, 2, 3)), factor.amin((1, 2, 3)), atol=1e-3, rtol=0)
    contrasted = change_colors(
        dim, change(jitter=1.0, contrast=0.2, brightness=0.0, saturation=0.0, hue=0.0)
    )
    mean = luma(dim).mean((1, 2))
    torch.testing.assert_close(luma(contrasted).mean((1, 2)), mean, atol=1e-4, rtol=0)
    ratio = luma(contrasted).std((1, 2)) / luma(dim).std((1, 2))
    assert 0.8 - 1e-3 < ratio.min() < 0.84
    assert 1.16 < ratio.max() < 1.2 + 1e-3


def test_saturation_and_hue_keep_the_luma(batch):
    dim = batch * 0.3 + 0.35
    for settings in ({"hue": 0.0}, {"saturation": 0.0}):
        recipe = change(jitter=1.0, brightness=0.0, contrast=0.0, **settings)
        torch.testing.assert_close(luma(change_colors(dim, recipe)), luma(dim), atol=2e-3, rtol=0)


def test_gray_has_equal_channels_and_the_luma(batch):
    gray = change_colors(batch, change(gray=1.0))
    torch.testing.assert_close(gray, luma(batch)[:, None].expand_as(gray), atol=2e-3, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channel_counts_change_brightness_and_contrast_alone(batch, channels):
    images = batch.repeat(1, 2, 1, 1)[:, :channels]
    (view,) = change(jitter=1.0, gray=1.0, saturation=1.0, hue=0.5)(images)
    assert view.shape == images.shape
    factors = (view - view.mean((2, 3), keepdim=True)).std((2, 3)) / images.std((2, 3))
    assert factors.std() > 0.05
    assert ImageViews().for_images(32, 32, channels).gray == 0


def test_jitter_has_its_probability(batch):
    view = change_colors(batch, change(jitter=0.3))
    changed = (view - batch).abs().amax((1, 2, 3)) > 1e-3
    assert 20 < changed.sum() < 60  # of 128


def test_blur_smooths_with_its_probability_and_keeps_the_mean():
    torch.manual_seed(0)
    noise = torch.rand(400, 3, 96, 96)
    view = blur(noise, 0.5)
    smoother = view.std((2, 3)).mean(1) / noise.std((2, 3)).mean(1)
    assert 150 < (smoother < 0.999).sum() < 250
    assert (smoother <= 1 + 1e-4).all()
    assert smoother.min() < 0.25
    torch.testing.assert_close(view.mean((2, 3)), noise.mean((2, 3)), atol=0.02, rtol=0)
    torch.testing.assert_close(blur(noise[:, :, :1], 1.0), noise[:, :, :1])  # one pixel high
    impulse = torch.zeros(1, 1, 41, 41)
    impulse[0, 0, 20, 20] = 1
    torch.testing.assert_close(blur(impulse, 1.0).sum(), torch.tensor(1.0))


def test_defaults_follow_the_images():
    assert ImageViews().for_images(32, 32, 3).blur == 0
    assert ImageViews().for_images(33, 96, 3).blur == 0.5
    assert ImageViews(blur=0.1).for_images(28, 28, 3).blur == 0.1
    assert ImageViews().for_images(28, 28, 1).hue == 0
    assert ImageViews().for_images(28, 28, 1).contrast == 0.8
    assert ImageViews().for_images(28, 28, 3).contrast == 0.4
    assert ImageViews(contrast=0.3).for_images(28, 28, 1).contrast == 0.3
    with pytest.raises(ValueError, match=r"quarter_turn.*square.*24 x 32"):
        ImageViews(quarter_turn=0.5).for_images(24, 32, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip": 1.5}, r"flip must be in \[0, 1\]. Got 1.5"),
        ({"blur": "yes"}, r"blur must be in \[0, 1\] or \"auto\". Got 'yes'"),
        ({"hue": 0.6}, r"hue must be in \[0, 0.5\]. Got 0.6"),
        ({"brightness": -1}, r"brightness must be in \[0, inf\] or \"auto\". Got -1"),
        ({"size": 0}, r"size must be in \(0, 1\]. Got 0"),
        ({"size": 1.5}, r"size must be in \(0, 1\]. Got 1.5"),
        ({"crop_area": (0.5, 0.2)}, r"crop_area must be two shares.*Got \(0.5, 0.2\)"),
        ({"crop_aspect": (0, 1)}, "crop_aspect must be two ratios"),
        ({"n_views": 0}, "n_views must be at least 1"),
    ],
)
def test_bad_image_recipes(settings, message):
    with pytest.raises(ValueError, match=message):
        ImageViews(**settings)


def test_rows_replace_exactly_their_share_from_the_same_column():
    torch.manual_seed(0)
    # The column's number in the hundreds, the row's in the units: no value stands twice.
    rows = torch.arange(10) * 100.0 + torch.arange(50.0)[:, None]
    original, corrupted = RowViews(corruption=0.6)(rows)
    assert torch.equal(original, rows)
    assert torch.equal(corrupted // 100, rows // 100)  # from the same column
    replaced = corrupted != rows
    assert replaced.sum(1).max() == 6  # a row may by chance receive its own value
    assert replaced.sum(1).float().mean() > 5.5
    assert len(torch.unique(replaced, dim=0)) > 30  # drawn for each row
    donors = torch.where(replaced, corrupted % 100, -1.0)
    assert len(donors[0][donors[0] >= 0].unique()) > 1  # for each feature on its own


def test_rows_of_one_feature_still_change():
    torch.manual_seed(0)
    _, corrupted = RowViews()(torch.arange(50.0)[:, None])
    assert (corrupted != torch.arange(50.0)[:, None]).any()


@pytest.mark.parametrize("settings", [{"corruption": 0.0}, {"corruption": 1.2}, {"n_views": 0}])
def test_bad_row_recipes(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        RowViews(**settings)


def test_corrupted_first_view():
    torch.manual_seed(0)
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 8)))
    views = RowViews(keep_first=False, n_views=3)(rows)
    assert len(views) == 3
    assert all(not torch.equal(view, rows) for view in views)


def test_size_and_square_decide_the_shape():
    images = torch.rand(3, 3, 20, 32)
    shapes = {
        (1.0, False): (20, 32),
        (0.5, False): (10, 16),
        (1.0, True): (20, 20),
        (0.35, True): (7, 7),
        (0.01, False): (1, 1),
    }
    for (size, square), shape in shapes.items():
        (view,) = ImageViews(size=size, square=square, n_views=1)(images)
        assert view.shape == (3, 3, *shape)


def test_square_views_do_not_stretch():
    """A disc stays as wide as it is high, whatever the image's shape."""
    y, x = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(48) - 23.5, indexing="ij")
    discs = (x**2 + y**2 < 64).float().expand(50, 1, 24, 48)
    (views,) = change(square=True, crop_aspect=(1.0, 1.0), crop_area=(0.4, 0.5), n_views=1)(discs)
    ink = views[:, 0] > 0.5
    whole = ~(ink[:, :, 0] | ink[:, :, -1] | ink[:, 0] | ink[:, -1]).any(dim=1)
    across, down = (ink[whole].any(dim=axis).sum(dim=1) for axis in (1, 2))
    assert len(across) > 10
    assert (across - down).abs().max() <= 1


def test_small_views_show_their_crop():
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    half = torch.tensor([[[0.5, 0, -0.5], [0, 1, 0]]])  # the left half
    view = resample(ramp, half, (8, 8))
    expected = torch.linspace(0, 31, 32)[:16].view(8, 2).mean(1) / 31
    torch.testing.assert_close(view[0, 0, 3], expected, atol=0.005, rtol=0)


def test_solarize_inverts_what_is_bright_with_its_probability():
    batch = torch.rand(400, 1, 4, 4)
    (view,) = change(solarize=0.3, n_views=1)(batch)
    expected = torch.where(batch >= 0.5, 1 - batch, batch)
    inverted = (view - expected).abs().amax((1, 2, 3)) < 1e-5
    kept = (view - batch).abs().amax((1, 2, 3)) < 1e-5
    assert (inverted | kept).all()
    assert 0.2 < (inverted & ~kept).float().mean() < 0.4


def test_combined_views_come_in_order_and_are_resolved():
    small = ImageViews(size=0.5, n_views=3)
    views = CombinedViews((ImageViews(), small))
    assert [v.shape[2] for v in views(torch.rand(2, 3, 40, 40))] == [40] * 2 + [20] * 3
    resolved = views.for_images(40, 40, 1)
    assert [recipe.blur for recipe in resolved.recipes] == [0.5, 0.0]  # by the view's own size
    assert {recipe.hue for recipe in resolved.recipes} == {0.0}
    rows = CombinedViews((RowViews(), RowViews(n_views=1, keep_first=False)))
    assert [v.shape for v in rows(torch.rand(6, 5))] == [(6, 5)] * 3
    assert (views.kind, rows.kind) == ("image", "rows")


@pytest.mark.parametrize("recipes", [(), (ImageViews(), RowViews()), (len,)])
def test_bad_combinations(recipes):
    with pytest.raises(ValueError, match="recipes must be a tuple of ImageViews, or of RowViews"):
        CombinedViews(recipes)
