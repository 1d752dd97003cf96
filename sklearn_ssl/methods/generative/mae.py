"""Masked autoencoder: tell the patches of an image, or the columns of a row, that are hidden."""

import copy
import math
from dataclasses import replace
from numbers import Real
from typing import Literal

import numpy as np
import torch
from sklearn import config_context
from sklearn.utils import check_random_state
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, pixel_shuffle, pixel_unshuffle

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl.base import SSLTransformer, decibels
from sklearn_ssl.data.inputs import holds_nan, needs_images
from sklearn_ssl.inference.batches import in_batches, moved
from sklearn_ssl.inference.embedder import is_auto
from sklearn_ssl.networks.decoders import Decoder, PatchDecoder
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Auto, Count, between
from sklearn_ssl.training.objective import Objective, joined, wide
from sklearn_ssl.views import ImageViews, RowViews

MASK_RATIOS = {"mae": 0.75, "simmim": 0.6, "rows": 0.3}  # the papers'
MASK_RATIOS |= {"few": 0.5}  # for "mae" and so many patches at most
FEW_PATCHES = 16
VALUES_WEIGHT = 2.0  # of telling values of rows, beside telling which were replaced; VIME's
LARGEST_PATCH, LEAST_PATCHES = 32, 4  # of SimMIM's masks: pixels, and patches along a side


