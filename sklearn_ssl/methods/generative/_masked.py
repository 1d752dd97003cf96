"""What masked autoencoder and SimMIM share: masked patches, and their reconstruction."""

import copy
import math
from dataclasses import replace
from numbers import Real

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.nn.functional import pixel_unshuffle

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl._runtime.world import world
from sklearn_ssl.inference.batches import in_batches, moved
from sklearn_ssl.methods.generative._base import ImageGenerator, MaskedObjective
from sklearn_ssl.parameters import Auto, Count, between, is_auto
from sklearn_ssl.training.objective import joined, wide
from sklearn_ssl.views.image import CROPS


class MaskedPatchesObjective(MaskedObjective):
    """Error of the prediction of masked patches.

    Patches of ``patch_size`` pixels are masked; with ``norm_pix_loss`` the pixels of each patch of
    ``target_size`` are normalized by its mean and standard deviation.
    """

    error = None  # of the differences between prediction and target

    def __init__(self, encoder, patch_size, target_size, mask_ratio, norm_pix_loss):
        super().__init__(encoder)
        self.patch_size, self.target_size = patch_size, target_size
        self.mask_ratio, self.norm_pix_loss = mask_ratio, norm_pix_loss
        self.n_values = encoder.in_shape[0] * target_size**2  # of a patch

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        masks = self.masks(images, n_views=len(views))
        predicted, features = self.predict(images, masks)
        with full_precision(images.device):
            mean, std = self.scale(images)
            errors = self.error(wide(predicted) - (images - mean) / std) * masks
            loss = errors.sum() / (masks.sum() * images.shape[1])
        return {"loss": loss, "embedding": features[: len(views[0])]}

    def chance_loss(self, n):
        """Return the largest squared error of the best constant for each patch, or image."""
        return 1 - 1 / self.n_values if self.norm_pix_loss else 1.0

    def n_masked(self, sides):
        """Return the number of masked patches of images of these sides."""
        n = math.prod(sides) // self.patch_size**2
        if any(length % self.patch_size for length in sides) or n < 2:
            raise ValueError(
                f"Images are cut into patches of {self.patch_size} pixels, and the view recipe "
                f"gave views of {sides[0]} x {sides[1]}. Give larger ones, or whose sides it "
                "divides."
            )
        return min(max(1, round(self.mask_ratio * n)), n - 1)

    def masks(self, images, generator=None, n_views=1):
        """Draw the masked patches of each image, (n, 1, h, w), True where pixels are masked."""
        n_masked, grid = self.n_masked(images.shape[2:]), self.grid(images)
        device = images.device if generator is None else generator.device

        def draw(n):
            return torch.rand(n, math.prod(grid), generator=generator, device=device)

        noise = world().drawn(draw, len(images), n_views)
        masked = noise.argsort(dim=1) < n_masked  # in each row n_masked of them
        return repeated(masked.unflatten(1, (1, *grid)), self.patch_size).to(images.device)

    def grid(self, images):
        """Return the numbers of rows and columns of patches."""
        return [length // self.patch_size for length in images.shape[2:]]

    def scale(self, images):
        """Return mean and standard deviation of the targets: of channels, or of patches."""
        if not self.norm_pix_loss:
            return self.encoder.mean, self.encoder.std
        patches = pixel_unshuffle(images, self.target_size)  # (n, n_values, rows, columns)
        variance, mean = torch.var_mean(patches, dim=1, keepdim=True)
        return repeated(mean, self.target_size), repeated(
            (variance + 1e-6).sqrt(), self.target_size
        )

    def predict(self, images, masks):
        """Return the prediction, normalized as ``scale`` says, and features."""
        raise NotImplementedError

    def reconstruct(self, images, masks):
        """Return the images that the network predicts, of any values, and its features."""
        mean, std = self.scale(images)
        predicted, features = self.predict(images, masks)
        return predicted * std + mean, features


def repeated(maps, times):
    """Return maps with each value repeated along both sides."""
    return maps.repeat_interleave(times, 2).repeat_interleave(times, 3)


class MaskedImageTransformer(ImageGenerator):
    """Base of the methods that reconstruct masked patches of images."""

    mask_ratio: Auto | between(0, 1, "neither") = "auto"
    patch_size: Auto | Count = "auto"
    norm_pix_loss: Auto | bool = "auto"
    decoder_dim: Count = 64

    default_views = {"image": replace(CROPS, scale=(0.2, 1.0))}

    def _resolve_patch_size(self, sides, auto, unit=1):
        """Return the side of masked patches, a multiple of ``unit`` that divides the sides."""
        if is_auto(self.patch_size):
            return auto
        common = math.gcd(*sides)
        fitting = [p for p in range(unit, common + 1, unit) if common % p == 0]
        if self.patch_size not in fitting:
            whole = f" of whole patches of the network, of {unit} pixels" if unit > 1 else ""
            nearest = min(fitting, key=lambda p: abs(p - self.patch_size))
            raise ValueError(
                f"patch_size={self.patch_size} does not cut images of {sides[0]} x {sides[1]} "
                f"pixels into patches{whole}. The nearest size that does is {nearest}."
            )
        return self.patch_size

    def _resolve_mask_ratio(self, sides, patch_size, auto):
        """Return the mask ratio; raise where it masks none or all of the patches."""
        n, ratio = math.prod(sides) // patch_size**2, auto
        if not is_auto(self.mask_ratio):
            ratio = self.mask_ratio
        if not 0 < round(ratio * n) < n:
            raise ValueError(
                f"mask_ratio={ratio} masks {round(ratio * n)} of the {n} patches of images of "
                f"{sides[0]} x {sides[1]} pixels; at least one has to be masked and one visible. "
                + (f"Give {1 / n:.3g} to {1 - 1 / n:.3g}, or s" if n > 1 else "S")
                + "et a smaller patch_size."
            )
        return ratio

    def _resolve_norm_pix_loss(self, n_channels, target_size, auto):
        """Return whether patches are normalized; raise where they have one value."""
        normalized = auto if is_auto(self.norm_pix_loss) else self.norm_pix_loss
        if normalized and n_channels * target_size**2 == 1:
            raise ValueError(
                "norm_pix_loss=True needs patches of more than one value. Set norm_pix_loss=False."
            )
        return normalized

    def reconstruct(self, X, random_state=None, mask_ratio=None, return_mask=False):
        """Mask random patches of images, and fill them with the prediction of the network.

        With ``norm_pix_loss`` the network does not predict mean and contrast of a patch: those of
        the masked patch are used.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        random_state : int, RandomState instance or None, default=None
            Seed of the masks.

        mask_ratio : float, default=None
            Share of the patches that are masked, in (0, 1). None is that of fit.

        return_mask : bool, default=False
            Whether to return the masks as well.

        Returns
        -------
        images : ndarray of the shape of X, as images
            {generated}

        mask : ndarray of shape (n_samples, height, width), bool
            True where pixels were masked. Only with ``return_mask``.
        """
        given = mask_ratio is not None
        if given and not (isinstance(mask_ratio, Real) and 0 < mask_ratio < 1):
            raise ValueError(f"mask_ratio must be None or in (0, 1). Got {mask_ratio!r}.")
        source, device = self._read_again(X)
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        masks = self._masks(source, seed, mask_ratio)

        def filled(objective, images, masks):
            return masking(objective, mask_ratio).filled(images, masks)

        images = self._map_images(source, device, filled, masks)
        return (images, masks[:, 0].numpy()) if return_mask else images

    def _squared_errors(self, X):
        source, device = self._read_again(X)
        masks = self._masks(source, self._seed)[getattr(source, "rows", slice(None))]
        squared_errors = moved(self.objective_, device).squared_errors
        return in_batches(squared_errors, source, self._scaling.on(device), device, extra=masks)

    def _masks(self, source, seed, mask_ratio=None):
        """Draw masks for the images of a source, (n, 1, h, w), also for unreadable ones."""
        n, cpu = getattr(source, "n_rows", len(source)), torch.device("cpu")
        with torch_defaults(cpu):
            images = torch.zeros(1, device=cpu).expand(n, *source.shape)  # only their shape counts
            generator = torch.Generator(cpu).manual_seed(int(seed))
            return masking(self.objective_, mask_ratio).masks(images, generator)


def masking(objective, mask_ratio):
    """Return the objective with another mask ratio, unless that is None."""
    if mask_ratio is None:
        return objective
    other = copy.copy(objective)  # which has the same networks
    other.mask_ratio = mask_ratio
    return other
