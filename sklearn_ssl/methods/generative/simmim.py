"""SimMIM: reconstruct masked patches of an image with any network."""

import math

import torch
from torch import nn

from sklearn_ssl.methods.generative._masked import MaskedImageTransformer, MaskedPatchesObjective
from sklearn_ssl.networks.decoders import Decoder
from sklearn_ssl.networks.encoder import with_map

MASK_RATIO = 0.6
LARGEST_PATCH, PATCHES_PER_SIDE = 32, 4  # the largest patch in pixels, the least patches


class SimMIMObjective(MaskedPatchesObjective):
    """Absolute error of masked patches, in whose place the encoder sees a learned patch."""

    error = staticmethod(torch.abs)

    def __init__(self, encoder, patch_size, mask_ratio, norm_pix_loss, width):
        encoder, map_shape = with_map(encoder)
        super().__init__(encoder, patch_size, patch_size, mask_ratio, norm_pix_loss)
        self.mask_patch = nn.Parameter(encoder.mean.repeat(1, patch_size, patch_size))
        self.decode = Decoder(map_shape, encoder.in_shape, width)

    def chance_loss(self, n):
        """Return the largest absolute error of the best constant for each patch, or image."""
        return math.sqrt(super().chance_loss(n))

    def predict(self, images, masks):
        """Return the prediction, normalized as ``scale`` says, and features."""
        blank = self.mask_patch.tile(1, *self.grid(images))
        features = self.encoder.features(torch.where(masks, blank, images))
        return self.decode(features.map, images.shape[2:]), features.pooled


class SimMIMTransformer(MaskedImageTransformer):
    """SimMIM: reconstruct masked patches of an image, with any network.

    Use it as :class:`~sklearn_ssl.MAETransformer`, with convolutional networks or vision
    transformers, and with images of any shape: each masked patch is replaced by the same learned
    patch, and the network sees the whole image.

    Parameters
    ----------
    mask_ratio : float or "auto", default="auto"
        Share of the patches that are masked, in (0, 1), the same number in each image. "auto" is
        0.6.

    patch_size : int or "auto", default="auto"
        Side of the masked patches in pixels, which has to divide the sides of the images. "auto" is
        the largest one, up to 32, with at least four patches along the shorter side; for 31 x 31
        pixels that is 1, so resize such images.

    norm_pix_loss : bool or "auto", default="auto"
        Whether to normalize the target pixels of each patch by its mean and standard deviation.
        False predicts pixels in standard deviations of the channels, and is "auto".

    decoder_dim : int, default=64
        Width of the decoder, which is used during training only.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    In ``transform`` nothing is masked, and the embedding of vision transformers is the mean of all
    tokens. The learned patch consists of pixels, where the paper has a token, so that convolutions
    can see it; the decoder is that of inpainting, where the paper has one linear layer.

    References
    ----------
    `Xie et al. "SimMIM: a simple framework for masked image modeling", CVPR 2022
    <https://arxiv.org/abs/2111.09886>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SimMIMTransformer
    >>> images = load_digits().images[:100]
    >>> simmim = SimMIMTransformer(max_epochs=1, random_state=0).fit(images)
    >>> simmim.transform(images).shape
    (100, 256)
    >>> simmim.reconstruct(images, random_state=0).shape
    (100, 8, 8)
    """

    def _make_objective(self, encoder, n_features, training):
        n_channels, *sides = encoder.in_shape
        common = math.gcd(*sides)
        largest = max(1, min(LARGEST_PATCH, min(sides) // PATCHES_PER_SIDE))
        auto = max(p for p in range(1, largest + 1) if common % p == 0)
        patch_size = self._resolve_patch_size(sides, auto)
        ratio = self._resolve_mask_ratio(sides, patch_size, MASK_RATIO)
        normalized = self._resolve_norm_pix_loss(n_channels, patch_size, auto=False)
        return SimMIMObjective(encoder, patch_size, ratio, normalized, self.decoder_dim)
