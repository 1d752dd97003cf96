"""Random views of images: crop, flip, rotation, color jitter, blur, drawn for each image.

torchvision's random transforms draw once for a whole batch. Here each view of each image has its
own draws, and all images are processed together: crop, flip, resizing and blur are weighted sums of
rows and columns, and the changes of color are one matrix.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch.nn.functional import affine_grid, embedding_bag, grid_sample

from sklearn_ssl.parameters import recipe
from sklearn_ssl.views.drawn import Drawn, ViewRecipe, check_drawn, check_image_shape, uniform
from sklearn_ssl.views.geometry import Crop, geometries

# Rec. 601 luma, the weights of torchvision's and Pillow's conversion to gray.
LUMA = (0.299, 0.587, 0.114)
# RGB to luma and two axes of color, in whose plane hues are rotated.
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
CROP_TRIES = 10
ERASE_ASPECT = (0.3, 3.3)


@recipe
class ImageViews(ViewRecipe):
    """Random views of images: crop, flip, rotation, color jitter, blur, solarization, erasing.

    Use it as the ``views`` of an estimator: the augmentations that the embedding should be
    invariant to. It maps float tensors of shape (n, c, h, w) with values in [0, 1], in single or
    half precision, to views of the same type, and of the same height and width unless ``size`` or
    ``square`` is set. Downsampling is antialiased. Saturation, hue and grayscale only apply to
    images with three channels.

    Parameters
    ----------
    scale : tuple of two floats, default=(0.2, 1.0)
        Minimum and maximum area of the crop, as fractions of the image's area, in (0, 1].

    ratio : tuple of two floats, default=(0.75, 1.3333)
        Minimum and maximum aspect ratio of the crop, width / height.

    hflip : float, default=0.5
        Probability of a horizontal flip.

    rotation : float, default=0.0
        Maximum rotation in either direction, in degrees.

    quarter_turn : float, default=0.0
        Probability of an additional rotation by 90, 180 or 270 degrees. Only for square images.

    color_jitter : float, default=0.8
        Probability that brightness, contrast, saturation and hue are changed, all at once.

    brightness, contrast : float or "auto", default="auto"
        Maximum relative change: factors are drawn from [max(0, 1 - value), 1 + value]. "auto" is
        0.4 for color images, and 0.8 for others, which have no other color jitter.

    saturation : float, default=0.4
        Maximum relative change of saturation.

    hue : float, default=0.1
        Maximum shift of the hue in either direction, as a fraction of the color circle, in
        [0, 0.5].

    grayscale : float, default=0.2
        Probability that a color image is converted to grayscale.

    gaussian_blur : float or "auto", default="auto"
        Probability of a Gaussian blur, with a standard deviation of 0.1 to 2 pixels and a kernel of
        about a tenth of the image's side. "auto" is 0.5 for views of more than 32 pixels and 0 for
        smaller ones, which blur would make unrecognizable.

    solarize : float, default=0.0
        Probability that values of 0.5 or more are inverted.

    random_erasing : float, default=0.0
        Probability that a rectangle is filled with the mean color (cutout, random erasing).

    erasing_scale : tuple of two floats, default=(0.02, 0.33)
        Minimum and maximum area of that rectangle, as fractions of the view's area, in (0, 1].

    size : float, default=1.0
        Sides of the views, as a fraction of the image's sides, in (0, 1]: with 0.5, views of images
        of 32 pixels have 16.

    square : bool, default=False
        Whether views are square, with the shorter side of the image.

    n_views : int, default=2
        Number of views.

    Notes
    -----
    There are four differences to torchvision's transforms. Brightness, contrast, saturation, hue
    and grayscale are applied in this order instead of a random one, as one matrix for each image,
    and values are clipped to [0, 1] once, at the end. Hue is a rotation around the gray axis, which
    does not change the luma, instead of a shift in HSV. Blur is applied before the changes of
    color, together with resizing. If ten draws give no crop inside the image, the largest allowed
    crop has a random position instead of the center.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import ImageViews
    >>> first, second = ImageViews(hflip=0.0)(torch.rand(8, 3, 32, 32))
    >>> first.shape
    torch.Size([8, 3, 32, 32])
    """

    scale: tuple = (0.2, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)
    hflip: float = 0.5
    rotation: float = 0.0
    quarter_turn: float = 0.0
    color_jitter: float = 0.8
    brightness: float | str = "auto"
    contrast: float | str = "auto"
    saturation: float = 0.4
    hue: float = 0.1
    grayscale: float = 0.2
    gaussian_blur: float | str = "auto"
    solarize: float = 0.0
    random_erasing: float = 0.0
    erasing_scale: tuple = (0.02, 0.33)
    size: float = 1.0
    square: bool = False
    n_views: int = 2

    kind = "image"

    def __post_init__(self):
        shares = ("hflip", "quarter_turn", "color_jitter", "grayscale", "gaussian_blur", "solarize")
        shares += ("random_erasing",)
        bounds = dict.fromkeys(shares, 1)
        bounds |= dict.fromkeys(("brightness", "contrast", "saturation", "rotation"), math.inf)
        for name, high in (bounds | {"hue": 0.5}).items():
            value = getattr(self, name)
            or_auto = ' or "auto"' if getattr(ImageViews, name) == "auto" else ""
            if or_auto and value == "auto":
                continue
            if isinstance(value, str) or not 0 <= value <= high:
                raise ValueError(f"{name} must be in [0, {high}]{or_auto}. Got {value!r} instead.")
        if isinstance(self.size, str) or not 0 < self.size <= 1:
            raise ValueError(f"size must be in (0, 1]. Got {self.size!r} instead.")
        for name in ("scale", "erasing_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(
                    f"{name} must be two fractions, 0 < low <= high <= 1. Got {low, high} instead."
                )
        low, high = self.ratio
        if not 0 < low <= high:
            raise ValueError(
                f"ratio must be two ratios, 0 < low <= high. Got {self.ratio} instead."
            )
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1. Got {self.n_views} instead.")

    def for_images(self, height, width, channels):
        """Return the recipe for images of this shape, with every "auto" resolved."""
        if self.quarter_turn and height != width:
            raise ValueError(
                f"quarter_turn={self.quarter_turn} needs square images, not {height} x {width} "
                "pixels. Crop them, or set it to 0."
            )
        resolved = {
            "gaussian_blur": 0.5 if min(height, width) * self.size > 32 else 0.0,
            "brightness": 0.4 if channels == 3 else 0.8,
            "contrast": 0.4 if channels == 3 else 0.8,
        }
        changes = {k: v for k, v in resolved.items() if getattr(self, k) == "auto"}
        if channels != 3:
            changes.update(saturation=0.0, hue=0.0, grayscale=0.0)
        return replace(self, **changes)

    def draw(self, n, shape, *, device, generator=None):
        """Draw the random values of the views of n images of shape (c, h, w)."""
        channels, height, width = shape
        recipe, random = self.for_images(height, width, channels), (device, generator)
        n_drawn = n * self.n_views

        def by_sample(values):
            """Return values (n, n_views) of values that are ordered by view."""
            if isinstance(values, tuple):
                return type(values)(*map(by_sample, values))
            return values.view(self.n_views, n).T

        def drawn_if(probability, draw_values):
            return by_sample(draw_values()) if probability else None

        crop, _ = draw_crop(n_drawn, (height, width), recipe.scale, recipe.ratio, *random)
        sides = view_sides(recipe, height, width)
        return ImageDraws(
            tuple(shape),
            sides,
            by_sample(crop),
            by_sample(draw(n_drawn, recipe.hflip, *random)),
            drawn_if(
                recipe.rotation or recipe.quarter_turn, lambda: draw_angle(n_drawn, recipe, *random)
            ),
            drawn_if(
                recipe.gaussian_blur, lambda: draw_blur(n_drawn, recipe.gaussian_blur, *random)
            ),
            drawn_if(
                recipe.color_jitter or recipe.grayscale,
                lambda: draw_colors(n_drawn, recipe, channels, *random),
            ),
            drawn_if(recipe.solarize, lambda: draw(n_drawn, recipe.solarize, *random)),
            drawn_if(recipe.random_erasing, lambda: draw_erased(n_drawn, sides, recipe, *random)),
        )

    def apply(self, batch, drawn, pool=None):
        """Return the views of a batch of images, shape (n, c, h', w') each, values in [0, 1]."""
        check_drawn(batch, drawn)
        check_image_shape(batch, drawn.shape)
        columns = batch.permute(0, 3, 2, 1).contiguous()  # (n, w, h, c), once for all views
        return list(_views(columns, drawn).unflatten(0, drawn.flipped.T.shape))


# Crops and flips that change no colors and details, for methods that predict or generate these.
CROPS = ImageViews(scale=(0.5, 1.0), color_jitter=0.0, grayscale=0.0, gaussian_blur=0.0, n_views=1)


class Blur(NamedTuple):
    """Which views are blurred, and the standard deviations of the kernels, in pixels."""

    drawn: torch.Tensor
    sigma: torch.Tensor


class Colors(NamedTuple):
    """Factors of brightness and contrast and, of color images, of saturation, and shifts of hue."""

    brightness: torch.Tensor
    contrast: torch.Tensor
    saturation: torch.Tensor
    hue: torch.Tensor


class Erased(NamedTuple):
    """Which views have an erased rectangle, and the rectangle."""

    drawn: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor


@dataclass(frozen=True, eq=False)
class ImageDraws(Drawn):
    """Random values of the views of images, (n, n_views) each; None is what no view has."""

    shape: tuple  # of the images: channels, height and width
    sides: tuple  # height and width of the views
    crop: Crop
    flipped: torch.Tensor
    angle: torch.Tensor | None
    blur: Blur | None
    colors: Colors | None
    solarized: torch.Tensor | None
    erased: Erased | None

    def geometries(self):
        """Return the geometry of each view."""
        return geometries(self.crop, self.sides, self.flipped, self.angle)


def by_view(values):
    """Return values (n_views * n) of values (n, n_views), ordered by view; None stays."""
    if isinstance(values, tuple):
        return type(values)(*map(by_view, values))
    return None if values is None else values.T.flatten()


def _views(columns, drawn):
    """Return all views in one batch, (n_views * n, c, h', w'), ordered by view."""
    n_images, width, height, _ = columns.shape
    device, crop, flipped = columns.device, by_view(drawn.crop), by_view(drawn.flipped)
    n = len(flipped)
    # Crops refer to images by index, so images are not copied for each view.
    samples = torch.arange(n_images, device=device).repeat(drawn.flipped.shape[1])
    if drawn.angle is not None:
        # Rotated views are not weighted sums of rows and columns. They are sampled at the size of
        # the image, without aliasing, and then resized.
        images = turned(columns.permute(0, 3, 2, 1), crop, flipped, by_view(drawn.angle))
        columns, samples = images.permute(0, 3, 2, 1).contiguous(), None
        crop = Crop(*(torch.full((n,), side, device=device) for side in (0, 0, height, width)))
        flipped = torch.zeros_like(flipped)
    blur = None if drawn.blur is None else kernels_of(by_view(drawn.blur), drawn.sides)
    images = resize(columns, crop, flipped, drawn.sides, blur, samples)
    if drawn.colors is not None:
        images = change_colors(images, by_view(drawn.colors))
    if drawn.solarized is not None:
        solarized = by_view(drawn.solarized)[:, None, None, None]
        images = torch.where(solarized & (images >= 0.5), 1 - images, images)
    return images if drawn.erased is None else erase(images, by_view(drawn.erased))


def view_sides(recipe, height, width):
    """Return height and width of the views of images of this size."""
    if recipe.square:
        height = width = min(height, width)
    return tuple(max(1, round(side * recipe.size)) for side in (height, width))


def fixed_crops(recipe, height, width, n):
    """Return matrices of n deterministic crops, evenly spaced over an image.

    The crops have the mean area and aspect ratio of the recipe. A view is rows @ image @ columns.T,
    with rows (n, h', h) and columns (n, w', w).
    """
    area = sum(recipe.scale) / 2 * height * width
    aspect = math.sqrt(math.prod(recipe.ratio))
    taken = min(height, math.sqrt(area / aspect)), min(width, math.sqrt(area * aspect))
    # A grid, with rows of different lengths if n is not a square number; each position covers an
    # equal share of the range in which crops are drawn.
    n_rows = round(math.sqrt(n))
    lengths = [len(range(row, n, n_rows)) for row in range(n_rows)]
    grid = [(i, n_rows, j, length) for i, length in enumerate(lengths) for j in range(length)]
    i, n_rows, j, length = torch.tensor(grid, dtype=torch.float32, device="cpu").T
    places, views = ((i + 0.5) / n_rows, (j + 0.5) / length), view_sides(recipe, height, width)
    matrices = []
    for place, side, n_in, n_out in zip(places, taken, (height, width), views, strict=True):
        start = place * (n_in - side)
        matrices.append(line_matrices(start, torch.full_like(start, side), n_in, n_out))
    return matrices


def line_matrices(start, length, n_in, n_out):
    """Return matrices (n, n_out, n_in) that resize parts of n_in lines to n_out."""
    index, weight = lines(start, length, None, n_in, n_out)
    matrices = torch.zeros(len(start), n_out, n_in, device=start.device)
    return matrices.scatter_add_(2, index, weight)


def draw(n, probability, device, generator=None):
    """Draw for each of n samples whether it is augmented, with a probability."""
    return torch.rand(n, device=device, generator=generator) < probability


def draw_crop(n, sides, areas, aspects, device, generator=None):
    """Draw rectangles of random area, aspect ratio and position for n images.

    Also return whether one of the draws fits into the image (n,); if none does, the rectangle is
    the largest one of an allowed aspect ratio.
    """
    height, width = sides
    # Ten draws, of which the first that fits is used, as in torchvision.
    tries, random = (n, CROP_TRIES), (device, generator)
    area = uniform(tries, *areas, *random) * height * width
    aspect = uniform(tries, *(math.log(ratio) for ratio in aspects), *random).exp()
    # Not rounded to pixels, as small images would have few different crops.
    widths, heights = (area * aspect).sqrt(), (area / aspect).sqrt()
    fitting = (widths <= width) & (heights <= height)
    first = fitting.float().argmax(dim=1, keepdim=True)  # the first that fits
    aspect = min(max(width / height, aspects[0]), aspects[1])
    largest = min(height, width / aspect), min(width, height * aspect)
    fits = fitting.any(dim=1)
    chosen = [
        torch.where(fits, lengths.gather(1, first)[:, 0], side)
        for lengths, side in zip((heights, widths), largest, strict=True)
    ]
    places = [
        uniform(n, 0, 1, *random) * (side - taken)
        for side, taken in zip(sides, chosen, strict=True)
    ]
    return Crop(*places, *chosen), fits


def draw_angle(n, recipe, device, generator=None):
    """Draw an angle for each of n images, in radians."""
    angle = uniform(n, -recipe.rotation, recipe.rotation, device, generator) * (math.pi / 180)
    quarters = torch.randint(1, 4, (n,), device=device, generator=generator) * (math.pi / 2)
    return angle + torch.where(draw(n, recipe.quarter_turn, device, generator), quarters, 0.0)


def turned(images, crop, flipped, angle):
    """Sample crops that are rotated around their centers, with reflection padding.

    There may be several crops per image, ordered by view and then by image.
    """
    n, _, height, width = images.shape
    cos, sin = angle.cos(), angle.sin()
    mirror = torch.where(flipped, -1.0, 1.0)
    x, y = (2 * crop.left + crop.width - width), (2 * crop.top + crop.height - height)
    # The affine map from positions in a view to those in the image, in [-1, 1] along each side.
    placement = torch.stack(
        [
            torch.stack([mirror * crop.width * cos, -crop.height * sin, x], 1) / width,
            torch.stack([mirror * crop.width * sin, crop.height * cos, y], 1) / height,
        ],
        dim=1,
    )
    grid = affine_grid(placement.float(), (len(angle), *images.shape[1:]), align_corners=False)
    # The views of an image, stacked as one tall view: (n, n_views * h, w, 2).
    grid = grid.unflatten(0, (-1, n)).transpose(0, 1).flatten(1, 2)
    # In single precision: positions in half precision are off by whole pixels.
    views = grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    views = views.unflatten(2, (-1, height)).permute(2, 0, 1, 3, 4).flatten(0, 1)
    return views.to(images.dtype)


def resize(columns, crop, flipped, sides, blur=None, samples=None):
    """Crop, flip, resize and blur in two passes, one over columns and one over rows.

    A column of the result is a weighted sum of a few columns of the image, and a row of a few
    rows. ``columns`` are the images, (n, w, h, c); the result has shape (n, c, h', w'). If images
    become smaller, the weights are those of a wider triangle (antialiasing). ``samples`` are the
    indices of the images to crop, by default all.
    """
    height, width = sides
    n_columns, n_rows = columns.shape[1:3]
    columns = mix(columns, *lines(crop.left, crop.width, flipped, n_columns, width), samples)
    columns = blur_lines(columns, blur)
    rows = columns.transpose(1, 2).contiguous()  # (n, h, w', c)
    rows = mix(rows, *lines(crop.top, crop.height, None, n_rows, height))
    return blur_lines(rows, blur).permute(0, 3, 1, 2)


def mix(images, indices, weights, samples=None):
    """Return weighted sums of lines of each image, (n, n_out, ...) of (n, n_lines, ...).

    ``indices`` and ``weights`` of the lines have shape (n, n_out, n_terms). ``samples`` are the
    indices of the images, by default all.
    """
    n, n_lines = images.shape[:2]
    if samples is None:
        samples = torch.arange(n, device=images.device)
    indices = indices + (samples * n_lines)[:, None, None]
    bags = indices.flatten(0, 1)
    sums = embedding_bag(
        bags,
        images.reshape(n * n_lines, -1),
        mode="sum",
        per_sample_weights=weights.to(images.dtype).reshape(bags.shape),
    )
    return sums.view(*indices.shape[:2], *images.shape[2:])


def lines(start, length, flipped, n_in, n_out):
    """Return the indices and weights for ``mix`` to resize a part of n_in lines to n_out.

    They are those of torchvision's bilinear resizing of the part, with antialiasing.
    """
    start, length = start[:, None, None], length[:, None, None]
    scale = length / n_out
    support = scale.clamp(min=1)  # half the width of the triangle of weights
    middle = (torch.arange(n_out, device=start.device)[:, None] + 0.5) * scale
    if flipped is not None:
        middle = torch.where(flipped[:, None, None], length - middle, middle)
    middle = start + middle
    n_terms = math.ceil(2 * max(1, n_in / n_out))
    term = torch.arange(n_terms, device=start.device)
    index = (middle - support + 0.5).floor() + term  # (n, n_out, n_terms)
    weight = (1 - ((index + 0.5 - middle) / support).abs()).clamp_(min=0)
    weight = weight.where((index > start - 1) & (index < start + length), 0)
    index = index.clamp(0, n_in - 1).long()
    return index, weight / weight.sum(dim=2, keepdim=True)


def draw_blur(n, probability, device, generator=None):
    """Draw which of n images are blurred, and how much."""
    drawn = draw(n, probability, device, generator)
    return Blur(drawn, uniform(n, 0.1, 2.0, device, generator))


def kernels_of(blur, sides):
    """Return the indices of the blurred images (m,), and their kernels (m, k)."""
    drawn, sigma = blur
    device, side = drawn.device, min(sides)
    radius = min(max(1, round(side / 20)), side - 1)  # a kernel of about a tenth of the side
    position = torch.arange(-radius, radius + 1, device=device)
    kernels = torch.softmax(-(position**2) / (2 * sigma[:, None] ** 2), dim=1)
    if device.type == "cpu":
        samples = drawn.nonzero()[:, 0]
        return samples, kernels[samples]
    # Indexing by a mask would synchronize with the device: the others get an identity kernel.
    kernels = torch.where(drawn[:, None], kernels, (position == 0).float())
    return torch.arange(len(drawn), device=device), kernels


def blur_lines(images, blur):
    """Blur along the lines (n, n_lines, ...) of the images of ``kernels_of``."""
    if blur is None:
        return images
    samples, kernels = blur
    radius, last = kernels.shape[1] // 2, images.shape[1] - 1
    positions = torch.arange(last + 1, device=images.device)
    positions = positions[:, None] + torch.arange(-radius, radius + 1, device=images.device)
    positions = last - (last - positions.abs()).abs()  # reflection padding
    weights = kernels[:, None].expand(-1, *positions.shape)
    blurred = mix(images, positions.expand_as(weights), weights, samples)
    return images.index_copy_(0, samples, blurred)


def draw_erased(n, sides, recipe, device, generator=None):
    """Draw a rectangle for random ones of n views of these sides."""
    areas, random = recipe.erasing_scale, (device, generator)
    box, fits = draw_crop(n, sides, areas, ERASE_ASPECT, *random)
    return Erased(draw(n, recipe.random_erasing, *random) & fits, *box)


def erase(images, erased):
    """Fill the erased rectangles of images with their mean color."""
    drawn, *box = erased
    inside = pixels_of(box, images.shape[2:]) & drawn[:, None, None, None]
    return torch.where(inside, images.mean(dim=(2, 3), keepdim=True), images)


def pixels_of(box, sides):
    """Return a mask (n, 1, h, w) of the pixels in the rectangle of each image."""
    top, left, height, width = (values.round() for values in box)
    y, x = (torch.arange(side, device=top.device) for side in sides)
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None])[:, None]


def draw_colors(n, recipe, channels, device, generator=None):
    """Draw the changes of color of n images; of others than color images, two of them."""
    random = device, generator
    jittered = draw(n, recipe.color_jitter, *random)

    def factor(change):
        drawn = uniform(n, max(0, 1 - change), 1 + change, *random)
        return torch.where(jittered, drawn, 1.0)

    brightness, contrast = factor(recipe.brightness), factor(recipe.contrast)
    if channels != 3:
        return Colors(brightness, contrast, torch.ones_like(contrast), torch.zeros_like(contrast))
    saturation = factor(recipe.saturation)
    hue = torch.where(jittered, uniform(n, -recipe.hue, recipe.hue, *random), 0.0)
    # Grayscale is a saturation of 0.
    grayed = draw(n, recipe.grayscale, *random)
    return Colors(brightness, contrast, torch.where(grayed, 0.0, saturation), hue)


def change_colors(images, colors):
    """Change brightness and contrast and, of color images, saturation and hue."""
    n, channels = images.shape[:2]
    device = images.device
    brightness, contrast, saturation, hue = colors
    means = images.mean(dim=(2, 3)).float()  # (n, c)
    mean = means @ _color_axes(device)[0][0] if channels == 3 else means.mean(dim=1)
    offset = (1 - contrast) * brightness * mean
    scale = brightness * contrast
    if channels != 3:
        scaled = images * scale.to(images.dtype)[:, None, None, None]
        return (scaled + offset.to(images.dtype)[:, None, None, None]).clamp(0, 1)

    # Saturation scales the two color axes, which hue rotates.
    cos, sin = saturation * (2 * math.pi * hue).cos(), saturation * (2 * math.pi * hue).sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).reshape(n, 3, 3)
    to_yiq, from_yiq = _color_axes(device)
    matrix = from_yiq @ turn @ to_yiq * scale[:, None, None]
    # The offset is gray, which saturation and hue do not change.
    flat = images.flatten(2)  # (n, 3, h * w)
    colored = torch.baddbmm(offset.to(flat.dtype)[:, None, None], matrix.to(flat.dtype), flat)
    return colored.clamp_(0, 1).view(images.shape)


@functools.cache
def _color_axes(device):
    """Return YIQ and its inverse on a device, cached as copies synchronize with the device."""
    to_yiq = torch.tensor(YIQ, dtype=torch.float32, device="cpu")
    return to_yiq.to(device), torch.linalg.inv(to_yiq).to(device)
