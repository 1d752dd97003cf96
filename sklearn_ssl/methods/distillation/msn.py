"""MSN: match the prototypes of masked views of a sample to those of a whole view."""

import torch
from torch.nn.functional import linear, log_softmax, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods._sinkhorn import sinkhorn
from sklearn_ssl.methods.distillation._base import (
    SelfDistillationObjective,
    SelfDistillationTransformer,
    entropies,
)
from sklearn_ssl.methods.distillation._masks import blanked, drawn_patches, masks_of
from sklearn_ssl.parameters import NonNegative, Positive, at_least, between
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews

SIDE = 8  # of the grid of patches, for networks without patches of their own


class MSNObjective(SelfDistillationObjective):
    """Cross entropy of prototypes, and divergence of their use from a prior."""

    remedies = "Decrease sharpening or lr.", "Increase prior_weight or sinkhorn_iterations."

    def __init__(self, encoder, head, *, temperature, sharpening, sinkhorn_iterations, mask_ratio,
                 prior_exponent, prior_weight, **teaching):  # fmt: skip
        super().__init__(encoder, head, **teaching)
        self.temperature, self.sharpening = temperature, sharpening
        self.sinkhorn_iterations, self.mask_ratio = sinkhorn_iterations, mask_ratio
        self.prior_weight = prior_weight
        ranks = torch.arange(1, len(head.prototypes) + 1)
        self.register_buffer("log_prior", log_softmax(-prior_exponent * ranks.log(), dim=0))

    def forward(self, views):
        """Return the loss of a batch of views, of which the teacher sees the first one whole."""
        self.check_views(views)
        with torch.no_grad():
            features = world().gather(self.encoder(views[0]))
            z = wide(self.teacher.head.project(features))
        _, logits = self.study(views[1:], lambda part: self.masked(part, views[0].shape))
        with full_precision(z.device):
            scores = linear(normalize(z), normalize(self.student_head.prototypes.detach()))
            settings = self.temperature, self.sharpening, self.sinkhorn_iterations
            targets = sharpened(scores, *settings)
            logs = log_softmax(logits / self.temperature, dim=2)
            loss, divergence = msn_terms(logs, targets, self.log_prior)
            found = {"loss": loss + self.prior_weight * divergence, "divergence": divergence}
            return found | {"embedding": features} | entropies(targets)

    def masked(self, samples, whole):
        """Return the student's features of views, masked if they have the size of whole ones."""
        if samples.ndim != 4 or samples.shape[1:] != whole[1:]:
            return self.student(samples)
        side = self.student.patch_size
        grid = [n // side if side else min(SIDE, n) for n in samples.shape[2:]]
        visible, places = drawn_patches(samples, grid, self.mask_ratio, len(samples) // whole[0])
        if side:  # of a vision transformer, which does not see masked patches at all
            return self.student.features(samples, visible=visible).pooled
        masks = masks_of(places, grid)
        return self.student(blanked(samples, masks, self.student.mean))

    def chance_loss(self, n):
        """Return the loss of equal probabilities for all prototypes."""
        log_n = super().chance_loss(n)
        return log_n - self.prior_weight * (log_n + self.log_prior.mean().item())


def sharpened(scores, temperature, sharpening, n_iterations):
    """Return probabilities of prototypes, sharpened, and balanced over a batch by Sinkhorn."""
    logs = log_softmax(scores / (temperature * sharpening), dim=1)
    return sinkhorn(logs, 1.0, n_iterations) if n_iterations else logs.exp()


def msn_terms(logs, targets, log_prior):
    """Return the mean cross entropy of anchors, and the divergence of their mean from a prior.

    ``logs`` are log probabilities of anchors, (n_anchors, n, k), ``targets`` probabilities, (n, k).
    """
    mean = logs.exp().mean(dim=(0, 1))
    divergence = -(torch.special.entr(mean) + mean * log_prior).sum()
    return -(targets * logs).sum(dim=2).mean(), divergence


class MSNTransformer(SelfDistillationTransformer):
    """MSN: masked views of a sample are assigned to the same prototypes as a whole view.

    Use it with few labels. The student sees a masked view and, of larger images, local crops; the
    teacher, its exponential moving average, a whole view, of tabular data the sample itself. If
    classes are of very different size, use ``prior_exponent=0.25`` (PMSN).

    Parameters
    ----------
    mask_ratio : float, default=0.15
        Share of the patches that are masked, in (0, 1). Not used for tabular data.

    temperature : float, default=0.1
        Temperature of the softmax over cosine similarities to prototypes, above 0.

    sharpening : float, default=0.25
        Factor of the temperature for the teacher, above 0; below 1 it sharpens the targets.

    sinkhorn_iterations : int, default=3
        Number of iterations, at least 0, that balance the prototypes of the targets of a batch.

    prior_exponent : float, default=0.0
        Exponent, at least 0, of the power law of the sizes of groups. 0 is groups of one size.

    prior_weight : float, default=1.0
        Weight, at least 0, of the divergence of the mean assignment from the power law.

    {distillation_parameters}

    {shared_parameters}

    Attributes
    ----------
    {distillation_attributes}

    {shared_attributes}

    Notes
    -----
    ``transform`` uses the teacher. Vision transformers do not see masked patches; others see the
    mean color in a grid of at most 8 x 8. The head has no batch norms, and fewer prototypes.

    References
    ----------
    `Assran et al. "Masked Siamese networks for label-efficient learning", ECCV 2022
    <https://arxiv.org/abs/2204.07141>`_

    `Assran et al. "The hidden uniform cluster prior in self-supervised learning", ICLR 2023
    <https://arxiv.org/abs/2210.07277>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import MSNTransformer
    >>> images = load_digits().images[:100]
    >>> MSNTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (100, 256)
    """

    mask_ratio: between(0, 1, "neither") = 0.15
    temperature: Positive = 0.1
    sharpening: Positive = 0.25
    sinkhorn_iterations: at_least(0) = 3
    prior_exponent: NonNegative = 0.0
    prior_weight: NonNegative = 1.0

    default_views = {"image": ImageViews(scale=(0.4, 1.0)), "table": TableViews()}

    def _make_objective(self, encoder, n_features, training):
        return MSNObjective(
            encoder,
            self._head(n_features, training),
            temperature=self.temperature,
            sharpening=self.sharpening,
            sinkhorn_iterations=self.sinkhorn_iterations,
            mask_ratio=self.mask_ratio,
            prior_exponent=self.prior_exponent,
            prior_weight=self.prior_weight,
            **self._teaching(training),
        )
