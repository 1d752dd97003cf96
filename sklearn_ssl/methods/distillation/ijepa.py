"""I-JEPA: predict the representations of blocks of an image from other patches."""

import math

import torch
from torch.nn.functional import layer_norm

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods.distillation._latent import (
    LatentObjective,
    LatentTransformer,
    masked_smooth_l1,
)
from sklearn_ssl.methods.distillation._masks import n_of
from sklearn_ssl.networks.decoders import PatchDecoder
from sklearn_ssl.parameters import Count, between
from sklearn_ssl.training.objective import joined, wide

AREA, ASPECT = (0.15, 0.2), (0.75, 1.5)  # of target blocks: share of the image, rows / columns


class IJEPAObjective(LatentObjective):
    """Smooth L1 distance of predictions from normalized tokens of the teacher."""

    def __init__(self, encoder, n_features, momentum, n_targets, context_ratio, dim, depth):
        super().__init__(encoder, momentum)
        self.n_targets, self.context_ratio = n_targets, context_ratio
        self.predict = PatchDecoder(n_features, dim, depth, n_features)

    def forward(self, views):
        """Return the loss of a batch of views."""
        images = joined(views)
        grid = self.grid(images)
        is_target, order = self.drawn(images, grid, len(views))
        n_seen = n_of(self.context_ratio, order.shape[1])
        seen = order[:, :n_seen]
        tokens = self.student.features(images, visible=seen).tokens
        predicted = self.predict(tokens, order, n_seen, grid)
        with torch.no_grad():
            taught = self.teacher.features(images).tokens[:, 1:]
        with full_precision(images.device):
            targets = layer_norm(wide(taught), taught.shape[2:])
            loss = masked_smooth_l1(wide(predicted), targets, is_target.scatter(1, seen, False))
        return {"loss": loss, "embedding": targets[: len(views[0])].flatten(1)}

    def drawn(self, images, grid, n_views):
        """Draw which patches are in target blocks, (n, t), and orders of patches, others first."""
        device, sides = images.device, block_sides(grid)  # one size for the batch

        def draw(n):
            return torch.rand(n, 2 * self.n_targets + math.prod(grid), device=device)

        noise = world().drawn(draw, len(images), n_views)
        inside = []
        for axis in range(2):
            starts = noise[:, axis : 2 * self.n_targets : 2] * (grid[axis] - sides[axis] + 1)
            places = torch.arange(grid[axis], device=device) - starts.floor()[:, :, None]
            inside.append((places >= 0) & (places < sides[axis]))  # (n, n_targets, side)
        blocks = inside[0][:, :, :, None] & inside[1][:, :, None, :]
        is_target = blocks.any(dim=1).flatten(1)
        return is_target, (noise[:, 2 * self.n_targets :] + is_target).argsort(dim=1)


def block_sides(grid):
    """Draw rows and columns of a block in a grid of patches."""
    share, shape = torch.rand(2, device="cpu").tolist()
    area = (AREA[0] + share * (AREA[1] - AREA[0])) * math.prod(grid)
    aspect = ASPECT[0] + shape * (ASPECT[1] - ASPECT[0])
    sides = math.sqrt(area * aspect), math.sqrt(area / aspect)
    return [min(max(1, round(side)), most - 1) for side, most in zip(sides, grid, strict=True)]


class IJEPATransformer(LatentTransformer):
    """I-JEPA: predict a teacher's representations of blocks of an image from other patches.

    Use it to train a vision transformer on square images without augmentations of color, and for
    tasks that need positions and counts of objects. The teacher, an exponential moving average of
    the student, sees the whole image, the student a part of it. ``transform`` uses the teacher.
    ``lr`` is 0.0005 by default for "adamw". Features need many epochs, and more data than digits.

    Parameters
    ----------
    n_targets : int, default=4
        Number of target blocks of an image, each of 15 to 20 % of it. They may overlap.

    context_ratio : float, default=0.25
        Share of the patches that the student sees, in (0, 1), drawn from those outside of the
        target blocks.

    predictor_dim : int, default=64
        Width of the predictor, a transformer that is used during training only.

    predictor_depth : int, default=2
        Number of blocks of the predictor.

    {latent_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    ``backbone="auto"`` is "small_vit". The embedding is the mean of all tokens. The paper has no
    class token; its context is a large block without the targets, cut to the smallest number of
    patches in the batch, and here always the same number of random ones, without which the device
    would be waited for. Where the targets leave fewer patches, the student sees some of them, which
    do not count in the loss. All targets are predicted in one pass.

    References
    ----------
    `Assran et al. "Self-supervised learning from images with a joint-embedding predictive
    architecture", CVPR 2023 <https://arxiv.org/abs/2301.08243>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import IJEPATransformer
    >>> images = load_digits().images[:100]
    >>> IJEPATransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (100, 128)
    """

    n_targets: Count = 4
    context_ratio: between(0, 1, "neither") = 0.25
    predictor_dim: Count = 64
    predictor_depth: Count = 2

    def _make_objective(self, encoder, n_features, training):
        self._patch_side(encoder)
        sizes = self.predictor_dim, self.predictor_depth
        settings = self._resolve_momentum(training), self.n_targets, self.context_ratio, *sizes
        return IJEPAObjective(encoder, n_features, *settings)
