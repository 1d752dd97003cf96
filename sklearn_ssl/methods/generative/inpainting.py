"""Inpainting: fill a hole in an image by what is around it."""

import math
from typing import Literal

import numpy as np
import torch
from sklearn import config_context
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, leaky_relu

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl.base import SSLTransformer, decibels
from sklearn_ssl.data.inputs import holds_nan
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.parameters import NonNegative, between
from sklearn_ssl.training.objective import Objective, joined, wide
from sklearn_ssl.views import ImageViews
from sklearn_ssl.views.image import Crop, pixels_of, uniform

ASPECTS = (0.5, 2.0)  # width over height of a random hole


class InpaintingObjective(Objective):
    """Squared error inside of holes, and how well a critic tells them from the image."""

    def __init__(self, encoder, hole, hole_area, adversarial_weight):
        super().__init__(encoder)
        self.hole, self.hole_area, self.adversarial_weight = hole, hole_area, adversarial_weight
        self.decode = Decoder(encoder.find_map(), encoder.in_shape)
        if adversarial_weight:
            self.criticise = Critic(encoder.in_shape[0])

    def forward(self, views):
        """Return the loss of a batch of views, each with a hole."""
        images = joined(views)
        holes = self.holes(images)
        told, features = self.told(images, holes)
        with full_precision(images.device):
            # In the channels' standard deviations, so that the mean colour has an error of 1.
            errors = ((wide(told) - images) / self.encoder.std).square() * holes
            error = errors.sum() / (holes.sum() * images.shape[1])
        found = {"loss": error, "embedding": features[: len(views[0])]}
        if self.adversarial_weight:
            filled = torch.where(holes, reversed_gradient(told), images)
            scores = self.criticise(torch.cat([images, filled]).clamp(0, 1))
            is_real = (torch.arange(len(scores), device=scores.device) < len(images)).to(scores)
            with full_precision(images.device):
                critic = binary_cross_entropy_with_logits(wide(scores), wide(is_real))
            found |= {"loss": error + self.adversarial_weight * critic}
            found |= {"squared_error": error.detach(), "critic_loss": critic.detach()}
        return found

    def chance_loss(self, n):
        """Return the loss of one who fills holes with the mean colour."""
        return 1.0 + self.adversarial_weight * math.log(2)

    def holes(self, images):
        """Draw the hole of each image, (n, 1, h, w)."""
        n, sides = len(images), images.shape[2:]
        if self.hole == "center":
            return central(sides, self.hole_area, images.device).expand(n, -1, -1, -1)
        area, ratio = self.hole_area, sides[1] / sides[0]
        # Of the aspects asked for those that fit, or else the nearest one that does.
        low, high = (math.log(min(max(x, area * ratio), ratio / area)) for x in ASPECTS)
        aspect = uniform(n, low, high, images.device).exp()
        pixels = area * sides[0] * sides[1]
        lengths = whole_lengths([(pixels / aspect).sqrt(), (pixels * aspect).sqrt()], sides)
        starts = [
            (uniform(n, 0, 1, images.device) * (side - length + 1)).floor()
            for side, length in zip(sides, lengths, strict=True)
        ]
        return pixels_of(Crop(*starts, *lengths), sides)

    def told(self, images, holes):
        """Return what the network puts in place of images with holes, and its features."""
        seen = torch.where(holes, self.encoder.mean, images)
        features, maps = self.encoder(seen, dense=True)
        return self.decode(maps, images.shape[2:]) * self.encoder.std + self.encoder.mean, features

    def filled(self, images, holes):
        """Return images whose holes are filled."""
        return torch.where(holes, self.told(images, holes)[0].clamp(0, 1), images)

    def pictures(self, images):
        """Return what is seen of images, and what is made of it."""
        holes = self.holes(images)
        return torch.where(holes, self.encoder.mean, images), self.filled(images, holes)


class Critic(nn.Module):
    """Tells images from those that were filled."""

    def __init__(self, n_channels, widths=(32, 64)):
        super().__init__()
        self.first = nn.Conv2d(n_channels, widths[0], 4, 2, 1)
        self.second = nn.Conv2d(widths[0], widths[1], 4, 2, 1)
        self.score = nn.Linear(widths[1], 1)

    def forward(self, images):
        """Return a score of each image, larger where it looks whole."""
        maps = leaky_relu(self.second(leaky_relu(self.first(images), 0.2)), 0.2)
        return self.score(maps.mean(dim=(2, 3)))[:, 0]


def reversed_gradient(tensor):
    """Return a tensor whose gradient goes back with the other sign.

    So one step teaches the critic to tell and the network to deceive it.
    """
    return 2 * tensor.detach() - tensor


def central(sides, area, device):
    """Tell which pixels of images of these sides are in the hole in their middle, (1, 1, h, w)."""
    lengths = [torch.full((1,), side * math.sqrt(area), device=device) for side in sides]
    lengths = whole_lengths(lengths, sides)
    starts = [((side - x) / 2).floor() for side, x in zip(sides, lengths, strict=True)]
    return pixels_of(Crop(*starts, *lengths), sides)


