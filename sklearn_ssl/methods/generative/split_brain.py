"""Split-brain autoencoder: predict colors from lightness, and lightness from colors."""

import copy

import torch
from torch import nn

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods.generative import cielab
from sklearn_ssl.methods.generative._base import ImageGenerator
from sklearn_ssl.methods.generative._halves import COLORS, LIGHTNESS, Bins, Halves
from sklearn_ssl.networks.encoder import with_map
from sklearn_ssl.networks.features import read_features
from sklearn_ssl.training.objective import Objective, joined, wide


class SplitBrainObjective(Objective):
    """Cross entropies of colors, predicted from lightness, and of lightness, from colors."""

    near_chance = 0.98  # most of it is between plausible colors of the same object

    def __init__(self, encoder):
        if not isinstance(encoder.backbone, Halves):  # else training continues
            half, _ = with_map(encoder)  # which normalizes its channels
            parts = {"backbone": Halves(half, copy.deepcopy(half)), "mean": (), "std": ()}
            encoder = encoder.changed(preprocess=cielab.LabChannels(), read=read_features, **parts)
        super().__init__(encoder)
        _, map_shape = with_map(encoder.backbone.of_lightness)
        sides = cielab.reduced(encoder.in_shape[1:])
        grays = torch.arange(0.0, 101, cielab.SPACING, device="cpu")[:, None]
        targets = (COLORS, cielab.ab_bins()), (LIGHTNESS, grays)
        self.heads = nn.ModuleList(Bins(*target, map_shape, sides) for target in targets)

    def before_training(self, samples):
        """Count the bins in all samples."""
        strongest = 0.0
        for head in self.heads:
            head.counts.zero_()
        for images in samples:
            lab = cielab.lab_of(images, cielab.reduced(images.shape[2:]))
            strongest = max(strongest, lab[:, COLORS].abs().max().item())
            for head in self.heads:
                head.count(lab)
        cielab.check_chroma(strongest)

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        cielab.check_colored(images, "The images of X, or what views make of them,")
        logits, pooled = self.predict(images)
        with full_precision(images.device):
            lab = cielab.lab_of(wide(images), logits[0].shape[2:])
            losses = [
                cielab.cross_entropy(of, lab[:, head.channels], head.bins)[0].mean()
                for head, of in zip(self.heads, logits, strict=True)
            ]
        terms = {"color_loss": losses[0], "lightness_loss": losses[1]}
        return terms | {"loss": sum(losses), "embedding": pooled[: len(views[0])]}

    def chance_loss(self, n):
        """Return the loss of predicting the frequencies of the bins everywhere."""
        shares = [head.counts / head.counts.sum() for head in self.heads]
        return sum(torch.special.entr(share).sum().item() for share in shares)

    def predict(self, images):
        """Return the logits of the bins of colors and of lightness, and the features."""
        halves = self.encoder.backbone.halves(self.encoder.normalized(images))
        sides = cielab.reduced(images.shape[2:])
        pairs = zip(self.heads, halves, strict=True)
        logits = [head.decode(half.map, sides) for head, half in pairs]
        return logits, torch.cat([half.pooled for half in halves], dim=1)

    def pictures(self, images):
        """Return images, and images of the predicted lightness and colors."""
        cielab.check_colored(images)
        pairs = zip(self.heads, self.predict(images)[0], strict=True)
        colors, lightness = (cielab.expected(logits, head.bins) for head, logits in pairs)
        lab = torch.cat([lightness, colors], dim=1)
        return images, cielab.lab_to_rgb(cielab.enlarged(lab, images.shape[2:]))


class SplitBrainTransformer(ImageGenerator):
    """Split-brain autoencoder: predict colors from lightness, and lightness from colors.

    Use it to learn from color photographs where colors count: a part of the embedding sees only
    lightness, as that of :class:`ColorizationTransformer` does, the other one only colors.
    ``transform`` takes gray images too.

    Parameters
    ----------
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Each part has a whole ``backbone``, so there are twice as many features; in the paper each has
    half the width. Targets are bins with a spacing of 10, at a quarter of the image's sides.

    References
    ----------
    `Zhang et al. "Split-brain autoencoders: unsupervised learning by cross-channel prediction",
    CVPR 2017 <https://arxiv.org/abs/1611.09842>`_

    Examples
    --------
    >>> from sklearn.datasets import load_sample_image
    >>> from sklearn.feature_extraction.image import extract_patches_2d
    >>> from sklearn_ssl import SplitBrainTransformer
    >>> images = extract_patches_2d(load_sample_image("flower.jpg"), (16, 16), max_patches=100)
    >>> SplitBrainTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (100, 512)
    """

    needs_color = True

    def _make_objective(self, encoder, n_features, training):
        return SplitBrainObjective(encoder)
