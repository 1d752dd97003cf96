"""data2vec: predict a teacher's representations of masked patches from the masked image."""

import torch
from torch import nn
from torch.nn.functional import layer_norm

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods.distillation._latent import (
    LatentObjective,
    LatentTransformer,
    masked_smooth_l1,
)
from sklearn_ssl.methods.distillation._masks import blanked, drawn_blocks, masks_of
from sklearn_ssl.parameters import Auto, Count, Positive, between
from sklearn_ssl.training.objective import joined, wide


class Data2VecObjective(LatentObjective):
    """Smooth L1 distance of predictions from the mean of normalized outputs of blocks."""

    def __init__(self, encoder, n_features, momentum, mask_ratio, n_blocks, beta):
        super().__init__(encoder, momentum)
        self.mask_ratio, self.n_blocks, self.beta = mask_ratio, n_blocks, beta
        self.blank = nn.Parameter(encoder.mean.clone())  # color of masked patches
        self.predict = nn.Linear(n_features, n_features)

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        grid = self.grid(images)
        places, _ = drawn_blocks(images, grid, self.mask_ratio, n_views=len(views))
        masks = masks_of(places, grid)
        tokens = self.student.features(blanked(images, masks, self.blank)).tokens[:, 1:]
        predicted = self.predict(tokens)
        with torch.no_grad():
            blocks = self.teacher.backbone.block_outputs(self.teacher.normalized(images))
        with full_precision(images.device):
            targets = block_targets([tokens[:, 1:] for tokens in blocks[-self.n_blocks :]])
            loss = masked_smooth_l1(wide(predicted), targets, masks.flatten(1), self.beta)
        found = {"target_std": targets.flatten(0, 1).std(dim=0).mean()}
        return {"loss": loss, "embedding": targets[: len(views[0])].flatten(1)} | found


def block_targets(outputs):
    """Return the mean of outputs of blocks, (n, t, d) each, normalized to mean 0 and variance 1."""
    normalized = [layer_norm(wide(tokens), tokens.shape[2:]) for tokens in outputs]
    return torch.stack(normalized).mean(dim=0)


class Data2VecTransformer(LatentTransformer):
    """data2vec: predict a teacher's representations of masked patches of an image.

    Use it to train a vision transformer on square images, as :class:`~sklearn_ssl.IJEPATransformer`
    or :class:`~sklearn_ssl.MAETransformer`. The student sees the masked image; the teacher, an
    exponential moving average of it, the whole one. ``transform`` uses the teacher.

    Parameters
    ----------
    mask_ratio : float, default=0.6
        Share of the patches that are masked, in (0, 1), in connected regions.

    n_blocks : int or "auto", default="auto"
        Number of the teacher's last blocks whose outputs are averaged to targets, at most all.
        "auto" is half of them.

    beta : float, default=2.0
        Difference, above 0, from which on the loss is linear instead of quadratic.

    {latent_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    ``backbone="auto"`` is "small_vit". The embedding is the mean of all tokens. Masked patches have
    a learned color, and are where smooth noise is large, instead of rectangles. Momentum rises by
    a cosine schedule. ``target_std`` in ``history_`` falls to 0 if targets collapse.

    References
    ----------
    `Baevski et al. "data2vec: A general framework for self-supervised learning in speech, vision
    and language", ICML 2022 <https://arxiv.org/abs/2202.03555>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import Data2VecTransformer
    >>> images = load_digits().images[:100]
    >>> Data2VecTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (100, 128)
    """

    mask_ratio: between(0, 1, "neither") = 0.6
    n_blocks: Auto | Count = "auto"
    beta: Positive = 2.0

    def _make_objective(self, encoder, n_features, training):
        self._patch_side(encoder)
        depth = len(encoder.backbone.encoder.layers)
        n_blocks = max(1, depth // 2) if self.n_blocks == "auto" else self.n_blocks
        if n_blocks > depth:
            raise ValueError(f"n_blocks={n_blocks}, but the backbone has only {depth} blocks.")
        settings = self._resolve_momentum(training), self.mask_ratio, n_blocks, self.beta
        return Data2VecObjective(encoder, n_features, *settings)
