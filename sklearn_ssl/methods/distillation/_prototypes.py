"""What DINO and iBOT share: probabilities of prototypes, centered, balanced and sharpened."""

from typing import Literal

import torch
from torch.nn.functional import normalize, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._multi_crop import multi_crop_loss
from sklearn_ssl.methods._sinkhorn import sinkhorn
from sklearn_ssl.methods.distillation._base import (
    SelfDistillationObjective,
    SelfDistillationTransformer,
    entropies,
)
from sklearn_ssl.parameters import NonNegative, Positive, between
from sklearn_ssl.training.objective import wide


class PrototypeObjective(SelfDistillationObjective):
    """Objective on the probabilities of prototypes by student and teacher."""

    def __init__(self, encoder, head, *, student_temperature, teacher_temperatures,
                 temperature_warmup, center_momentum, centering="softmax", koleo_weight=0.0,
                 **teaching):  # fmt: skip
        super().__init__(encoder, head, **teaching)
        self.student_temperature = student_temperature
        self.teacher_temperatures = teacher_temperatures  # at the start and after warm-up
        self.temperature_warmup = temperature_warmup
        self.center_momentum = center_momentum
        self.centering, self.koleo_weight = centering, koleo_weight
        self.register_buffer("teacher_temperature", torch.tensor(float(teacher_temperatures[0])))
        self.register_buffer("center", torch.zeros(len(head.prototypes)))

    def probabilities(self, logits, center):
        """Return the teacher's probabilities of prototypes."""
        if self.centering == "sinkhorn":
            return sinkhorn(logits, self.teacher_temperature)
        return softmax((logits - center) / self.teacher_temperature, dim=1)

    def dino_terms(self, features, teacher, student_features, student):
        """Return the terms of a step, of the teacher's features and logits of the global views.

        Those of the student, of all views, have the shape (n_views, n, d).
        """
        n = student.shape[1]
        with full_precision(teacher.device):
            targets = self.probabilities(teacher, self.center)
            loss = multi_crop_loss(targets.unflatten(0, (-1, n)), student, self.student_temperature)
            found = {"embedding": features[:n], "center": teacher.mean(dim=0)}
            if self.koleo_weight:
                found["koleo"] = sum(map(koleo, student_features[: self.n_global])) / self.n_global
                loss = loss + self.koleo_weight * found["koleo"]
            return {"loss": loss} | found | entropies(targets)

    def after_update(self, terms, progress):
        """Update the teacher, its center and its temperature."""
        super().after_update(terms, progress)
        self.center.lerp_(terms["center"], 1 - self.center_momentum)
        low, high = self.teacher_temperatures
        share = min(1.0, progress / self.temperature_warmup) if self.temperature_warmup else 1.0
        self.teacher_temperature.fill_(low + (high - low) * share)


def koleo(features):
    """Return the KoLeo regularizer: minus the mean log distance to the nearest neighbor.

    Features are L2-normalized; the loss spreads them over all directions.
    """
    z = normalize(wide(features))
    with torch.no_grad():
        nearest = (z @ z.T).fill_diagonal_(-torch.inf).argmax(dim=1)
    return -((z - z[nearest]).norm(dim=1) + 1e-8).log().mean()


class PrototypeTransformer(SelfDistillationTransformer):
    """Base of the methods that match probabilities of prototypes.

    Parameters
    ----------
    student_temperature : float, default=0.1
        Temperature of the student's softmax over cosine similarities to prototypes, above 0.

    teacher_temperature : float, default=0.02
        Temperature of the teacher's softmax at the start, above 0. Low values sharpen the targets.

    final_teacher_temperature : float, default=0.04
        Temperature of the teacher's softmax after warm-up, above 0.

    temperature_warmup : float, default=0.3
        Share of training, in [0, 1], in which the teacher's temperature rises linearly.

    centering : {"sinkhorn", "softmax"}, default="sinkhorn"
        How the teacher's outputs become probabilities: by Sinkhorn-Knopp, which uses all prototypes
        of a batch equally, as in DINOv2, or by a softmax of centered outputs, as in the paper.

    center_momentum : float, default=0.9
        Momentum of the center, in [0, 1): the moving average of the teacher's outputs, which is
        subtracted from them so that no prototype dominates. Only for ``centering="softmax"``.

    koleo_weight : float, default=0.1
        Weight, at least 0, of the KoLeo regularizer of the student's features of each global view,
        which spreads them over all directions, as in DINOv2.
    """

    doc_name = "prototype"

    student_temperature: Positive = 0.1
    teacher_temperature: Positive = 0.02
    final_teacher_temperature: Positive = 0.04
    temperature_warmup: between(0, 1, "both") = 0.3
    centering: Literal["sinkhorn", "softmax"] = "sinkhorn"
    center_momentum: between(0, 1, "left") = 0.9
    koleo_weight: NonNegative = 0.1

    def _prototype_settings(self, training):
        """Return the settings of the objective, besides encoder and head."""
        return {
            "student_temperature": self.student_temperature,
            "teacher_temperatures": (self.teacher_temperature, self.final_teacher_temperature),
            "temperature_warmup": self.temperature_warmup,
            "center_momentum": self.center_momentum,
            "centering": self.centering,
            "koleo_weight": self.koleo_weight,
        } | self._teaching(training)