def whole_lengths(lengths, sides):
    """Return the lengths (n,) of holes in whole pixels, at least one, which leave some to be seen.

    A hole that would be the whole image loses a line across the longer side.
    """
    lengths = [x.round().clamp(1, side) for x, side in zip(lengths, sides, strict=True)]
    whole = (lengths[0] == sides[0]) & (lengths[1] == sides[1])
    longer = int(sides[1] > sides[0])
    lengths[longer] = lengths[longer] - whole.to(lengths[longer])
    return lengths


class InpaintingTransformer(SSLTransformer):
    """Learn features by filling a hole in an image by what is around it.

    Use it for photographs, and to fill holes: ``inpaint`` returns images without them, and
    ``score_pretext`` says how well. It takes images alone.

    Parameters
    ----------
    hole : {"random", "center"}, default="random"
        Where the hole is in training: a rectangle anywhere, up to twice as long in one direction as
        in the other (more in images so long that it would not fit), or the middle, with the sides'
        proportions.

    hole_area : float, default=0.25
        The hole's share of the image, in (0, 1), but for whole pixels: it has one at least, and
        leaves a line of the image.

    adversarial_weight : float, default=0.0
        Weight, at least 0, of a critic that learns to tell filled images from others, while the
        network learns to deceive it: fillings become sharper, and further from what was there. The
        squared error has the weight 1. ``history_`` holds both then.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The hole has the mean colour of all images, and the error is counted in the hole alone, in
    standard deviations of the colours, so that 1 is what the mean colour has. The paper counts the
    pixels around the hole as well, ten times as much, and has a layer that connects all places of a
    channel; here the map of the encoder is decoded as it is. Views have the images' size, as holes
    in smaller ones are smaller: of pieces of a photograph, with holes that were filled to 19.8
    decibels, a network that had seen smaller views left the middle gray, at 16.2. In ``transform``
    images have no holes.

    References
    ----------
    `Pathak et al. "Context encoders: feature learning by inpainting", CVPR 2016
    <https://arxiv.org/abs/1604.07379>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import InpaintingTransformer
    >>> images = load_digits().images[:200]
    >>> inpainting = InpaintingTransformer(max_epochs=1, random_state=0).fit(images)
    >>> inpainting.transform(images).shape
    (200, 256)
    >>> inpainting.inpaint(images).shape
    (200, 8, 8)
    """

    hole: Literal["random", "center"] = "random"
    hole_area: between(0, 1, "neither") = 0.25
    adversarial_weight: NonNegative = 0.0

    default_views = {
        "image": ImageViews(
            scale=(0.5, 1.0), color_jitter=0.0, grayscale=0.0, gaussian_blur=0.0, n_views=1
        )
    }
    whole_views = True  # holes are as large as those that users have

    def _make_objective(self, encoder, n_features, training):
        return InpaintingObjective(encoder, self.hole, self.hole_area, self.adversarial_weight)

    def inpaint(self, X, mask=None):
        """Fill holes in images.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape. What is in the holes is not looked at. There can
            be no NaN where images are read one by one or resized, as bytes.

        mask : array-like of bool, default=None
            True where the hole is: of shape (height, width), in all images, or (n_samples, height,
            width). Pixels that are NaN in any channel are added to it. None: these alone; if X
            holds no NaN, the middle of all images, as large as ``hole_area`` was in fit.

        Returns
        -------
        images : ndarray of the shape of X, as images
            X with what the network puts into the holes, in the layout of X and with values of the
            same range: bytes if X holds bytes, else float32. Images that are read one by one or
            resized are bytes of ``image_shape_``, or, if one cannot be read, int16, where it is -1.
        """
        with config_context(assume_finite=True):  # NaN may be there
            source, device = self._read_again(X)
        height, width = sides = source.shape[1:]
        unknown = holds_nan(source)
        if mask is None and unknown:
            mask = np.zeros(sides, bool)
        elif mask is None:
            with torch_defaults(torch.device("cpu")):
                mask = central(sides, self._objective.hole_area, "cpu")[0, 0].numpy()
        mask, n = np.asarray(mask), getattr(source, "n_rows", len(source))
        if mask.dtype != bool or mask.shape not in ((height, width), (n, height, width)):
            raise ValueError(
                f"mask must be of bool and of shape {(height, width)} or {(n, height, width)}, "
                f"True where a hole is. Got {mask.dtype} of shape {mask.shape}."
            )

        def filled(objective, images, holes):
            return objective.filled(images, holes | images.isnan().any(dim=1, keepdim=True))

        holes = torch.from_numpy(mask.copy()).expand(n, height, width)[:, None]
        return self._map_images(source, device, filled, holes)

    def score_pretext(self, X, y=None):
        """Return how well a hole in the middle is filled, the peak signal-to-noise ratio.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape, without holes.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        ratio : float
            10 * log10(1 / mean squared error) inside of the holes of all images, in decibels, where
            the largest value is 1. Larger is better.
        """

        def errors(objective, images):
            hole = central(images.shape[2:], objective.hole_area, images.device)
            told = objective.filled(images, hole.expand(len(images), -1, -1, -1))
            return (told - images).square().mean(dim=1)[:, hole[0, 0]].mean(dim=1)

        return decibels(self._of_read(X, errors))
