"""CIELAB: lightness L and the color axes a and b of images, and bins of a and b."""

import torch
from torch import nn
from torch.nn.functional import interpolate, log_softmax, softmax

from sklearn_ssl.training.objective import wide

# Linear sRGB to X, Y and Z, divided by those of white (D65), so that a and b of gray are exactly 0.
TO_XYZ = (
    (0.433953, 0.376219, 0.189828),
    (0.212673, 0.715152, 0.072175),
    (0.017757, 0.109470, 0.872774),
)
TO_RGB = tuple(map(tuple, torch.linalg.inv(torch.tensor(TO_XYZ, device="cpu").double()).tolist()))
KNEE, SLOPE = 6 / 29, 3 * (6 / 29) ** 2  # of the cube root, below which it is a line
SPACING, BANDWIDTH, N_NEAREST = 10, 5, 5  # of the bins; of their kernel; bins per soft target
REDUCTION = 4  # sides of the image, divided by those of the predicted colors
LEAST_CHROMA = 0.5  # the largest |a| or |b| of color images is above


def lightness(images):
    """Return the lightness of images with three channels or one, (n, 1, h, w), in [0, 1]."""
    channels = _linear(images)
    if images.shape[1] == 3:
        channels = _mixed(channels, TO_XYZ[1:2])
    return 1.16 * _root(channels) - 0.16


class LightnessChannels(nn.Module):
    """Lightness of images as three equal channels."""

    def forward(self, images):
        """Return the channels of a batch."""
        return lightness(images).expand(-1, 3, -1, -1)


class LabChannels(nn.Module):
    """L, a and b of images as channels in [0, 1]."""

    def forward(self, images):
        """Return the channels of a batch, of which a and b are 0.5 for gray images."""
        lab = rgb_to_lab(images.expand(-1, 3, -1, -1))
        return torch.cat([lab[:, :1] / 100, lab[:, 1:] / 220 + 0.5], dim=1)


def rgb_to_lab(images):
    """Return L, in [0, 100], a and b of color images, (n, 3, h, w)."""
    x, y, z = _root(_mixed(_linear(images), TO_XYZ)).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab):
    """Return color images, with values outside the gamut clipped to [0, 1]."""
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    channels = torch.where(roots > KNEE, roots**3, SLOPE * (roots - 4 / 29))
    channels = _mixed(channels, TO_RGB).clamp(0, 1)
    bright = 1.055 * channels.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(channels > 0.0031308, bright, 12.92 * channels)


