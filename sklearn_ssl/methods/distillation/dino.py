"""DINO: say of every crop what a slowly moving teacher says of the whole sample."""

import copy
import math
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import linear, log_softmax, normalize, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.networks.heads import clip_each_gradient
from sklearn_ssl.networks.teacher import move_teacher, short_run_momentum, teacher_momentum
from sklearn_ssl.parameters import Auto, Count, NonNegative, Positive, at_least, between
from sklearn_ssl.training.objective import Objective, wide
from sklearn_ssl.views import CombinedViews, ImageViews, RowViews

N_GLOBAL = 2  # views that the teacher sees, the first ones


class DINOHead(nn.Module):
    """Three linear layers without batch norm, then the cosines with the prototypes."""

    def __init__(self, n_features, hidden_dim, bottleneck_dim, n_prototypes):
        super().__init__()
        self.project = nn.Sequential(
            *(nn.Linear(n_features, hidden_dim), nn.GELU()),
            *(nn.Linear(hidden_dim, hidden_dim), nn.GELU()),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        self.prototypes = nn.Parameter(torch.randn(n_prototypes, bottleneck_dim))

    def forward(self, features):
        """Return the logits of a batch, (n, n_prototypes), in [-1, 1]."""
        projections = self.project(features)
        with full_precision(features.device):
            return linear(normalize(wide(projections)), normalize(self.prototypes))


class DINOObjective(Objective):
    """Cross entropy of the student's logits with those of the teacher, whose encoder is ours."""

    near_chance = 0.98  # the teacher's own entropy, which may be large, is in the loss

    def __init__(self, encoder, head, *, momentum, student_temperature, teacher_temperatures,
                 temperature_warmup, center_momentum, gradient_clip, frozen_until):  # fmt: skip
        super().__init__(copy.deepcopy(encoder))  # the teacher's
        self.head = copy.deepcopy(head)
        self.student, self.student_head = encoder, head
        self.momentum, self.center_momentum = momentum, center_momentum
        self.student_temperature = student_temperature
        self.teacher_temperatures = teacher_temperatures
        self.temperature_warmup = temperature_warmup
        self.gradient_clip, self.frozen_until = gradient_clip, frozen_until
        self.register_buffer("teacher_temperature", torch.tensor(float(teacher_temperatures[0])))
        self.register_buffer("center", torch.zeros(len(head.prototypes)))

    def forward(self, views):
        """Return the loss of a batch of views, two global ones first."""
        if len(views) < N_GLOBAL:
            raise ValueError(f"DINO needs two views or more; the view recipe gave {len(views)}.")
        if views[0].shape != views[1].shape:
            raise ValueError(
                "DINO's first two views are the large ones, of one size; the view recipe gave "
                f"{tuple(views[0].shape[2:])} and {tuple(views[1].shape[2:])}."
            )
        with torch.no_grad():
            embedding = self.encoder(torch.cat(views[:N_GLOBAL]))
            teacher = self.head(embedding)
        # Views of one size pass together: sizes differ in what batch norm sees.
        sizes = dict.fromkeys(view.shape for view in views)
        student = [
            self.student_head(self.student(torch.cat([v for v in views if v.shape == size])))
            for size in sizes
        ]
        n = len(views[0])
        with full_precision(teacher.device):
            targets = softmax((teacher - self.center) / self.teacher_temperature, dim=1)
            loss = dino_loss(
                targets.unflatten(0, (N_GLOBAL, n)),
                torch.cat(student).unflatten(0, (len(views), n)),
                self.student_temperature,
            )
            entropy = torch.special.entr(targets).sum(dim=1).mean()
            used = torch.special.entr(targets.mean(dim=0)).sum()
            if self.training:  # after the loss, which the old center belongs to
                self.center.lerp_(teacher.mean(dim=0), 1 - self.center_momentum)
        return {
            "loss": loss,
            "teacher_entropy": entropy,
            "prototype_entropy": used,
            "embedding": embedding[:n],
        }

    def chance_loss(self, n):
        """Return the loss of one to whom all prototypes are alike."""
        return math.log(len(self.center))

    def symptoms(self, row):
        """Tell of the two collapses: all prototypes for every sample, and one for all samples."""
        most = math.log(len(self.center))
        if row["teacher_entropy"] > 0.98 * most:
            return {
                "uniform": "DINO collapsed to uniform outputs: the teacher gives every sample all "
                f"prototypes alike, with an entropy of {row['teacher_entropy']:.3g} where the most "
                f"is {most:.3g}. Lower teacher_temperature and final_teacher_temperature, or lr."
            }
        if row["prototype_entropy"] < math.log(2):
            return {
                "one prototype": "DINO collapsed to one prototype, which the teacher gives nearly "
                f"all samples: the entropy of their use is {row['prototype_entropy']:.2g}, where "
                f"the most is {most:.3g}. Lower center_momentum, or raise teacher_temperature."
            }
        return {}

    def before_step(self, progress):
        """Clip the gradients; keep the prototypes as they are at first."""
        if progress < self.frozen_until:
            self.student_head.prototypes.grad = None
        clip_each_gradient(self.parameters(), self.gradient_clip)

    def after_step(self, progress):
        """Move the teacher, and its temperature."""
        momentum = teacher_momentum(self.momentum, progress)
        move_teacher(self.encoder, self.student, momentum)
        move_teacher(self.head, self.student_head, momentum)
        low, high = self.teacher_temperatures
        share = min(1.0, progress / self.temperature_warmup) if self.temperature_warmup else 1.0
        self.teacher_temperature.fill_(low + (high - low) * share)


def dino_loss(targets, logits, temperature):
    """Mean cross entropy over all pairs of a global view and another view.

    ``targets`` are the teacher's probabilities of the global views, (g, n, k); ``logits`` the
    student's of all views, (v, n, k), the global ones first.
    """
    log_probabilities = log_softmax(logits / temperature, dim=2)
    pairs = -torch.einsum("gnk,vnk->gv", targets, log_probabilities) / targets.shape[1]
    same = torch.eye(*pairs.shape, device=pairs.device, dtype=torch.bool)
    return pairs.masked_fill(same, 0).sum() / (pairs.numel() - len(pairs))


class DINOTransformer(SSLTransformer):
    """Learn features from which small crops of a sample say what a teacher says of large ones.

    Use it for vision transformers, whose attention ``attention_maps`` shows. It tells no samples
    apart, as SimCLR does, but sorts all into prototypes. The teacher is a running mean of the
    trained network, and what ``transform`` uses. On rows each view is the row with another random
    part of its features replaced.

    Parameters
    ----------
    n_local_crops : int or "auto", default="auto"
        Number of views that only the student sees: of images, small crops of half the height and
        width of the other views. "auto" is 4 for rows and for images of at least 24 pixels, and 0
        for smaller ones, of which such crops show nothing. Not used if ``views`` is set.

    n_prototypes : int, default=512
        Number of outputs of the head, into which teacher and student sort samples.

    head_hidden_dim : int, default=512
        Width of the head's hidden layers.

    bottleneck_dim : int, default=128
        Width of the projection that is compared with the prototypes.

    student_temperature : float, default=0.1
        Divides the student's cosines with the prototypes, above 0.

    teacher_temperature : float, default=0.02
        Divides the teacher's, above 0. Lower than the student's, which makes its opinion sharp.

    final_teacher_temperature : float, default=0.04
        What it has risen to after the warm-up.

    temperature_warmup : float, default=0.3
        Share of the training, in [0, 1], in which the teacher's temperature rises.

    momentum : float or "auto", default="auto"
        Share of the teacher's weights that a step keeps, at first; it rises to 1 by half a
        cosine. "auto" is 1 - 100 / number of steps, within [0.95, 0.996].

    center_momentum : float, default=0.9
        Share that a step keeps of the center, the running mean of the teacher's outputs, which is
        taken from them so that no prototype wins all samples.

    gradient_clip : float, default=3.0
        Largest norm of the gradient of each tensor, above 0.

    frozen_epochs : float, default=1
        Epochs at the start in which the prototypes stay as they are, at most half of the training.

    final_weight_decay : float or "auto", default="auto"
        What the weight decay becomes in the course of training, by half a cosine. "auto" is 0.04
        if ``weight_decay`` is "auto" and the optimizer "adamw", else what it was at the start.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Sizes and temperatures are not the published ones, which are for large networks and long
    training: there are 65,536 prototypes, and the teacher's temperature rises from 0.04 to 0.07.
    With those temperatures the outputs became uniform on scikit-learn's digits, with a loss of
    log(n_prototypes). ``history_`` shows such a collapse: ``teacher_entropy``, the mean entropy
    of the teacher's outputs, is near log(n_prototypes). Both large crops are drawn alike here,
    without solarisation.

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
    >>> dino.attention_maps(images).shape  # four heads, patches of two by two pixels
    (100, 4, 4, 4)
    """

    n_local_crops: Auto | at_least(0) = "auto"
    n_prototypes: at_least(2) = 512
    head_hidden_dim: Count = 512
    bottleneck_dim: Count = 128
    student_temperature: Positive = 0.1
    teacher_temperature: Positive = 0.02
    final_teacher_temperature: Positive = 0.04
    temperature_warmup: between(0, 1, "both") = 0.3
    momentum: Auto | between(0, 1, "left") = "auto"
    center_momentum: between(0, 1, "left") = 0.9
    gradient_clip: Positive = 3.0
    frozen_epochs: NonNegative = 1
    final_weight_decay: Auto | NonNegative = "auto"

    default_views = {
        "image": ImageViews(scale=(0.4, 1.0)),
        "rows": RowViews(keep_first=False),
    }
    local_views = {
        "image": ImageViews(size=0.5, scale=(0.1, 0.4)),
        "rows": RowViews(keep_first=False),
    }

    def _default_views(self, source):
        views, n_local_crops = super()._default_views(source), self.n_local_crops
        if n_local_crops == "auto":
            n_local_crops = 0 if source.is_image and min(source.shape[1:]) < 24 else 4
        if n_local_crops == 0:
            return views
        local = replace(self.local_views[source.kind], n_views=n_local_crops)
        if source.is_image:
            local = replace(local, size=local.size * views.size)
        return CombinedViews((views, local))

    def _resolve_training(self, *args):
        training, final = super()._resolve_training(*args), self.final_weight_decay
        if final == "auto":
            rises = self.weight_decay == "auto" and training.optimizer == "adamw"
            final = 0.04 if rises else training.weight_decay
        return replace(training, final_weight_decay=final)

    def _make_objective(self, encoder, n_features, training):
        auto = self.momentum == "auto"
        return DINOObjective(
            encoder,
            DINOHead(n_features, self.head_hidden_dim, self.bottleneck_dim, self.n_prototypes),
            momentum=short_run_momentum(training.n_steps) if auto else self.momentum,
            student_temperature=self.student_temperature,
            teacher_temperatures=(self.teacher_temperature, self.final_teacher_temperature),
            temperature_warmup=self.temperature_warmup,
            center_momentum=self.center_momentum,
            gradient_clip=self.gradient_clip,
            frozen_until=min(0.5, self.frozen_epochs / training.max_epochs),
        )

    def attention_maps(self, X):
        """Return where a vision transformer looks: the attention of its last block.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        Returns
        -------
        maps : ndarray of shape (n_samples, n_heads, rows, columns), float32
            For each head the attention of the class token to the patches of the image, at most 1
            in sum; the rest is its attention to itself.

        Raises
        ------
        ValueError
            If the backbone is no vision transformer.
        """
        from sklearn_ssl.networks.vit import attention_maps

        return self._map(X, "encoder_", attention_maps)
