"""Masked autoencoder (MAE): reconstruct masked patches from the visible ones."""

import torch
from torch.nn.functional import pixel_shuffle

from sklearn_ssl.methods._patches import TakesPatches
from sklearn_ssl.methods.generative._masked import MaskedImageTransformer, MaskedPatchesObjective
from sklearn_ssl.networks.decoders import PatchDecoder
from sklearn_ssl.networks.encoder import with_map
from sklearn_ssl.parameters import Count

MASK_RATIO, MASK_RATIO_OF_FEW, FEW_PATCHES = 0.75, 0.5, 16


class MAEObjective(MaskedPatchesObjective):
    """Squared error of masked patches, predicted by an encoder that sees only the others."""

    error = staticmethod(torch.square)

    def __init__(self, encoder, n_features, patch_size, mask_ratio, norm_pix_loss, width, depth):
        encoder, _ = with_map(encoder)  # the embedding is the mean of its tokens
        super().__init__(encoder, patch_size, encoder.patch_size, mask_ratio, norm_pix_loss)
        self.decode = PatchDecoder(n_features, width, depth, self.n_values)

    def predict(self, images, masks):
        """Return the prediction, normalized as ``scale`` says, and features."""
        side = self.target_size
        masked = masks[:, 0, ::side, ::side]
        order = masked.flatten(1).byte().argsort(dim=1, stable=True)  # visible patches first
        n_masked = self.n_masked(images.shape[2:]) * (self.patch_size // side) ** 2
        visible = order[:, : order.shape[1] - n_masked]
        tokens = self.encoder.features(images, visible=visible).tokens
        patches = self.decode(tokens, order, visible.shape[1], masked.shape[1:])
        maps = patches.transpose(1, 2).unflatten(2, masked.shape[1:])
        return pixel_shuffle(maps, side), tokens.flatten(1)


class MAETransformer(TakesPatches, MaskedImageTransformer):
    """Masked autoencoder (MAE): reconstruct masked patches of an image from the visible ones.

    Use it to pretrain a vision transformer on square images for
    :class:`~sklearn_ssl.FineTuneClassifier`: frozen features are weak for linear models. For other
    networks use :class:`~sklearn_ssl.SimMIMTransformer`.

    Parameters
    ----------
    mask_ratio : float or "auto", default="auto"
        Share of the patches that are masked, in (0, 1), the same number in each image. "auto" is
        0.75, and 0.5 for at most 16 patches.

    patch_size : int or "auto", default="auto"
        Side of the masked patches in pixels, a multiple of that of the network's patches, which
        "auto" is. It has to divide the sides of the images.

    norm_pix_loss : bool or "auto", default="auto"
        Whether to normalize the target pixels by mean and standard deviation of their patch, or of
        the channels. "auto" is True for network patches of at least 4 x 4 pixels.

    decoder_dim : int, default=64
        Width of the decoder, a transformer that is used during training only.

    decoder_depth : int, default=2
        Number of blocks of the decoder.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    ``backbone="auto"`` is "small_vit". In ``transform`` nothing is masked, and the embedding is the
    mean of all tokens; that of the class token is ``layer="heads"``. The paper has fixed position
    embeddings, larger networks and a weight decay of 0.05.

    References
    ----------
    `He et al. "Masked autoencoders are scalable vision learners", CVPR 2022
    <https://arxiv.org/abs/2111.06377>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import MAETransformer
    >>> images = load_digits().images[:100]
    >>> mae = MAETransformer(max_epochs=1, random_state=0).fit(images)
    >>> mae.reconstruct(images, random_state=0).shape
    (100, 8, 8)
    """

    decoder_depth: Count = 2

    instead = "SimMIMTransformer"

    def _make_objective(self, encoder, n_features, training):
        n_channels, *sides = encoder.in_shape
        unit = self._patch_side(encoder)
        patch_size = self._resolve_patch_size(sides, auto=unit, unit=unit)
        auto = MASK_RATIO if (sides[0] // patch_size) ** 2 > FEW_PATCHES else MASK_RATIO_OF_FEW
        ratio = self._resolve_mask_ratio(sides, patch_size, auto)
        normalized = self._resolve_norm_pix_loss(n_channels, unit, auto=unit >= 4)
        widths = self.decoder_dim, self.decoder_depth
        return MAEObjective(encoder, n_features, patch_size, ratio, normalized, *widths)