class MaskedPatchesObjective(Objective):
    """Error of what is told of the hidden patches of images.

    ``side`` is that of hidden patches, ``patch_size`` that of patches that are normalized.
    """

    error = None  # of what is told, less what it should be

    def __init__(self, encoder, side, patch_size, mask_ratio, normalized):
        super().__init__(encoder)
        self.side, self.patch_size = side, patch_size
        self.mask_ratio, self.normalized = mask_ratio, normalized
        self.n_values = encoder.in_shape[0] * patch_size**2  # of a patch

    def forward(self, views):
        """Return the loss of a batch of views, of which patches are hidden."""
        images = joined(views)
        masks = self.masks(images)
        told, features = self.told(images, masks)
        with full_precision(images.device):
            mean, std = self.scale(images)
            errors = self.error(wide(told) - (images - mean) / std) * masks
            loss = errors.sum() / (masks.sum() * images.shape[1])
        return {"loss": loss, "embedding": features[: len(views[0])]}

    def chance_loss(self, n):
        """Return the most that one has who gives all pixels of a patch, or image, their mean."""
        return 1 - 1 / self.n_values if self.normalized else 1.0

    def n_hidden(self, sides):
        """Return how many patches of images of these sides are hidden."""
        n = math.prod(sides) // self.side**2
        if any(length % self.side for length in sides) or n < 2:
            raise ValueError(
                f"Images are cut into patches of {self.side} pixels, and the view recipe gave "
                f"views of {sides[0]} x {sides[1]}. Give larger ones, or whose sides it divides."
            )
        return min(max(1, round(self.mask_ratio * n)), n - 1)

    def masks(self, images, generator=None):
        """Draw the hidden patches of each image: (n, 1, h, w), True where hidden."""
        n_hidden, grid = self.n_hidden(images.shape[2:]), [x // self.side for x in images.shape[2:]]
        device = images.device if generator is None else generator.device
        noise = torch.rand(len(images), math.prod(grid), generator=generator, device=device)
        hidden = noise.argsort(dim=1) < n_hidden  # n_hidden of them in each row
        return repeated(hidden.unflatten(1, (1, *grid)), self.side).to(images.device)

    def scale(self, images):
        """Return the mean and deviation that values are told in: of channels, or of patches."""
        if not self.normalized:
            return self.encoder.mean, self.encoder.std
        patches = pixel_unshuffle(images, self.patch_size)  # (n, c * values, rows, columns)
        variance, mean = torch.var_mean(patches, dim=1, keepdim=True)
        mean, std = (repeated(x, self.patch_size) for x in (mean, (variance + 1e-6).sqrt()))
        return mean, std

    def told(self, images, masks):
        """Return what the network tells of images with masks, in units of scale; and features."""
        raise NotImplementedError

    def filled(self, images, masks):
        """Return images whose hidden patches are filled."""
        mean, std = self.scale(images)
        told = self.told(images, masks)[0] * std + mean
        return torch.where(masks, told.clamp(0, 1), images)

    def pictures(self, images):
        """Return what is seen of images, and what is made of it."""
        masks = self.masks(images)
        return torch.where(masks, self.encoder.mean, images), self.filled(images, masks)


class MAEObjective(MaskedPatchesObjective):
    """Squared error of hidden patches, told by a network that sees the other patches alone."""

    error = staticmethod(torch.square)

    def __init__(self, encoder, n_features, side, mask_ratio, normalized, width, depth):
        super().__init__(encoder, side, encoder.patch_size, mask_ratio, normalized)
        encoder.find_map()  # the mean of its tokens is the embedding
        self.decode = PatchDecoder(n_features, width, depth, self.n_values)

    def told(self, images, masks):
        """Return what the network tells of images with masks, in units of scale; and features."""
        side = self.patch_size
        hidden = masks[:, 0, ::side, ::side]
        order = hidden.flatten(1).byte().argsort(dim=1, stable=True)  # those to be seen first
        n_hidden = self.n_hidden(images.shape[2:]) * (self.side // side) ** 2
        keep = order[:, : order.shape[1] - n_hidden]
        tokens = self.encoder(images, keep=keep)
        patches = self.decode(tokens, order, keep.shape[1], hidden.shape[1:])
        maps = patches.transpose(1, 2).unflatten(2, hidden.shape[1:])
        return pixel_shuffle(maps, side), tokens.flatten(1)


class SimMIMObjective(MaskedPatchesObjective):
    """Absolute error of hidden patches, told by a network that sees a learned patch instead."""

    error = staticmethod(torch.abs)

    def __init__(self, encoder, side, mask_ratio, normalized, width):
        super().__init__(encoder, side, side, mask_ratio, normalized)
        self.blank = nn.Parameter(encoder.mean.repeat(1, side, side))
        self.decode = Decoder(encoder.find_map(), encoder.in_shape, width)

    def chance_loss(self, n):
        """Return the most that one has who gives all pixels of a patch, or image, their mean."""
        return math.sqrt(super().chance_loss(n))

    def told(self, images, masks):
        """Return what the network tells of images with masks, in units of scale; and features."""
        sides = images.shape[2:]
        blank = self.blank.tile(1, *(length // self.side for length in sides))
        features, maps = self.encoder(torch.where(masks, blank, images), dense=True)
        return self.decode(maps, sides), features


def repeated(maps, times):
    """Return maps with each place so many times along both sides."""
    return maps.repeat_interleave(times, 2).repeat_interleave(times, 3)


class MaskedColumnsObjective(Objective):
    """Squared error of values, some of which were replaced, and how well these are told."""

    def __init__(self, encoder, n_features, mask_ratio, width, depth):
        super().__init__(encoder)
        self.mask_ratio = mask_ratio
        self.decode = mlp(n_features, *depth * [width], 2 * encoder.in_shape[0])

    def forward(self, views):
        """Return the loss of a batch: rows as they are, and copies with values replaced."""
        if len(views) < 2:
            raise ValueError(
                "Masked columns need each row and a copy with values replaced; the view recipe "
                f"gave {len(views)} view. Give RowViews with keep_first=True and n_views=2."
            )
        seen, rows = torch.cat(views[1:]), views[0].repeat(len(views) - 1, 1)
        values, scores, features = self.told(seen)
        with full_precision(rows.device):
            replaced = (seen != rows).to(rows)  # other rows may have the same value
            # Of all values: among those that changed, a rare one is as frequent as any.
            error = (wide(values) - rows).square().mean()
            mask = binary_cross_entropy_with_logits(wide(scores), replaced)
        found = {"loss": mask + VALUES_WEIGHT * error, "embedding": features[: len(views[0])]}
        return found | {"squared_error": error.detach(), "mask_loss": mask.detach()}

    def chance_loss(self, n):
        """Return the loss of one who knows how many are replaced, and nothing of other columns."""
        n_columns = self.encoder.in_shape[0]
        p = max(1, int(self.mask_ratio * n_columns)) / n_columns
        guess = 1 - (1 - p) ** 2  # by 1 - p times what is seen, which is best
        return VALUES_WEIGHT * guess - sum(q * math.log(q) for q in (p, 1 - p) if q)

    def told(self, rows):
        """Return the values of all columns, scores of being replaced, and features."""
        features = self.encoder(rows)
        return *self.decode(features).chunk(2, dim=1), features

    def imputed(self, rows):
        """Return standardised rows with values for NaN, which begin as their column's mean."""
        unknown, rows = rows.isnan(), rows.nan_to_num(0.0)
        return torch.where(unknown, self.told(rows)[0], rows)


class MAETransformer(SSLTransformer):
    """Learn features by telling the hidden patches of an image from those that are seen.

    Use it to train a vision transformer that labels shall fine-tune (``FineTuneClassifier``): as
    they are, its features are weak for nearest neighbours and linear models, where SimCLR does
    better. ``reconstruct`` fills the hidden patches, and ``score_pretext`` says how well. On rows,
    columns are replaced instead of patches, and ``impute`` fills what is missing.

    Parameters
    ----------
    algorithm : {"auto", "mae", "simmim"}, default="auto"
        "mae": the network, a vision transformer, sees the other patches alone, which is fast, and a
        small transformer tells the hidden ones (masked autoencoder). "simmim": any network sees the
        whole image, with the same learned patch in place of each hidden one. "auto" is "mae" for
        "small_vit" and torchvision's "vit_b_16" and the like, and "simmim" for others. Not used for
        rows.

    mask_ratio : float or "auto", default="auto"
        Share of the patches of an image, or of the columns of a row, that are hidden, in (0, 1),
        the same number in each. "auto" is 0.75 for "mae", or 0.5 with at most 16 patches, 0.6 for
        "simmim" and 0.3 for rows. Not used for rows if ``views`` is set.

    patch_size : int or "auto", default="auto"
        Side of the hidden patches in pixels, which has to divide the images' sides. "auto" is that
        of the network's patches for "mae", which has to divide any other; for "simmim" the
        largest that leaves four patches along the shorter side, and at most 32: of 31 x 31 pixels
        it is 1, so resize such images. Not used for rows.

    targets : {"auto", "normalized", "pixels"}, default="auto"
        What is told: the pixels of a patch less their mean, in their standard deviation, or all
        pixels in standard deviations of the colours. "auto" is "normalized" for "mae" with patches
        of at least 4 x 4 pixels, else "pixels". Not used for rows.

    decoder_dim : int, default=64
        Width of the network that tells what is hidden from what the encoder gives, in training
        alone.

    decoder_depth : int, default=2
        Number of its transformer blocks, or for rows hidden layers. Not used by "simmim", whose
        decoder is as deep as the encoder's map is small.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    ``backbone="auto"`` is "small_vit" here, for square images whose side it can cut into patches of
    two pixels or more, unless ``algorithm`` is "simmim". In ``transform`` nothing is hidden, and
    the embedding of vision transformers is the mean over all tokens, as with all methods that make
    images; the class token, which others read, is ``layer="heads"``. After 16 epochs on 3,000
    images of CIFAR-10, 94 seconds of a core, a linear model had .353 (before training .317) and 20
    neighbours .290 (.242), on the class token .333 (.305) and .290 (.255); the network, fine-tuned
    with all 3,000 labels, had .446 (.410). Of digits, with 5 labels a class and after 15 epochs, a
    linear model had .457 (.417) and the nearest neighbour .370 (.294), where a convolutional
    network has .82 before any training: transformers this small need longer.

    The loss of "mae" is the mean squared error of the hidden patches, that of "simmim" the absolute
    one. The papers' networks are larger, and learned for hundreds of epochs with a weight decay of
    0.05; here ``lr`` and ``weight_decay`` are those of all methods. With 16 patches, half
    of them hidden was better for the features than three quarters, and pixels were better targets
    than patches normalized. Positions of the encoder are learned here, those of the decoder are
    fixed. What "simmim" puts in place of a patch are pixels, not a token, so that convolutions can
    see it, and its decoder is that of inpainting, where the paper has one linear layer.

    On rows it is VIME: a share of the values comes from other rows, and the network tells which,
    and what all had been, of standardised values. To ``impute``, a missing value is its column's
    mean to the network. Where a fifth of the values was missing, the root mean squared error, in
    standard deviations, was .52 on scikit-learn's breast cancer table, .69 on its wines and .66 on
    its irises; KNNImputer had .52, .70 and .46, IterativeImputer .61, .71 and .63, the columns'
    means .98, .94 and .97 (``benchmarks/impute.py``): on few columns it is not the best.

    References
    ----------
    `He et al. "Masked autoencoders are scalable vision learners", CVPR 2022
    <https://arxiv.org/abs/2111.06377>`_

    `Xie et al. "SimMIM: a simple framework for masked image modeling", CVPR 2022
    <https://arxiv.org/abs/2111.09886>`_

    `Yoon et al. "VIME: extending the success of self- and semi-supervised learning to tabular
    domain", NeurIPS 2020 <https://proceedings.neurips.cc/paper/2020/hash/7d97667a3e056acab9aaf653807b4a03-Abstract.html>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import MAETransformer
    >>> images = load_digits().images[:100]
    >>> mae = MAETransformer(max_epochs=1, random_state=0).fit(images)
    >>> mae.transform(images).shape
    (100, 128)
    >>> mae.reconstruct(images, random_state=0).shape
    (100, 8, 8)
    """

    algorithm: Literal["auto", "mae", "simmim"] = "auto"
    mask_ratio: Auto | between(0, 1, "neither") = "auto"
    patch_size: Auto | Count = "auto"
    targets: Literal["auto", "normalized", "pixels"] = "auto"
    decoder_dim: Count = 64
    decoder_depth: Count = 2

    default_views = {
        "image": ImageViews(
            scale=(0.2, 1.0), color_jitter=0.0, grayscale=0.0, gaussian_blur=0.0, n_views=1
        ),
        "rows": RowViews(),
    }
    whole_views = True  # patches are as large as those of users' images

    def _resolve_backbone(self, source, device):
        if not is_auto(self.backbone) or not source.is_image or self.algorithm == "simmim":
            return super()._resolve_backbone(source, device)
        _, height, width = source.shape
        square = height == width and any(height % p == 0 for p in range(2, max(3, height // 8 + 1)))
        if square or self.algorithm == "mae":
            return "small_vit"
        return super()._resolve_backbone(source, device)

    def _default_views(self, source):
        views = super()._default_views(source)
        return views if source.is_image else replace(views, corruption=self._mask_ratio("rows"))

    def _mask_ratio(self, kind):
        return MASK_RATIOS[kind] if is_auto(self.mask_ratio) else self.mask_ratio

    def _make_objective(self, encoder, n_features, training):
        width, depth = self.decoder_dim, self.decoder_depth
        if len(encoder.in_shape) == 1:
            ratio = self._mask_ratio("rows")
            if isinstance(self.views, RowViews):
                ratio = self.views.corruption
                if not self.views.keep_first:
                    raise ValueError(
                        f"views={self.views!r} give no row as it is, which is to be told. Set "
                        "keep_first=True."
                    )
            return MaskedColumnsObjective(encoder, n_features, ratio, width, depth)
        algorithm, tokens = self.algorithm, encoder.patch_size
        if is_auto(algorithm):
            algorithm = "mae" if tokens else "simmim"
        if algorithm == "mae" and not tokens:
            raise ValueError(
                'algorithm="mae" needs a vision transformer that can leave out patches: backbone='
                '"small_vit", or torchvision\'s "vit_b_16" and the like. For any other network '
                'that makes a map set algorithm="simmim".'
            )
        tokens = tokens if algorithm == "mae" else None
        sides = encoder.in_shape[1:]
        side = self._patch_size(sides, tokens)
        n = math.prod(sides) // side**2
        ratio = self._mask_ratio("few" if tokens and n <= FEW_PATCHES else algorithm)
        if not 0 < round(ratio * n) < n:
            raise ValueError(
                f"mask_ratio={ratio} hides {round(ratio * n)} of the {n} patches that images of "
                f"{sides[0]} x {sides[1]} pixels have; at least one has to be hidden and one seen. "
                + (f"Give {1 / n:.3g} to {1 - 1 / n:.3g}, or s" if n > 1 else "S")
                + "et a smaller patch_size."
            )
        normalized = self.targets == "normalized"
        if is_auto(self.targets):
            normalized = algorithm == "mae" and tokens >= 4
        if normalized and encoder.in_shape[0] * (tokens or side) ** 2 == 1:
            raise ValueError(
                'targets="normalized" needs patches of more than one value. Set targets="pixels".'
            )
        if algorithm == "simmim":
            return SimMIMObjective(encoder, side, ratio, normalized, width)
        return MAEObjective(encoder, n_features, side, ratio, normalized, width, depth)

    def _patch_size(self, sides, tokens):
        """Return the side of hidden patches; of those of a network's patches, if it has some."""
        common = math.gcd(*sides)
        fitting = [p for p in range(tokens or 1, common + 1, tokens or 1) if common % p == 0]
        if is_auto(self.patch_size):
            largest = max(1, min(LARGEST_PATCH, min(sides) // LEAST_PATCHES))
            return tokens or max(p for p in fitting if p <= largest)
        if self.patch_size not in fitting:
            whole = f" that hold whole patches of the network, of {tokens} pixels" if tokens else ""
            nearest = min(fitting, key=lambda p: abs(p - self.patch_size))
            raise ValueError(
                f"patch_size={self.patch_size} does not cut images of {sides[0]} x {sides[1]} "
                f"pixels into patches{whole}. The nearest size that does is {nearest}."
            )
        return self.patch_size

    def _read_images(self, X):
        """Return the source of images, and the device; raise where they are rows."""
        source, device = self._read_again(X)
        if not source.is_image:
            raise needs_images(self, source)
        return source, device

    def reconstruct(self, X, random_state=None, mask_ratio=None, return_mask=False):
        """Hide patches of images at random, and fill them by what is seen.

        Where targets are normalized, the network tells no mean and no contrast: these are those
        that the hidden patch had.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        random_state : int, RandomState instance or None, default=None
            Seed of which patches are hidden.

        mask_ratio : float, default=None
            Share of the patches that are hidden, in (0, 1). None is that of fit.

        return_mask : bool, default=False
            Whether to return what was hidden as well.

        Returns
        -------
        images : ndarray of the shape of X, as images
            X with what the network puts in place of hidden patches, in the layout of X and with
            values of the same range: bytes if X holds bytes, else float32. Images that are read one
            by one or resized are bytes of ``image_shape_``, or, if one cannot be read, int16, where
            it is -1.

        mask : ndarray of shape (n_samples, height, width), bool
            True where pixels were hidden. Only with ``return_mask``.
        """
        given = mask_ratio is not None
        if given and not (isinstance(mask_ratio, Real) and 0 < mask_ratio < 1):
            raise ValueError(f"mask_ratio must be None or in (0, 1). Got {mask_ratio!r}.")
        source, device = self._read_images(X)
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        masks = self._masks(source, seed, mask_ratio)

        def filled(objective, images, hidden):
            return hiding(objective, mask_ratio).filled(images, hidden)

        images = self._map_images(source, device, filled, masks)
        return (images, masks[:, 0].numpy()) if return_mask else images

    def score_pretext(self, X, y=None):
        """Return how well hidden patches are filled, the peak signal-to-noise ratio.

        The same patches are hidden at every call. Where targets are normalized, mean and contrast
        of a hidden patch are known: compare with patches that have their mean everywhere.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        ratio : float
            10 * log10(1 / mean squared error) inside of the hidden patches of all images, in
            decibels, where the largest value is 1. Larger is better.
        """
        source, device = self._read_images(X)
        objective, masks = moved(self._objective, device), self._masks(source, self._seed)

        def errors(images, hidden):
            squared = (objective.filled(images, hidden) - images).square().mean(dim=1)
            return squared.sum(dim=(1, 2)) / hidden.sum(dim=(1, 2, 3))

        masks = masks[getattr(source, "rows", slice(None))]
        return decibels(in_batches(errors, source, self._scaling.on(device), device, beside=masks))

    def _masks(self, source, seed, mask_ratio=None):
        """Draw what is hidden of the images of a source, (n, 1, h, w), read or not."""
        n, cpu = getattr(source, "n_rows", len(source)), torch.device("cpu")
        with torch_defaults(cpu):
            images = torch.zeros(1, device=cpu).expand(n, *source.shape)  # none are needed
            draw = torch.Generator(cpu).manual_seed(int(seed))
            return hiding(self._objective, mask_ratio).masks(images, draw)

    def impute(self, X):
        """Fill missing values of rows by what the network tells of their columns.

        Parameters
        ----------
        X : array-like, tensor or DataFrame of shape (n_samples, n_features_in_)
            Rows with the columns of fit, and NaN where a value is missing. Fit itself takes no
            missing values.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features_in_), float64
            X with a value for each NaN, and all others as they are.
        """
        with config_context(assume_finite=True):  # NaN may be there
            source, device = self._read_again(X)
        if source.is_image:
            raise ValueError(
                "impute fills rows, and X holds images. reconstruct fills hidden patches of images,"
                " and inpaint of InpaintingTransformer what is NaN."
            )
        holds_nan(source)  # which raises where infinity is
        rows = np.asarray(source.array[:], dtype=np.float64)
        scaling, objective = self._scaling, moved(self._objective, device)
        told = in_batches(objective.imputed, source, scaling.on(device), device)
        return np.where(np.isnan(rows), told / scaling.scale + scaling.offset, rows)


def hiding(objective, mask_ratio):
    """Return an objective that hides a share of the patches; None is its own."""
    if mask_ratio is None:
        return objective
    other = copy.copy(objective)  # which has the same networks
    other.mask_ratio = mask_ratio
    return other
