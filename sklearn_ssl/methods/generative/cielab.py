"""Colours as people see them: lightness, and two axes that have no part in it (CIELAB)."""

import torch

# Red, green and blue of sRGB, linear, to X, Y and Z, as shares of those of white (D65), so that
# gray has no colour to the last digit; and back.
TO_XYZ = (
    (0.433953, 0.376219, 0.189828),
    (0.212673, 0.715152, 0.072175),
    (0.017757, 0.109470, 0.872774),
)
TO_RGB = tuple(map(tuple, torch.linalg.inv(torch.tensor(TO_XYZ, device="cpu").double()).tolist()))
KNEE, SLOPE = 6 / 29, 3 * (6 / 29) ** 2  # of the cube root, below which it is a line


def lightness(images):
    """Return the lightness of images of three channels or one, (n, 1, h, w), from 0 to 1."""
    channels = _linear(images)
    if images.shape[1] == 3:
        channels = _mixed(channels, TO_XYZ[1:2])
    return 1.16 * _root(channels) - 0.16


def lab_of(images):
    """Return lightness, from 0 to 100, and the axes a and b of colour images, (n, 3, h, w)."""
    x, y, z = _root(_mixed(_linear(images), TO_XYZ)).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def rgb_of(lab):
    """Return colour images, whose values are cut to those from 0 to 1 where there is no such."""
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    channels = torch.where(roots > KNEE, roots**3, SLOPE * (roots - 4 / 29))
    channels = _mixed(channels, TO_RGB).clamp(0, 1)
    bright = 1.055 * channels.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(channels > 0.0031308, bright, 12.92 * channels)


def _linear(images):
    """Return what values of sRGB stand for, in amounts of light."""
    bright = ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(images > 0.04045, bright, images / 12.92)


def _root(values):
    """Return cube roots, and a line where values are small."""
    return torch.where(
        values > KNEE**3, values.clamp(min=KNEE**3) ** (1 / 3), values / SLOPE + 4 / 29
    )


def _mixed(channels, matrix):
    """Return sums of the channels, weighted by the rows of a matrix.

    Not a product of matrices, which autocast would round.
    """
    parts = channels.unbind(1)
    return torch.stack(
        [sum(weight * part for weight, part in zip(row, parts, strict=True)) for row in matrix], 1
    )
