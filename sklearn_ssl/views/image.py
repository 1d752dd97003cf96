"""Random views of images: crop, flip, turn, colours, blur, drawn for each image on its own.

torchvision's random transforms draw once for a whole batch; here one resampling and one colour
matrix serve the batch, and every image has draws of its own.
"""

import functools
import math
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

# Rec. 601 luma, the weights of torchvision's and Pillow's conversion to gray.
LUMA = (0.299, 0.587, 0.114)
# RGB to luma and two axes of colour, the plane in which hues are turned.
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
CROP_TRIES = 10


@dataclass(frozen=True)
class ImageViews:
    """Random views of each image: crop and resize, flip, rotate, change colours, blur, solarise.

    Use it as the ``views`` of an estimator, to say which changes of an image the embedding shall
    not notice. Images are float tensors of shape (n, c, h, w) with values in [0, 1]; so are the
    views, of the same height and width unless ``size`` or ``square`` says otherwise. Saturation,
    hue and gray need the three channels of colour images and leave others as they are.

    Parameters
    ----------
    crop_area : tuple of two floats, default=(0.2, 1.0)
        Smallest and largest area of the crop, as shares of the image's area, in (0, 1].

    crop_aspect : tuple of two floats, default=(0.75, 1.3333)
        Smallest and largest ratio of the crop's width to its height.

    flip : float, default=0.5
        Probability of a left-right flip.

    rotation : float, default=0.0
        Largest rotation, in degrees, to either side.

    quarter_turn : float, default=0.0
        Probability of a further rotation by 90, 180 or 270 degrees. Only for square images.

    jitter : float, default=0.8
        Probability that brightness, contrast, saturation and hue are changed, all together.

    brightness, contrast : float or "auto", default="auto"
        Largest relative change of each: factors are drawn from [max(0, 1 - value), 1 + value].
        "auto" is 0.4 for colour images, and 0.8 for others, which have nothing else to change.

    saturation : float, default=0.4
        Likewise.

    hue : float, default=0.1
        Largest turn of the colour circle, as a share of the full circle, in [0, 0.5].

    gray : float, default=0.2
        Probability that a colour image loses its colours.

    blur : float or "auto", default="auto"
        Probability of a Gaussian blur, with a standard deviation drawn from 0.1 to 2 pixels and
        a kernel of about a tenth of the image's side. "auto" is 0.5 for images of more than 32
        pixels and 0 for smaller ones, where blur removes what there is to see.

    solarize : float, default=0.0
        Probability that values of at least one half are inverted.

    size : float, default=1.0
        Sides of the views, as a share of the image's sides, in (0, 1]: 0.5 makes views of 16
        pixels from images of 32.

    square : bool, default=False
        Whether views are square, as long as the shorter side, whatever the image's shape is.

    n_views : int, default=2
        Number of views.

    Notes
    -----
    Two things differ from torchvision's transforms. Brightness, contrast, saturation, hue and
    gray follow each other in this order and not in a random one, so that together they are one
    matrix for each image; values are clipped to [0, 1] once, at the end. Hue turns the colours
    around the gray axis, which keeps the luma, instead of passing through HSV.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import ImageViews
    >>> first, second = ImageViews(flip=0.0)(torch.rand(8, 3, 32, 32))
    >>> first.shape
    torch.Size([8, 3, 32, 32])
    """

    crop_area: tuple = (0.2, 1.0)
    crop_aspect: tuple = (3 / 4, 4 / 3)
    flip: float = 0.5
    rotation: float = 0.0
    quarter_turn: float = 0.0
    jitter: float = 0.8
    brightness: float | str = "auto"
    contrast: float | str = "auto"
    saturation: float = 0.4
    hue: float = 0.1
    gray: float = 0.2
    blur: float | str = "auto"
    solarize: float = 0.0
    size: float = 1.0
    square: bool = False
    n_views: int = 2

    kind = "image"

    def __post_init__(self):
        shares = ("flip", "quarter_turn", "jitter", "gray", "blur", "solarize")
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
        low, high = self.crop_area
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"crop_area must be two shares, 0 < low <= high <= 1. Got {self.crop_area} instead."
            )
        low, high = self.crop_aspect
        if not 0 < low <= high:
            raise ValueError(
                f"crop_aspect must be two ratios, 0 < low <= high. Got {self.crop_aspect} instead."
            )
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1. Got {self.n_views} instead.")

    def for_images(self, height, width, channels):
        """Return the recipe with what images of this shape decide filled in."""
        if self.quarter_turn and height != width:
            raise ValueError(
                f"quarter_turn={self.quarter_turn} needs square images, not {height} x {width} "
                "pixels. Crop them, or set it to 0."
            )
        resolved = {
            "blur": 0.5 if min(height, width) * self.size > 32 else 0.0,
            "brightness": 0.4 if channels == 3 else 0.8,
            "contrast": 0.4 if channels == 3 else 0.8,
        }
        changes = {k: v for k, v in resolved.items() if getattr(self, k) == "auto"}
        if channels != 3:
            changes.update(saturation=0.0, hue=0.0, gray=0.0)
        return replace(self, **changes)

    def __call__(self, images):
        """Return the views of a batch of images, shape (n, c, h', w') each, values in [0, 1]."""
        recipe = self.for_images(*images.shape[2:], images.shape[1])
        return [_view(images, recipe) for _ in range(self.n_views)]


