"""Random views of images and tabular data: values, and not only shapes."""

import colorsys

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from sklearn_ssl.views import ImageViews
from sklearn_ssl.views.image import (
    LUMA,
    Crop,
    blur_lines,
    change_colors,
    draw_angle,
    draw_blur,
    draw_colors,
    draw_crop,
    draw_erased,
    erase,
    fixed_crops,
    kernels_of,
    resize,
)

CPU = torch.device("cpu")


STILL = ImageViews(
    scale=(1.0, 1.0),
    ratio=(1.0, 1.0),
    hflip=0.0,
    color_jitter=0.0,
    brightness=0.4,
    contrast=0.4,
    grayscale=0.0,
    gaussian_blur=0.0,
    n_views=1,
)


def change(**settings):
    return ImageViews(**(vars(STILL) | settings))


def recolored(images, recipe):
    n, channels = images.shape[:2]
    return change_colors(images, draw_colors(n, recipe, channels, CPU))


def columns(images):
    return images.permute(0, 3, 2, 1).contiguous()


def whole(images):
    n, _, height, width = images.shape
    return Crop(*(torch.full((n,), side) for side in (0, 0, height, width)))


def factors_of(before, after):
    """The factors by which the images' values were spread out, each around its mean luma."""
    return luma(after).std((1, 2)) / luma(before).std((1, 2))


def luma(images):
    return (images * torch.tensor(LUMA)[:, None, None]).sum(dim=1)