def reduced(sides):
    """Return the sides at which colors are predicted."""
    return tuple(-(-side // REDUCTION) for side in sides)


def lab_of(images, sides):
    """Return L, a and b of images, (n, 3, *sides), averaged over the pixels of each place."""
    return interpolate(rgb_to_lab(images), sides, mode="area")


def ab_bins(n_steps=86):
    """Return the bins of a and b that contain colors of sRGB, (n_bins, 2), on a grid."""
    steps = torch.linspace(0, 1, n_steps, device="cpu")
    cube = torch.cartesian_prod(steps, steps, torch.tensor([0.0, 1.0], device="cpu"))
    # All values of a and b are on the surface of the RGB cube, at one lightness or another.
    surface = torch.cat([cube.roll(turn, dims=1) for turn in range(3)])
    colors = rgb_to_lab(surface[:, :, None, None])[:, 1:, 0, 0]
    return SPACING * torch.unique((colors / SPACING).round(), dim=0)


def soft_targets(colors, bins):
    """Return the nearest bins of colors (n, 2, h, w), and their weights, (n, h * w, 5)."""
    places = colors.flatten(2).transpose(1, 2)
    distances = torch.cdist(places, bins.to(places), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(N_NEAREST, largest=False)
    weights = kernel(nearest.values)
    return nearest.indices, weights / weights.sum(dim=2, keepdim=True)


def cross_entropy(logits, values, bins):
    """Return the cross entropy of soft targets at each place, (n, h * w), and the nearest bins."""
    index, share = soft_targets(values, bins)
    logs = log_softmax(wide(logits).flatten(2).transpose(1, 2), dim=2).gather(2, index)
    return -(share * logs).sum(dim=2), index[..., 0]


def expected(logits, bins, temperature=1.0):
    """Return the expected values at each place, (n, c, h, w), by logits of bins (n_bins, c)."""
    shares = softmax(wide(logits) / temperature, dim=1)
    return torch.einsum("nqhw,qc->nchw", shares, bins.to(shares))


def bin_frequencies(batches, bins):
    """Return the frequencies of bins in soft targets, by the nearest bin, (n_bins, n_bins)."""
    n, strongest = len(bins), 0.0
    found = bins.new_zeros(n * n, dtype=torch.float64)
    for images in batches:
        colors = lab_of(images, reduced(images.shape[2:]))[:, 1:]
        index, share = soft_targets(colors, bins)
        index = index + n * index[..., :1]
        found.index_add_(0, index.flatten(), share.flatten().double())
        strongest = max(strongest, colors.abs().max().item())
    check_chroma(strongest)
    return found.view(n, n) / found.sum()


def class_weights(frequency, bins, uniform_share):
    """Return weights of bins by the inverse of their smoothed frequency, with mean 1 over it."""
    near = kernel(torch.cdist(bins, bins).double())
    frequency = frequency @ (near / near.sum(dim=1, keepdim=True))
    weights = 1 / ((1 - uniform_share) * frequency + uniform_share / len(bins))
    return weights / (frequency * weights).sum()


def kernel(distances):
    """Return the Gaussian kernel of distances between colors, 1 at 0."""
    return torch.exp(-(distances**2) / (2 * BANDWIDTH**2))


def weighted_entropy(code):
    """Return the entropy of weighted frequencies of bins, in nats."""
    return (torch.special.entr(code).sum() + code.sum() * code.sum().log()).item()


def with_colors(images, colors):
    """Return images with their lightness and other colors, maps (n, 2, h', w') of a and b."""
    colors = enlarged(colors, images.shape[2:])
    return lab_to_rgb(torch.cat([100 * lightness(images), colors], dim=1))


def enlarged(maps, sides):
    """Return maps of channels as large as images, interpolated bilinearly."""
    return interpolate(maps, sides, mode="bilinear", align_corners=False)


def gray(images):
    """Return images with the lightness of these, and no color."""
    return with_colors(images, images.new_zeros(len(images), 2, 1, 1))


def errors_and_chroma(colorized, images):
    """Return the mean squared error and the largest chroma of each image, (n, 2)."""
    check_colored(images)
    errors, chroma = (colorized - images).square(), rgb_to_lab(images)[:, 1:].abs()
    return torch.stack([errors.mean(dim=(1, 2, 3)), chroma.amax(dim=(1, 2, 3))], dim=1)


def check_colored(images, what="The images of X"):
    """Raise where images are gray, and have no colors to compare with."""
    if images.shape[1] != 3:
        raise ValueError(
            f"{what} are gray, without colors to compare the prediction with. Pass color images; "
            "transform and colorize take gray ones."
        )


def check_chroma(strongest):
    """Raise where images with three channels are gray, by the largest |a| or |b|."""
    if strongest < LEAST_CHROMA:
        raise ValueError("The images of X have three channels and no colors. Pass color images.")


def _linear(images):
    """Return sRGB values as linear intensities."""
    bright = ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(images > 0.04045, bright, images / 12.92)


def _root(values):
    """Return the cube root, and a line for small values."""
    return torch.where(
        values > KNEE**3, values.clamp(min=KNEE**3) ** (1 / 3), values / SLOPE + 4 / 29
    )


def _mixed(channels, matrix):
    """Return the product of a matrix with the channels, as sums that autocast does not round."""
    parts = channels.unbind(1)
    return torch.stack(
        [sum(weight * part for weight, part in zip(row, parts, strict=True)) for row in matrix], 1
    )