def _view(images, recipe):
    height, width = images.shape[2:]
    if recipe.square:
        height = width = min(height, width)
    sides = [max(1, round(side * recipe.size)) for side in (height, width)]
    images = resample(images, draw_placement(images, recipe), sides)
    if recipe.jitter or recipe.gray:
        images = change_colors(images, recipe)
    if recipe.blur:
        images = blur(images, recipe.blur)
    if recipe.solarize:
        drawn = torch.rand(len(images), 1, 1, 1, device=images.device) < recipe.solarize
        images = torch.where(drawn & (images >= 0.5), 1 - images, images)
    return images


def uniform(n, low, high, device):
    """Draw n values, one a sample, uniformly between low and high."""
    return torch.empty(n, device=device).uniform_(low, high)


def draw_placement(images, recipe):
    """Draw for each image the affine map, shape (n, 2, 3), from a view's positions to the image's.

    Positions run from -1 to 1 along each side, as in :func:`torch.nn.functional.affine_grid`.
    """
    n, _, height, width = images.shape
    device = images.device
    # Ten tries for a crop that lies inside the image, as torchvision makes them, all at once.
    area = uniform((n, CROP_TRIES), *recipe.crop_area, device) * height * width
    low, high = (math.log(ratio) for ratio in recipe.crop_aspect)
    aspect = uniform((n, CROP_TRIES), low, high, device).exp()
    crop_widths, crop_heights = (area * aspect).sqrt(), (area / aspect).sqrt()
    inside = (crop_widths <= width) & (crop_heights <= height)
    first = inside.float().argmax(dim=1, keepdim=True)  # the first try that fits
    crop_width, crop_height = (t.gather(1, first)[:, 0] for t in (crop_widths, crop_heights))
    # Where none fits, the largest crop whose aspect is allowed.
    aspect = min(max(width / height, recipe.crop_aspect[0]), recipe.crop_aspect[1])
    fits = inside.any(dim=1)
    crop_width = torch.where(fits, crop_width, min(width, height * aspect))
    crop_height = torch.where(fits, crop_height, min(height, width / aspect))
    x = uniform(n, -1, 1, device) * (1 - crop_width / width)
    y = uniform(n, -1, 1, device) * (1 - crop_height / height)

    angle = uniform(n, -recipe.rotation, recipe.rotation, device) * (math.pi / 180)
    if recipe.quarter_turn:
        quarters = torch.randint(1, 4, (n,), device=device)
        turned = torch.rand(n, device=device) < recipe.quarter_turn
        angle = angle + torch.where(turned, quarters * (math.pi / 2), 0.0)
    side = torch.where(torch.rand(n, device=device) < recipe.flip, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack(
        [
            torch.stack([side * crop_width * cos, -crop_height * sin, x * width], 1) / width,
            torch.stack([side * crop_width * sin, crop_height * cos, y * height], 1) / height,
        ],
        dim=1,
    )


def resample(images, placement, sides):
    """Look up each view's pixels in its image; what lies outside is the image mirrored."""
    grid = affine_grid(placement, [*images.shape[:2], *sides], align_corners=False)
    grid = grid.to(images.dtype)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def change_colors(images, recipe):
    """Change brightness and contrast and, of colour images, saturation, hue and gray."""
    n, channels = images.shape[:2]
    device = images.device
    jittered = torch.rand(n, device=device) < recipe.jitter

    def factor(change):
        return torch.where(jittered, uniform(n, max(0, 1 - change), 1 + change, device), 1.0)

    brightness, contrast = factor(recipe.brightness), factor(recipe.contrast)
    means = images.mean(dim=(2, 3)).float()  # (n, c)
    mean = means @ _color_axes(device)[0][0] if channels == 3 else means.mean(dim=1)
    offset = (1 - contrast) * brightness * mean
    scale = brightness * contrast
    if channels != 3:
        scaled = images * scale.to(images.dtype)[:, None, None, None]
        return (scaled + offset.to(images.dtype)[:, None, None, None]).clamp(0, 1)

    saturation = factor(recipe.saturation)
    hue = torch.where(jittered, uniform(n, -recipe.hue, recipe.hue, device), 0.0)
    grayed = torch.rand(n, device=device) < recipe.gray
    # Gray is a saturation of 0: both scale the two colour axes, which hue turns.
    saturation = torch.where(grayed, 0.0, saturation)
    cos, sin = saturation * (2 * math.pi * hue).cos(), saturation * (2 * math.pi * hue).sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).reshape(n, 3, 3)
    to_yiq, from_yiq = _color_axes(device)
    matrix = from_yiq @ turn @ to_yiq * scale[:, None, None]
    # The offset is gray, which saturation and hue leave alone.
    flat = images.flatten(2)  # (n, 3, h * w)
    colored = torch.baddbmm(offset.to(flat.dtype)[:, None, None], matrix.to(flat.dtype), flat)
    return colored.clamp_(0, 1).view(images.shape)