def test_recipe_of_nothing_changes_nothing(batch):
    (view,) = STILL(batch)
    torch.testing.assert_close(view, batch, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": (0.2, 0.9)},
        {"hflip": 0.5},
        {"rotation": 20.0},
        {"quarter_turn": 0.5},
        {"color_jitter": 1.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
        {"color_jitter": 1.0, "brightness": 0.0, "saturation": 0.0, "hue": 0.0},
        {"color_jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "hue": 0.0},
        {"color_jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0},
        {"grayscale": 0.5},
        {"gaussian_blur": 0.5},
    ],
    ids=lambda settings: next(iter(settings)) + str(len(settings)),
)
def test_each_change_is_drawn_for_each_image(batch, settings):
    same = batch[:1].expand(64, -1, -1, -1)
    first, second = change(**settings, n_views=2)(same)
    assert len(torch.unique(first.flatten(1), dim=0)) > 1  # one draw for all would give 1
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rotation", [0.0, 1e-4])
def test_all_views_of_one_pass_are_of_their_own_image(batch, rotation):
    views = change(rotation=rotation, n_views=3)(batch)
    assert len(views) == 3
    for view in views:
        torch.testing.assert_close(view, batch, atol=1e-3, rtol=0)


@pytest.mark.parametrize("rotation", [0.0, 1e-4])
def test_views_of_one_pass_are_drawn_independently(rotation):
    """On images that are brighter to the right, where the mean of a crop shows its position."""
    torch.manual_seed(0)
    ramps = torch.linspace(0, 1, 32).expand(400, 3, 32, 32)
    recipe = change(scale=(0.25, 0.25), size=0.5, hflip=0.5, rotation=rotation, n_views=6)
    views = torch.stack(recipe(ramps))  # (6, 400, 3, 16, 16)
    for drawn in (views.mean((2, 3, 4)), (views[..., 0] > views[..., -1]).float().mean((2, 3))):
        among_views = torch.corrcoef(drawn) - torch.eye(6)
        among_images = torch.corrcoef(drawn[:, :200].T)  # of 6 numbers each: any may be large
        assert among_views.abs().max() < 0.2
        assert among_images.nan_to_num().mean().abs() < 0.05
    assert len(views.mean((2, 3, 4)).unique()) == 2400


def test_flip_is_a_flip(batch):
    (view,) = change(hflip=1.0)(batch)
    torch.testing.assert_close(view, batch.flip(3), atol=1e-5, rtol=0)
    (view,) = change(hflip=0.5)(batch)
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
    torch.manual_seed(0)
    angle = draw_angle(2000, change(rotation=30.0), CPU) * 180 / torch.pi
    assert angle.abs().max() <= 30.001
    assert kstest(angle.numpy(), "uniform", (-30, 60)).pvalue > 0.01
    quarter = draw_angle(2000, change(quarter_turn=0.6), CPU) * 2 / torch.pi
    assert 0.35 < (quarter == 0).float().mean() < 0.45
    assert set(quarter.round().tolist()) == {0, 1, 2, 3}


def test_rotation_turns_the_way_of_its_matrix():
    """A bright spot right of the middle goes around it, at its distance."""
    torch.manual_seed(0)
    spot = torch.zeros(200, 1, 33, 33)
    spot[:, :, 15:18, 20:23] = 1
    (view,) = change(rotation=180.0)(spot)
    place = torch.arange(33.0) - 16
    x, y = (view.sum(dim=(1, axis)) @ place / 9 for axis in (2, 3))
    distance = (x**2 + y**2).sqrt()
    torch.testing.assert_close(distance, torch.full((200,), 5.0), atol=0.3, rtol=0)
    assert x.min() < -4.5
    assert y.abs().max() > 4.5


@pytest.mark.parametrize("size", [(224, 224), (120, 240), (200, 150)])
@pytest.mark.parametrize("areas", [(0.08, 1.0), (0.2, 0.8)])
def test_crops_are_drawn_as_torchvision_draws_them(size, areas):
    torch.manual_seed(0)
    crop, _ = draw_crop(3000, size, areas, (3 / 4, 4 / 3), CPU)
    assert (crop.top >= 0).all()
    assert (crop.left >= 0).all()
    assert (crop.top + crop.height <= size[0]).all()
    assert (crop.left + crop.width <= size[1]).all()
    theirs = v2.RandomResizedCrop(8, scale=areas, ratio=(3 / 4, 4 / 3))
    drawn = [theirs.make_params([torch.zeros(3, *size)]) for _ in range(3000)]
    their = {k: np.array([d[k] for d in drawn]) for k in ("top", "left", "height", "width")}
    for quantity in (
        lambda c: c["height"] * c["width"],
        lambda c: c["width"] / c["height"],
        lambda c: c["top"] + c["height"] / 2,
        lambda c: c["left"],
    ):
        ours = quantity({k: v.numpy() for k, v in crop._asdict().items()})
        # Ours are no whole pixels, which hardly shows in images this large.
        assert ks_2samp(ours, quantity(their)).statistic < 0.1


def test_crop_that_never_fits_is_the_largest_allowed():
    crop, fits = draw_crop(40, (10, 100), (0.2, 1.0), (0.75, 4 / 3), CPU)
    assert not fits.any()
    assert set(crop.height.tolist()) == {10}
    torch.testing.assert_close(crop.width, torch.full((40,), 40 / 3))
    assert len(crop.left.unique()) > 10


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 9])
def test_fixed_crops_are_views_without_chance(n):
    """Of the mean area and aspect, inside the image, and in the mean in its middle."""
    images = torch.rand(4, 3, 24, 40)
    recipe = change(scale=(0.2, 0.3), ratio=(0.5, 2.0), size=0.5, n_views=9)
    rows, columns = fixed_crops(recipe, 24, 40, n)
    assert rows.shape == (n, 12, 24)
    assert columns.shape == (n, 20, 40)
    side = (0.25 * 24 * 40) ** 0.5
    y, x = ((matrices @ torch.arange(m) + 0.5) for matrices, m in ((rows, 24.0), (columns, 40.0)))
    for k in range(n):
        top, left = y[k].mean() - side / 2, x[k].mean() - side / 2
        assert 0 <= top <= 24 - side + 1e-4
        assert 0 <= left <= 40 - side + 1e-4
        crop = Crop(*(torch.full((4,), float(value)) for value in (top, left, side, side)))
        expected = resize(
            images.permute(0, 3, 2, 1).contiguous(),
            crop,
            torch.zeros(4, dtype=torch.bool),
            (12, 20),
        )
        view = rows[k] @ images @ columns[k].T
        # The center of the weights is that of the crop, up to hundredths of a pixel.
        torch.testing.assert_close(view, expected, atol=0.02, rtol=0)
    assert x.mean().item() == pytest.approx(20, abs=0.01)
    assert (
        len(
            {
                (round(b.item(), 3), round(a.item(), 3))
                for a, b in zip(x[:, 0], y[:, 0], strict=True)
            }
        )
        == n
    )


