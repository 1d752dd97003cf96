"""iBOT: DINO, and prediction of the teacher's outputs for masked patches."""

import copy

import torch
from torch import nn
from torch.nn.functional import log_softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods.distillation._base import PatchHead
from sklearn_ssl.methods.distillation._masks import at_places, blanked, drawn_blocks, masks_of
from sklearn_ssl.methods.distillation._prototypes import (
    PrototypeObjective,
    PrototypeTransformer,
)
from sklearn_ssl.networks.encoder import with_map
from sklearn_ssl.networks.teacher import move_teacher, teacher_momentum
from sklearn_ssl.parameters import NonNegative, between
from sklearn_ssl.views import ImageViews

MASKED_VIEWS = 0.5  # share of the global views of the student that are masked


class IBOTObjective(PrototypeObjective):
    """DINO's loss, and the cross entropy of the teacher's outputs for masked patches."""

    def __init__(self, encoder, head, patch_head, *, mask_ratio, patch_weight, **settings):
        super().__init__(encoder, head, **settings)
        self.patch_head, self.teacher_patch_head = patch_head, copy.deepcopy(patch_head)
        self.mask_ratio, self.patch_weight = mask_ratio, patch_weight
        self.blank = nn.Parameter(encoder.mean.clone())  # color of masked patches
        self.register_buffer("patch_center", torch.zeros(len(patch_head.prototypes)))

    def forward(self, views):
        """Return the loss of a batch of views, global views first, and the teacher's entropies."""
        self.check_views(views)
        images = torch.cat(views[: self.n_global])
        with torch.no_grad():
            taught = self.encoder.features(images)
            features = world().gather(taught.pooled, self.n_global)
            teacher = features, self.teacher.head(features)
        grid, maps = taught.map.shape[2:], []
        places, masked = drawn_blocks(images, grid, self.mask_ratio, MASKED_VIEWS, self.n_global)

        def embed(images):
            found = self.student.features(images)
            maps.append(found.map)
            return found.pooled

        seen = blanked(images, masks_of(places, grid, masked), self.blank).chunk(self.n_global)
        terms = self.dino_terms(*teacher, *self.study([*seen, *views[self.n_global :]], embed))
        loss, center = self.patch_terms(taught.map, maps[0][: len(images)], places, masked)
        terms["loss"] = terms["loss"] + self.patch_weight * loss
        return terms | {"patch_loss": loss, "patch_center": center}

    def patch_terms(self, taught, studied, places, masked):
        """Return the loss of maps of teacher and student at places, and the teacher's center."""
        parts = at_places(taught, places), at_places(studied, places), masked
        taught, studied, masked = (world().gather(part, self.n_global) for part in parts)
        student = self.patch_head(studied)
        with torch.no_grad():
            teacher = self.teacher_patch_head(taught)
        with full_precision(teacher.device):
            targets = self.probabilities(teacher.flatten(0, 1), self.patch_center)
            loss = patch_loss(targets.view_as(teacher), student, masked, self.student_temperature)
            return loss, teacher.mean(dim=(0, 1))

    def after_update(self, terms, progress):
        """Update the teacher's heads and centers."""
        super().after_update(terms, progress)
        momentum = teacher_momentum(self.teacher.momentum, progress)
        move_teacher(self.teacher_patch_head, self.patch_head, momentum)
        self.patch_center.lerp_(terms["patch_center"], 1 - self.center_momentum)

    def chance_loss(self, n):
        """Return the cross entropies of equal probabilities for all prototypes."""
        return (1 + MASKED_VIEWS * self.patch_weight) * super().chance_loss(n)


def patch_loss(targets, logits, masked, temperature):
    """Return the mean cross entropy of the masked patches of images, 0 for images without any.

    ``targets`` are probabilities and ``logits`` those of the student, (n, k, n_prototypes).
    """
    losses = -(targets * log_softmax(logits / temperature, dim=2)).sum(dim=2).mean(dim=1)
    return (losses * masked).mean()


class IBOTTransformer(PrototypeTransformer):
    """iBOT: DINO, whose student also predicts the teacher's outputs for masked patches.

    Use it instead of :class:`~sklearn_ssl.DINOTransformer` where details and positions count, as in
    ``transform_map``. Its loss is that of DINOv2, which adds the KoLeo regularizer to iBOT's.

    Parameters
    ----------
    mask_ratio : float, default=0.3
        Share of the patches that are masked, in (0, 1), of a random half of the global views.

    patch_weight : float, default=1.0
        Weight of the loss of masked patches, at least 0. That of whole samples has the weight 1.

    {prototype_parameters}

    {distillation_parameters}

    {shared_parameters}

    Attributes
    ----------
    {distillation_attributes}

    {shared_attributes}

    Notes
    -----
    ``transform`` uses the teacher. Masked patches have a learned color, so that all networks with
    a map can see them, and are where smooth noise is large, instead of rectangles of random number.
    Patches have a center and a head of their own, as in DINOv2, which standardizes them.

    References
    ----------
    `Zhou et al. "iBOT: Image BERT pre-training with online tokenizer", ICLR 2022
    <https://arxiv.org/abs/2111.07832>`_

    `Oquab et al. "DINOv2: Learning robust visual features without supervision", TMLR 2024
    <https://arxiv.org/abs/2304.07193>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import IBOTTransformer
    >>> images = load_digits().images[:100]
    >>> ibot = IBOTTransformer(backbone="small_vit", max_epochs=1, random_state=0).fit(images)
    >>> ibot.transform(images).shape
    (100, 128)
    """

    mask_ratio: between(0, 1, "neither") = 0.3
    patch_weight: NonNegative = 1.0

    default_views = {"image": ImageViews(scale=(0.4, 1.0))}

    def _make_objective(self, encoder, n_features, training):
        mapped, (n_channels, *_) = with_map(encoder)
        if encoder.patch_size is None:  # of a vision transformer, the features are the class token
            encoder = mapped
        heads = self._head(n_features, training), self._head(n_channels, training, PatchHead)
        settings = {"mask_ratio": self.mask_ratio, "patch_weight": self.patch_weight}
        return IBOTObjective(encoder, *heads, **settings, **self._prototype_settings(training))