@functools.cache
def _color_axes(device):
    """Return YIQ and its inverse on a device, made once: making them waits for the device."""
    to_yiq = torch.tensor(YIQ, dtype=torch.float32)
    return to_yiq.to(device), torch.linalg.inv(to_yiq).to(device)


def blur(images, probability):
    """Blur the images that draw it, each with a strength of its own."""
    n, channels, height, width = images.shape
    device = images.device
    side = min(height, width)
    radius = min(max(1, round(side / 20)), side - 1)  # a kernel of about a tenth of the side
    sigma = uniform(n, 0.1, 2.0, device)
    position = torch.arange(-radius, radius + 1, device=device)
    kernel = torch.softmax(-(position**2) / (2 * sigma[:, None] ** 2), dim=1)
    drawn = torch.rand(n, device=device) < probability
    kernel = torch.where(drawn[:, None], kernel, (position == 0).float()).to(images.dtype)
    kernel = kernel.repeat_interleave(channels, dim=0)[:, None]  # (n * c, 1, k)
    padded = pad(images, [radius] * 4, mode="reflect")
    flat = padded.reshape(1, n * channels, *padded.shape[2:])
    flat = conv2d(flat, kernel[:, :, None, :], groups=n * channels)
    return conv2d(flat, kernel[:, :, :, None], groups=n * channels).view(images.shape)