def test_fixed_crops_of_the_recipes_that_fill_the_image_are_the_image():
    rows, columns = fixed_crops(change(ratio=(4.0, 4.0)), 10, 40, 1)
    torch.testing.assert_close(rows[0], torch.eye(10))
    torch.testing.assert_close(columns[0], torch.eye(40))
    rows, columns = fixed_crops(change(square=True, size=0.5), 20, 40, 2)
    assert rows.shape == (2, 10, 20)
    assert columns.shape == (2, 10, 40)


@pytest.mark.parametrize("sides", [(32, 32), (16, 16), (5, 9), (48, 40)], ids=str)
def test_resized_crops_are_those_of_torchvision(batch, sides):
    torch.manual_seed(0)
    crop, _ = draw_crop(len(batch), (32, 32), (0.1, 0.8), (0.5, 2.0), CPU)
    crop = Crop(*(values.floor() for values in crop))  # torchvision's are whole pixels
    flipped = torch.arange(len(batch)) % 2 == 1
    ours = resize(columns(batch), crop, flipped, sides)
    for i, box in enumerate(zip(*(values.int().tolist() for values in crop), strict=True)):
        theirs = functional.resized_crop(batch[i], *box, sides, antialias=True)
        theirs = theirs.flip(2) if flipped[i] else theirs
        torch.testing.assert_close(ours[i], theirs, atol=1e-5, rtol=0)


def test_what_is_made_smaller_is_antialiased():
    stripes = (torch.arange(64) % 2.0).expand(4, 1, 64, 64)
    whole_image = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "size": 0.25}
    (view,) = change(**whole_image)(stripes)
    assert (view - 0.5).abs().max() < 0.07  # pixels looked up without it are 0 or 1
    (view,) = change(**whole_image, quarter_turn=1.0)(stripes)
    assert (view - 0.5).abs().max() < 0.07
    wide = (torch.arange(128) % 2.0).expand(4, 1, 96, 128)  # columns of which a third is too much
    for rotation in (0.0, 1e-6):
        (view,) = change(ratio=(4 / 3, 4 / 3), square=True, rotation=rotation)(wide)
        assert view.shape == (4, 1, 96, 96)
        assert view.std() < 0.15  # looked up without it: 0.27


def test_brightness_and_contrast_match_their_definition(batch):
    dim = batch * 0.5 + 0.2  # far from the bounds, where nothing is clipped
    bright = recolored(dim, change(color_jitter=1.0, contrast=0.0, saturation=0.0, hue=0.0))
    factor = bright / dim
    torch.testing.assert_close(factor.amax((1, 2, 3)), factor.amin((1, 2, 3)), atol=1e-3, rtol=0)
    contrasted = recolored(
        dim, change(color_jitter=1.0, contrast=0.2, brightness=0.0, saturation=0.0, hue=0.0)
    )
    mean = luma(dim).mean((1, 2))
    torch.testing.assert_close(luma(contrasted).mean((1, 2)), mean, atol=1e-4, rtol=0)
    ratio = luma(contrasted).std((1, 2)) / luma(dim).std((1, 2))
    assert 0.8 - 1e-3 < ratio.min() < 0.84
    assert 1.16 < ratio.max() < 1.2 + 1e-3


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_single_changes_are_those_of_torchvision(batch, name):
    """With the factors that were drawn, read off the images, which nothing clips."""
    torch.manual_seed(0)
    dim = batch * 0.4 + 0.3
    others = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    changed = recolored(dim, change(color_jitter=1.0, **(others | {name: 0.4})))
    if name == "brightness":
        factors = changed.mean((1, 2, 3)) / dim.mean((1, 2, 3))
    elif name == "contrast":
        factors = factors_of(dim, changed)
    else:
        color, before = changed - luma(changed)[:, None], dim - luma(dim)[:, None]
        factors = (color * before).sum((1, 2, 3)) / (before**2).sum((1, 2, 3))
    adjust = getattr(functional, f"adjust_{name}")
    for image, view, factor in zip(dim, changed, factors.tolist(), strict=True):
        torch.testing.assert_close(view, adjust(image, factor), atol=1e-3, rtol=0)
    theirs = [v2.ColorJitter(**{name: 0.4}).make_params([])[f"{name}_factor"] for _ in range(500)]
    assert ks_2samp(factors.numpy(), np.array(theirs, float)).pvalue > 0.001


