"""Super-resolution: predict an image from a smaller copy of it."""

from dataclasses import replace
from typing import Literal

from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods.generative._base import ImageGenerator, check_divisible
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.networks.encoder import with_map
from sklearn_ssl.training.objective import Objective, joined, wide
from sklearn_ssl.views.image import CROPS


class SuperResolutionObjective(Objective):
    """Squared error of upscaled images, divided by that of bicubic interpolation."""

    near_chance = 0.99  # few details can be predicted

    def __init__(self, encoder, scale):
        encoder, map_shape = with_map(encoder)
        super().__init__(encoder)
        self.scale, self.decode = scale, Decoder(map_shape, encoder.in_shape)
        for parameter in self.decode.last.parameters():  # training starts from interpolation
            nn.init.zeros_(parameter)

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        check_divisible(images.shape[2:], "scale", self.scale, "views")
        upscaled, plain, features = self.upscale(avg_pool2d(images, self.scale))
        with full_precision(images.device):
            error, chance = ((wide(x) - images).square().mean() for x in (upscaled, plain))
        loss = error / world().mean(chance).clamp(min=1e-8)
        return {"loss": loss, "embedding": features[: len(views[0])]}

    def upscale(self, images):
        """Return images upscaled by the network, and by interpolation; and features."""
        plain = interpolate(images, scale_factor=self.scale, mode="bicubic", align_corners=False)
        features = self.encoder.features(plain)
        return plain + self.decode(features.map, plain.shape[2:]), plain, features.pooled

    def chance_loss(self, n):
        """Return the loss of bicubic interpolation."""
        return 1.0

    def pictures(self, images):
        """Return the smaller copies of images, and these upscaled."""
        small = avg_pool2d(images, self.scale)
        return small, self.upscale(small)[0].clamp(0, 1)


class SuperResolutionTransformer(ImageGenerator):
    """Super-resolution: predict an image from a smaller copy of it.

    Use it to enlarge images, by ``upscale``. Other methods give better features of objects.

    Parameters
    ----------
    scale : {2, 4, 8}, default=2
        Factor between the sides of the image, which it has to divide, and of the copy.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The encoder sees the copy enlarged by bicubic interpolation, as in the paper, to which the
    decoder's output is added. The default views are whole images, as crops have lost details.

    References
    ----------
    `Dong et al. "Image super-resolution using deep convolutional networks", TPAMI 2015
    <https://arxiv.org/abs/1501.00092>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SuperResolutionTransformer
    >>> images = load_digits().images[:200]
    >>> model = SuperResolutionTransformer(max_epochs=1, random_state=0).fit(images)
    >>> model.upscale(images).shape
    (200, 16, 16)
    """

    scale: Literal[2, 4, 8] = 2

    default_views = {"image": replace(CROPS, scale=(1.0, 1.0), color_jitter=0.8)}
    whole_views = False  # the network of other methods, which is finer

    def _default_views(self, spec):
        return replace(self.default_views["image"], ratio=(spec.shape[2] / spec.shape[1],) * 2)

    def _make_objective(self, encoder, n_features, training):
        check_divisible(encoder.in_shape[1:], "scale", self.scale, "images")
        return SuperResolutionObjective(encoder, self.scale)

    def upscale(self, X):
        """Enlarge images.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        Returns
        -------
        images : ndarray of shape (n_samples, scale * height, scale * width, ...)
            {generated}
        """
        found, copies = self._read_again(X), self.objective_.scale**2
        return self._map_images(*found, lambda o, x: o.upscale(x)[0].clamp(0, 1), copies=copies)
