"""DINO: self-distillation with a momentum teacher, multi-crop, centering and sharpening."""

import torch
from torch.nn.functional import log_softmax, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods.distillation._base import (
    PrototypeHead,
    SelfDistillationObjective,
    SelfDistillationTransformer,
    entropies,
)
from sklearn_ssl.parameters import Count, Positive, at_least, between
from sklearn_ssl.views import ImageViews, TableViews


class DINOObjective(SelfDistillationObjective):
    """Cross entropy between centered, sharpened teacher outputs and student outputs."""

    def __init__(self, encoder, head, *, student_temperature, teacher_temperatures,
                 temperature_warmup, center_momentum, **teaching):  # fmt: skip
        super().__init__(encoder, head, **teaching)
        self.student_temperature = student_temperature
        self.teacher_temperatures = teacher_temperatures  # at the start and after warm-up
        self.temperature_warmup = temperature_warmup
        self.center_momentum = center_momentum
        self.register_buffer("teacher_temperature", torch.tensor(float(teacher_temperatures[0])))
        self.register_buffer("center", torch.zeros(len(head.prototypes)))

    def forward(self, views):
        """Return the loss of a batch of views, global views first, and the teacher's entropies."""
        embedding, teacher = self.teach(views)
        student = self.student_logits(views)
        n = student.shape[1]
        with full_precision(teacher.device):
            targets = softmax((teacher - self.center) / self.teacher_temperature, dim=1)
            loss = dino_loss(targets.unflatten(0, (-1, n)), student, self.student_temperature)
            found = {"loss": loss, "embedding": embedding[:n], "center": teacher.mean(dim=0)}
            return found | entropies(targets)

    def after_update(self, terms, progress):
        """Update the teacher, its center and its temperature."""
        super().after_update(terms, progress)
        self.center.lerp_(terms["center"], 1 - self.center_momentum)
        low, high = self.teacher_temperatures
        share = min(1.0, progress / self.temperature_warmup) if self.temperature_warmup else 1.0
        self.teacher_temperature.fill_(low + (high - low) * share)


def dino_loss(targets, logits, temperature):
    """Return the mean cross entropy over all pairs of a global view and another view.

    ``targets`` are the teacher's probabilities of the global views, (g, n, k); ``logits`` those of
    the student for all views, (v, n, k), global views first.
    """
    log_probabilities = log_softmax(logits / temperature, dim=2)
    pairs = -torch.einsum("gnk,vnk->gv", targets, log_probabilities) / targets.shape[1]
    same = torch.eye(*pairs.shape, device=pairs.device, dtype=torch.bool)
    return pairs.masked_fill(same, 0).sum() / (pairs.numel() - len(pairs))


class DINOTransformer(SelfDistillationTransformer):
    """DINO: self-distillation that matches the outputs of a momentum teacher across crops.

    The student sees global views and local crops; the teacher, its exponential moving average,
    only global views. Centering and sharpening of the teacher's outputs prevent collapse without
    negatives. ``transform`` uses the teacher. Use it with vision transformers, and
    ``attention_maps``. For tabular data, each view replaces a random share of the features.

    Parameters
    ----------
    n_prototypes : int, default=512
        Number of outputs of the head, at least 2.

    head_hidden_dim : int, default=512
        Width of the hidden layers of the head.

    bottleneck_dim : int, default=128
        Width of the projection that is compared with the prototypes.

    student_temperature : float, default=0.1
        Temperature of the student's softmax over cosine similarities to prototypes, above 0.

    teacher_temperature : float, default=0.02
        Temperature of the teacher's softmax at the start, above 0. Low values sharpen the targets.

    final_teacher_temperature : float, default=0.04
        Temperature of the teacher's softmax after warm-up, above 0.

    temperature_warmup : float, default=0.3
        Share of training, in [0, 1], in which the teacher's temperature rises linearly.

    center_momentum : float, default=0.9
        Momentum of the center, in [0, 1): the moving average of the teacher's outputs, which is
        subtracted from them so that no prototype dominates.

    {distillation_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Differences from the paper: defaults are for small networks and short training, with 512
    prototypes instead of 65,536 and teacher temperatures of 0.02 to 0.04 instead of 0.04 to 0.07.
    Both global views have the same augmentations, without solarization.

    References
    ----------
    `Caron et al. "Emerging properties in self-supervised vision transformers", ICCV 2021
    <https://arxiv.org/abs/2104.14294>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DINOTransformer
    >>> images = load_digits().images[:100]
    >>> dino = DINOTransformer(backbone="small_vit", max_epochs=1, random_state=0).fit(images)
    >>> dino.transform(images).shape
    (100, 128)
    >>> dino.attention_maps(images).shape  # four heads, patches of 2 x 2 pixels
    (100, 4, 4, 4)
    """

    n_prototypes: at_least(2) = 512
    head_hidden_dim: Count = 512
    bottleneck_dim: Count = 128
    student_temperature: Positive = 0.1
    teacher_temperature: Positive = 0.02
    final_teacher_temperature: Positive = 0.04
    temperature_warmup: between(0, 1, "both") = 0.3
    center_momentum: between(0, 1, "left") = 0.9

    default_views = {"image": ImageViews(scale=(0.4, 1.0)), "table": TableViews(keep_first=False)}

    def _make_objective(self, encoder, n_features, training):
        return DINOObjective(
            encoder,
            PrototypeHead(n_features, self.head_hidden_dim, self.bottleneck_dim, self.n_prototypes),
            student_temperature=self.student_temperature,
            teacher_temperatures=(self.teacher_temperature, self.final_teacher_temperature),
            temperature_warmup=self.temperature_warmup,
            center_momentum=self.center_momentum,
            **self._teaching(training),
        )
