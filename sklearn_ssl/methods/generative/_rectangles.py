"""Rectangular masks, (n, 1, h, w), True where pixels are masked."""

import math

import numpy as np
import torch

from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl.views.drawn import uniform
from sklearn_ssl.views.geometry import Crop
from sklearn_ssl.views.image import pixels_of

ASPECTS = (0.5, 2.0)  # width over height of a random mask


def random_masks(n, sides, ratio, device):
    """Draw rectangles that mask this share of images of these sides, equally likely everywhere."""
    aspect_of_image = sides[1] / sides[0]
    # The range of aspects that fit, or the nearest one that does.
    low, high = (
        math.log(min(max(x, ratio * aspect_of_image), aspect_of_image / ratio)) for x in ASPECTS
    )
    aspect = uniform(n, low, high, device).exp()
    pixels = ratio * sides[0] * sides[1]
    lengths = rounded([(pixels / aspect).sqrt(), (pixels * aspect).sqrt()], sides)
    starts = [
        (uniform(n, 0, 1, device) * (side - length + 1)).floor()
        for side, length in zip(sides, lengths, strict=True)
    ]
    return pixels_of(Crop(*starts, *lengths), sides)


def central_masks(n, sides, ratio, device):
    """Return rectangles in the middle that mask this share of images of these sides."""
    lengths = [torch.full((1,), side * math.sqrt(ratio), device=device) for side in sides]
    lengths = rounded(lengths, sides)
    starts = [((side - x) / 2).floor() for side, x in zip(sides, lengths, strict=True)]
    return pixels_of(Crop(*starts, *lengths), sides).expand(n, -1, -1, -1)


def given_masks(mask, n, sides, ratio):
    """Return the mask that a user gives, (h, w) or (n, h, w), as a tensor (n, 1, h, w).

    None is the middle, of this share of an image, or nothing if ``ratio`` is None.
    """
    if mask is None:
        with torch_defaults(torch.device("cpu")):
            middle = ratio and central_masks(1, sides, ratio, "cpu")[0, 0].numpy()
        mask = np.zeros(sides, bool) if ratio is None else middle
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (tuple(sides), (n, *sides)):
        raise ValueError(
            f"mask must be of bool and of shape {tuple(sides)} or {(n, *sides)}, True where "
            f"pixels are masked. Got {mask.dtype} of shape {mask.shape}."
        )
    return torch.from_numpy(mask.copy()).expand(n, *sides)[:, None]


def rounded(lengths, sides):
    """Return lengths of masks (n,) in whole pixels, from one to all but one line of the image."""
    lengths = [x.round().clamp(1, side) for x, side in zip(lengths, sides, strict=True)]
    whole = (lengths[0] == sides[0]) & (lengths[1] == sides[1])
    longer = int(sides[1] > sides[0])
    lengths[longer] = lengths[longer] - whole.to(lengths[longer])
    return lengths