def test_hue_turns_colors_as_far_as_torchvision_does():
    """In HSV, of colors of medium saturation, in both directions equally often."""
    torch.manual_seed(0)
    hues = torch.rand(3000)
    colors = torch.tensor([colorsys.hsv_to_rgb(hue, 0.4, 0.6) for hue in hues.tolist()])
    images = colors[:, :, None, None].expand(-1, -1, 2, 2)
    recipe = change(color_jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.1)
    ours = recolored(images, recipe)[:, :, 0, 0]
    theirs = torch.stack([v2.ColorJitter(hue=0.1)(image) for image in images])[:, :, 0, 0]

    def shifts(changed):
        new = torch.tensor([colorsys.rgb_to_hsv(*color)[0] for color in changed.tolist()])
        return ((new - hues + 0.5) % 1 - 0.5).numpy()

    levels = np.linspace(0.05, 0.95, 10)
    difference = np.quantile(shifts(ours), levels) - np.quantile(shifts(theirs), levels)
    assert np.abs(difference).max() < 0.02


def test_saturation_and_hue_keep_the_luma(batch):
    dim = batch * 0.3 + 0.35
    for settings in ({"hue": 0.0}, {"saturation": 0.0}):
        recipe = change(color_jitter=1.0, brightness=0.0, contrast=0.0, **settings)
        torch.testing.assert_close(luma(recolored(dim, recipe)), luma(dim), atol=2e-3, rtol=0)


def test_gray_is_that_of_torchvision_with_its_probability(batch):
    gray = recolored(batch, change(grayscale=1.0))
    theirs = functional.rgb_to_grayscale(batch, num_output_channels=3)
    torch.testing.assert_close(gray, theirs, atol=2e-3, rtol=0)
    torch.manual_seed(0)
    some = recolored(batch.repeat(4, 1, 1, 1), change(grayscale=0.2))
    grayed = (some.amax(1) - some.amin(1)).amax((1, 2)) < 1e-3
    assert 70 < grayed.sum() < 140  # of 512


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channel_counts_change_brightness_and_contrast_alone(batch, channels):
    images = batch.repeat(1, 2, 1, 1)[:, :channels]
    (view,) = change(color_jitter=1.0, grayscale=1.0, saturation=1.0, hue=0.5)(images)
    assert view.shape == images.shape
    factors = (view - view.mean((2, 3), keepdim=True)).std((2, 3)) / images.std((2, 3))
    assert factors.std() > 0.05
    assert ImageViews().for_images(32, 32, channels).grayscale == 0


def test_jitter_has_its_probability(batch):
    view = recolored(batch, change(color_jitter=0.3))
    changed = (view - batch).abs().amax((1, 2, 3)) > 1e-3
    assert 20 < changed.sum() < 60  # of 128


