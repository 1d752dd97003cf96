"""Inpainting (context encoder): reconstruct a masked region from its surroundings."""

import math
from typing import Literal

import torch
from sklearn import config_context

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.data.arrays import holds_nan
from sklearn_ssl.methods.generative._adversarial import AdversarialObjective
from sklearn_ssl.methods.generative._base import ImageGenerator, MaskedObjective
from sklearn_ssl.methods.generative._rectangles import central_masks, given_masks, random_masks
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.networks.encoder import with_map
from sklearn_ssl.parameters import NonNegative, between
from sklearn_ssl.training.objective import joined, wide


class InpaintingObjective(AdversarialObjective, MaskedObjective):
    """Squared error of masked pixels, and the loss of a discriminator of filled images."""

    def __init__(self, encoder, mask, mask_ratio, adversarial_weight):
        encoder, map_shape = with_map(encoder)
        super().__init__(encoder)
        self.mask, self.mask_ratio, self.adversarial_weight = mask, mask_ratio, adversarial_weight
        self.decode = Decoder(map_shape, encoder.in_shape)
        self.add_discriminator(encoder.in_shape[0])

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        masks = self.masks(images, n_views=len(views))
        predicted, features = self.reconstruct(images, masks)
        with full_precision(images.device):
            # In standard deviations of the channels: the mean color has an error of 1.
            errors = ((wide(predicted) - images) / self.encoder.std).square() * masks
            error = errors.sum() / (world().mean(masks.sum().float()) * images.shape[1])
        found = {"loss": error, "embedding": features[: len(views[0])]}
        if self.adversarial_weight:
            found |= self.adversarial_losses(images, predicted, masks) | {"squared_error": error}
            found["loss"] = error + self.adversarial_weight * found["adversarial_loss"]
        return found

    def chance_loss(self, n):
        """Return the loss of the mean color in all masked regions."""
        return 1.0 + self.adversarial_weight * math.log(2)

    def masks(self, images, n_views=1):
        """Draw a rectangle for each image, (n, 1, h, w), True where pixels are masked."""
        draw = central_masks if self.mask == "center" else random_masks
        rest = images.shape[2:], self.mask_ratio, images.device
        return world().drawn(lambda n: draw(n, *rest), len(images), n_views)

    def reconstruct(self, images, masks):
        """Return the images that the network predicts, of any values, and its features."""
        visible = torch.where(masks, self.encoder.mean, images)
        features = self.encoder.features(visible)
        images = self.decode(features.map, images.shape[2:]) * self.encoder.std + self.encoder.mean
        return images, features.pooled


class InpaintingTransformer(ImageGenerator):
    """Inpainting (context encoder): reconstruct a masked region from its surroundings.

    Use it for photographs, and to fill missing regions by ``inpaint``. ``transform`` masks nothing.

    Parameters
    ----------
    mask : {"random", "center"}, default="random"
        Region that is masked during training: a rectangle anywhere with an aspect ratio from 0.5 to
        2 (or the nearest that fits), or the middle, with the aspect ratio of the image.

    mask_ratio : float, default=0.25
        Share of the image that is masked, in (0, 1), rounded to whole pixels: at least one, and at
        most all but one line of the image.

    adversarial_weight : float, default=0.0
        Weight of an adversarial loss, at least 0, where the squared error has 1: a discriminator
        is trained to find filled images. They become sharper, and less accurate.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The masked region has the mean color of all images, and the loss is that of masked pixels; the
    paper weights those at its border ten times, and adds a channel-wise fully connected layer.

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
    >>> inpainting.inpaint(images).shape
    (200, 8, 8)
    """

    mask: Literal["random", "center"] = "random"
    mask_ratio: between(0, 1, "neither") = 0.25
    adversarial_weight: NonNegative = 0.0

    def _make_objective(self, encoder, n_features, training):
        return InpaintingObjective(encoder, self.mask, self.mask_ratio, self.adversarial_weight)

    def inpaint(self, X, mask=None):
        """Fill masked regions of images.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape, whose masked pixels are not used. NaN is not
            allowed where images are decoded or resized.

        mask : array-like of bool, default=None
            True where pixels are masked, of shape (height, width), for all images, or (n_samples,
            height, width). Pixels with NaN in a channel are masked too. None masks only these, or
            if there is no NaN, the middle of all images, by the ``mask_ratio`` of fit.

        Returns
        -------
        images : ndarray of the shape of X, as images
            {generated}
        """
        with config_context(assume_finite=True):  # allows NaN
            source, device = self._read_again(X)
        ratio = None if holds_nan(source) else self.objective_.mask_ratio
        masks = given_masks(mask, getattr(source, "n_rows", len(source)), source.shape[1:], ratio)

        def filled(objective, images, masks):
            return objective.filled(images, masks | images.isnan().any(dim=1, keepdim=True))

        return self._map_images(source, device, filled, masks)

    def _squared_errors(self, X):
        def squared_errors(objective, images):
            size, ratio = (len(images), images.shape[2:]), objective.mask_ratio
            return objective.squared_errors(images, central_masks(*size, ratio, images.device))

        return self._of_read(X, squared_errors)
