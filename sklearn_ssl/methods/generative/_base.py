"""What the methods that generate images share: scores, masks, and images like those of X."""

import inspect

import numpy as np
import torch

from sklearn_ssl.base import SSLTransformer, mean_of
from sklearn_ssl.methods._images import MapsImages
from sklearn_ssl.training.objective import Objective
from sklearn_ssl.views.image import CROPS

GENERATED = """\
With the layout and the value range of X: uint8 if X holds bytes, else float32. Images that
    are decoded or resized are uint8 of shape ``image_shape_``, or int16 if one of them cannot be
    read, which is filled with -1."""


class MaskedObjective(Objective):
    """Base of the objectives that reconstruct masked pixels from the visible ones."""

    def masks(self, images, n_views=1):
        """Draw a mask for each image, (n, 1, h, w), True where pixels are masked.

        ``n_views`` is the number of views that are concatenated in ``images``.
        """
        raise NotImplementedError

    def reconstruct(self, images, masks):
        """Return the images that the network predicts, of any values, and its features."""
        raise NotImplementedError

    def filled(self, images, masks):
        """Return images whose masked pixels are those of the reconstruction."""
        return torch.where(masks, self.reconstruct(images, masks)[0].clamp(0, 1), images)

    def squared_errors(self, images, masks):
        """Return the mean squared error of the masked pixels of each image, (n,)."""
        errors = (self.filled(images, masks) - images).square().mean(dim=1)
        return errors.sum(dim=(1, 2)) / masks.sum(dim=(1, 2, 3))

    def pictures(self, images):
        """Return the masked images, and the filled ones."""
        masks = self.masks(images)
        return torch.where(masks, self.encoder.mean, images), self.filled(images, masks)


class ImageGenerator(MapsImages, SSLTransformer):
    """Base of the methods that generate images.

    Their objective has ``pictures(images)``, which returns what the network sees of images and what
    it generates. ``{generated}`` in docstrings of methods stands for the type of generated images.
    """

    default_views = {"image": CROPS}
    whole_views = True  # objects and masks as large as in the images to generate

    def __init_subclass__(cls, **kwargs):
        """Add the shared parts to the docstrings of the class."""
        super().__init_subclass__(**kwargs)
        for method in vars(cls).values():
            if inspect.isfunction(method) and method.__doc__:
                doc = inspect.cleandoc(method.__doc__)
                method.__doc__ = doc.replace("{generated}", GENERATED)

    def score_pretext(self, X, y=None):
        """Return the peak signal-to-noise ratio of the generated images, in decibels.

        It counts the masked pixels for inpainting, MAE and SimMIM, with the same masks at every
        call, and all pixels for the other methods.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        psnr : float
            ``10 * log10(1 / mse)``, where ``mse`` is the mean squared error over all images, with
            values in [0, 1]. Larger is better.
        """
        return decibels(self._squared_errors(X))

    def _squared_errors(self, X):
        """Return the mean squared error of each image that can be read, (n,)."""

        def squared_errors(objective, images):
            return (objective.pictures(images)[1] - images).square().mean(dim=(1, 2, 3))

        return self._of_read(X, squared_errors)


def check_divisible(sides, name, value, kind):
    """Raise if the value of a parameter does not divide the sides of "images" or of "views"."""
    near = [max(1, side // value) * value for side in sides]
    if near != list(sides):
        way_out = (
            f"Resize them to {near[0]} x {near[1]}, or set input=Images(size={min(near)})."
            if kind == "images"
            else "They are what the view recipe gives."
        )
        raise ValueError(
            f"{name}={value} does not divide {kind} of {sides[0]} x {sides[1]} pixels. {way_out}"
        )


def decibels(errors):
    """Return the peak signal-to-noise ratio of mean squared errors, (n,)."""
    with np.errstate(divide="ignore"):  # infinite for perfect reconstructions
        return float(-10 * np.log10(mean_of(errors)))