@pytest.mark.parametrize("side", [40, 96])
def test_blur_is_that_of_torchvision(side):
    torch.manual_seed(0)
    images = torch.rand(12, 3, side, side + 7)
    samples, kernels = kernels_of(draw_blur(12, 1.0, CPU), (side, side + 7))
    still = torch.zeros(12, dtype=torch.bool)
    ours = resize(columns(images), whole(images), still, images.shape[2:], (samples, kernels))
    size = 2 * round(side / 20) + 1
    assert kernels.shape == (12, size)
    ratio = kernels[:, size // 2 + 1] / kernels[:, size // 2]
    for i, sigma in enumerate((-0.5 / ratio.log()).sqrt().tolist()):
        theirs = functional.gaussian_blur(images[i], [size, size], [sigma, sigma])
        torch.testing.assert_close(ours[i], theirs, atol=1e-4, rtol=0)


def test_blur_has_its_probability_and_strengths():
    torch.manual_seed(0)
    noise = torch.rand(400, 3, 96, 96)
    (view,) = change(gaussian_blur=0.5)(noise)
    smoother = view.std((2, 3)).mean(1) / noise.std((2, 3)).mean(1)
    assert 150 < (smoother < 0.999).sum() < 250
    assert (smoother <= 1 + 1e-4).all()
    assert smoother.min() < 0.25
    torch.testing.assert_close(view.mean((2, 3)), noise.mean((2, 3)), atol=0.02, rtol=0)
    _, kernels = kernels_of(draw_blur(2000, 1.0, CPU), (200, 200))
    ratio = kernels[:, 11] / kernels[:, 10]
    sigma = (-0.5 / ratio.log()).sqrt()[ratio > 1e-30]
    assert kstest(sigma.numpy(), "uniform", (0.1, 1.9)).pvalue > 0.001


def test_blur_of_tiny_images_and_of_single_points():
    torch.manual_seed(0)
    flat = torch.rand(20, 3, 1, 96)
    (view,) = change(gaussian_blur=1.0, ratio=(96.0, 96.0))(flat)
    torch.testing.assert_close(view, flat)  # one pixel high
    lines = torch.rand(6, 9, 5)
    point = torch.tensor([[0.0, 1.0, 0.0]]).expand(6, 3)  # what a GPU gives those not drawn
    torch.testing.assert_close(blur_lines(lines.clone(), (torch.arange(6), point)), lines)


def test_erasing_paints_a_rectangle_in_the_mean_color():
    torch.manual_seed(0)
    images = torch.rand(600, 3, 32, 48)
    recipe = change(random_erasing=0.5, erasing_scale=(0.1, 0.3))
    erased = erase(images, draw_erased(600, (32, 48), recipe, CPU))
    painted = (erased != images).any(dim=1)  # (n, h, w)
    drawn = painted.any(dim=(1, 2))
    assert 240 < drawn.sum() < 360
    rows, cols = painted.any(dim=2), painted.any(dim=1)
    assert torch.equal(painted, rows[:, :, None] & cols[:, None])  # rectangles
    areas = painted[drawn].float().mean(dim=(1, 2))
    assert areas.min() > 0.09
    assert areas.max() < 0.31
    for image, view, where in zip(images[drawn], erased[drawn], painted[drawn], strict=True):
        expected = image.mean(dim=(1, 2))[:, None].expand(3, int(where.sum()))
        torch.testing.assert_close(view[:, where], expected)
    theirs = v2.RandomErasing(1.0, scale=(0.1, 0.3))
    their = [theirs.make_params([images[0]]) for _ in range(600)]
    shape = rows[drawn].sum(1) / cols[drawn].sum(1)
    assert ks_2samp(shape.numpy(), [p["h"] / p["w"] for p in their]).pvalue > 0.001
    (view,) = change(random_erasing=1.0, ratio=(1.5, 1.5))(images)
    assert ((view - images).abs().amax(1) > 1e-3).any(dim=(1, 2)).all()
    dots = torch.rand(50, 1, 3, 3)  # in which no rectangle is this small
    recipe = change(random_erasing=1.0, erasing_scale=(0.02, 0.02))
    assert torch.equal(erase(dots, draw_erased(50, (3, 3), recipe, CPU)), dots)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same_views(batch, dtype):
    recipe = ImageViews(gaussian_blur=0.5, solarize=0.0, random_erasing=0.3, rotation=0.0)
    torch.manual_seed(0)
    expected = recipe(batch)
    torch.manual_seed(0)
    for view, wide in zip(recipe(batch.to(dtype)), expected, strict=True):
        assert view.dtype == dtype
        torch.testing.assert_close(view.float(), wide, atol=0.03, rtol=0)
    large = torch.rand(4, 3, 160, 160)
    recipe = change(rotation=20.0, scale=(0.5, 1.0))
    torch.manual_seed(0)
    (wide,) = recipe(large)
    torch.manual_seed(0)
    (view,) = recipe(large.to(dtype))
    assert view.dtype == dtype
    torch.testing.assert_close(view.float(), wide, atol=0.01, rtol=0)


def test_default_number_type_does_not_matter(batch):
    torch.manual_seed(0)
    expected = ImageViews(gaussian_blur=0.5, random_erasing=0.5, rotation=5.0)(batch)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(0)
        views = ImageViews(gaussian_blur=0.5, random_erasing=0.5, rotation=5.0)(batch)
    finally:
        torch.set_default_dtype(before)
    assert {view.dtype for view in views} == {torch.float32}
    assert views[0].shape == expected[0].shape


def test_views_of_bytes_as_stored_are_those_of_planes(batch):
    """What fit hands over, channels last in memory, gives what channels first gives."""
    stored = batch.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    torch.manual_seed(0)
    expected = ImageViews()(batch)
    torch.manual_seed(0)
    for view, other in zip(ImageViews()(stored), expected, strict=True):
        torch.testing.assert_close(view, other)


def test_defaults_follow_the_images():
    assert ImageViews().for_images(32, 32, 3).gaussian_blur == 0
    assert ImageViews().for_images(33, 96, 3).gaussian_blur == 0.5
    assert ImageViews(gaussian_blur=0.1).for_images(28, 28, 3).gaussian_blur == 0.1
    assert ImageViews().for_images(28, 28, 1).hue == 0
    assert ImageViews().for_images(28, 28, 1).contrast == 0.8
    assert ImageViews().for_images(28, 28, 3).contrast == 0.4
    assert ImageViews(contrast=0.3).for_images(28, 28, 1).contrast == 0.3
    with pytest.raises(ValueError, match=r"quarter_turn.*square.*24 x 32"):
        ImageViews(quarter_turn=0.5).for_images(24, 32, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hflip": 1.5}, r"hflip must be in \[0, 1\]. Got 1.5"),
        ({"gaussian_blur": "yes"}, r"gaussian_blur must be in \[0, 1\] or \"auto\". Got 'yes'"),
        ({"hue": 0.6}, r"hue must be in \[0, 0.5\]. Got 0.6"),
        ({"brightness": -1}, r"brightness must be in \[0, inf\] or \"auto\". Got -1"),
        ({"size": 0}, r"size must be in \(0, 1\]. Got 0"),
        ({"size": 1.5}, r"size must be in \(0, 1\]. Got 1.5"),
        ({"scale": (0.5, 0.2)}, r"scale must be two fractions.*Got \(0.5, 0.2\)"),
        ({"erasing_scale": (0.0, 0.2)}, r"erasing_scale must be two fractions.*Got \(0.0, 0.2\)"),
        ({"random_erasing": 2}, r"random_erasing must be in \[0, 1\]. Got 2"),
        ({"ratio": (0, 1)}, "ratio must be two ratios"),
        ({"n_views": 0}, "n_views must be at least 1"),
    ],
)
def test_bad_image_recipes(settings, message):
    with pytest.raises(ValueError, match=message):
        ImageViews(**settings)


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
    (views,) = change(square=True, ratio=(1.0, 1.0), scale=(0.4, 0.5), n_views=1)(discs)
    ink = views[:, 0] > 0.5
    whole = ~(ink[:, :, 0] | ink[:, :, -1] | ink[:, 0] | ink[:, -1]).any(dim=1)
    across, down = (ink[whole].any(dim=axis).sum(dim=1) for axis in (1, 2))
    assert len(across) > 10
    assert (across - down).abs().max() <= 1


def test_small_views_show_their_crop():
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    half = Crop(*(torch.tensor([side]) for side in (0, 0, 32, 16)))  # the left half
    view = resize(columns(ramp), half, torch.tensor([False]), (8, 8))
    # Inside, the mean of the two pixels below each; at the edges the triangle is cut off.
    expected = torch.linspace(0, 31, 32)[:16].view(8, 2).mean(1) / 31
    torch.testing.assert_close(view[0, 0, 3, 1:-1], expected[1:-1], atol=0.005, rtol=0)


def test_solarize_inverts_what_is_bright_with_its_probability():
    batch = torch.rand(400, 1, 4, 4)
    (view,) = change(solarize=0.3, n_views=1)(batch)
    expected = torch.where(batch >= 0.5, 1 - batch, batch)
    inverted = (view - expected).abs().amax((1, 2, 3)) < 1e-5
    kept = (view - batch).abs().amax((1, 2, 3)) < 1e-5
    assert (inverted | kept).all()
    assert 0.2 < (inverted & ~kept).float().mean() < 0.4
