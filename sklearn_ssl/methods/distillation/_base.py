"""Shared by methods that match the outputs of a momentum teacher: teacher, head, multi-crop."""

import math

import torch
from torch import nn
from torch.nn.functional import linear, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods._multi_crop import MultiCropTransformer
from sklearn_ssl.networks.heads import clip_each_gradient
from sklearn_ssl.networks.teacher import Teacher, momentum_at_start
from sklearn_ssl.parameters import Auto, Count, NonNegative, Positive, at_least, between
from sklearn_ssl.training.objective import Objective, wide


class PrototypeHead(nn.Module):
    """Projection of three linear layers, and its cosine similarities to prototypes."""

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


class PatchHead(PrototypeHead):
    """Head of patches (n, k, d), which are standardized, as all patches have much in common."""

    def __init__(self, n_features, *widths):
        super().__init__(n_features, *widths)
        self.norm = nn.BatchNorm1d(n_features, affine=False)

    def forward(self, patches):
        """Return the logits of patches, (n, k, n_prototypes), in [-1, 1]."""
        return super().forward(self.norm(patches.flatten(0, 1))).unflatten(0, patches.shape[:2])


class SelfDistillationObjective(Objective):
    """Objective of a student and its momentum teacher, whose encoder embeds samples.

    What ``forward`` returns includes the :func:`entropies` of the teacher's probabilities.
    """

    n_global = 2  # views that the teacher sees, the first ones
    near_chance = 0.98  # the loss contains the teacher's entropy, which may be large
    remedies = (  # for uniform outputs, and for one prototype
        "Decrease teacher_temperature and final_teacher_temperature, or lr.",
        'Use centering="sinkhorn", decrease center_momentum, or increase teacher_temperature.',
    )

    def __init__(
        self, encoder, head, *, momentum, clip_grad, freeze_until, final_weight_decay=None
    ):
        nn.Module.__init__(self)  # ``encoder`` is that of the teacher
        self.teacher = Teacher(encoder, head, momentum)
        self.student, self.student_head = encoder, head
        self.clip_grad = clip_grad
        self.freeze_until = freeze_until  # progress up to which the prototypes are fixed
        self.final_weight_decay = final_weight_decay

    @property
    def encoder(self):
        """The teacher's encoder."""
        return self.teacher.encoder

    def check_views(self, views):
        """Raise unless there are enough views, and global views of one size."""
        if len(views) < self.n_global:
            raise ValueError(
                f"At least {self.n_global} views are required; the view recipe returned "
                f"{len(views)}."
            )
        sizes = [tuple(view.shape[2:]) for view in views[: self.n_global]]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"The first {self.n_global} views are the global views and must have one size; the "
                f"view recipe returned {' and '.join(map(str, sizes))}."
            )

    def teach(self, views):
        """Return the teacher's features and outputs of the global views, first view first."""
        self.check_views(views)
        return self.teacher(views[: self.n_global])

    def projected(self, samples):
        """Return the teacher's projections of samples."""
        return self.teacher.head.project(self.encoder(samples))

    def study(self, views, embed=None):
        """Return the student's features and logits of all views, (n_views, n, d) each.

        ``embed`` replaces its encoder.
        """
        embed = embed or self.student
        # One pass per size: batch norms must not mix views of different sizes.
        sizes = dict.fromkeys(view.shape for view in views)
        same_size = [[view for view in views if view.shape == size] for size in sizes]
        features = [world().gather(embed(torch.cat(same)), len(same)) for same in same_size]
        logits = [self.student_head(part) for part in features]
        return tuple(
            torch.cat(parts).unflatten(0, (len(views), -1)) for parts in (features, logits)
        )

    def chance_loss(self, n):
        """Return the cross entropy of equal probabilities for all prototypes."""
        return math.log(len(self.student_head.prototypes))

    def diagnose(self, row):
        """Report the two collapses: uniform outputs, and one prototype for all samples."""
        name = type(self).__name__.removesuffix("Objective")
        largest = math.log(len(self.student_head.prototypes))
        if row["teacher_entropy"] > 0.98 * largest:
            return {
                "uniform": f"{name} collapsed to uniform outputs: the entropy of the teacher's "
                f"outputs is {row['teacher_entropy']:.3g} of at most {largest:.3g}. "
                f"{self.remedies[0]}"
            }
        if row["prototype_entropy"] < math.log(2):
            return {
                "one prototype": f"{name} collapsed to one prototype: the entropy of the teacher's "
                f"mean output is {row['prototype_entropy']:.2g} of at most {largest:.3g}. "
                f"{self.remedies[1]}"
            }
        return {}

    def optimizer_groups(self):
        """Return one group, whose weight decay changes."""
        decay = {"final_weight_decay": self.final_weight_decay}
        return [group | decay for group in super().optimizer_groups()]

    def before_update(self, progress):
        """Clip the gradient of each tensor; drop that of the prototypes while they are fixed."""
        if progress < self.freeze_until:
            for head in self.modules():
                if isinstance(head, PrototypeHead):
                    head.prototypes.grad = None
        clip_each_gradient(self.parameters(), self.clip_grad)

    def after_update(self, terms, progress):
        """Update the teacher."""
        self.teacher.update(self.student, self.student_head, progress)


def entropies(probabilities):
    """Return the mean entropy of probabilities, (n, n_prototypes), and the entropy of the mean."""
    return {
        "teacher_entropy": torch.special.entr(probabilities).sum(dim=1).mean(),
        "prototype_entropy": torch.special.entr(probabilities.mean(dim=0)).sum(),
    }


class SelfDistillationTransformer(MultiCropTransformer):
    """Base of the methods with a student and a momentum teacher, which sees no local crops.

    Parameters
    ----------
    n_prototypes : int or "auto", default="auto"
        Number of outputs of the head, at least 2. "auto" is ``n_samples // 10``, at least 64 and at
        most 512.

    head_hidden_dim : int, default=512
        Width of the hidden layers of the head.

    bottleneck_dim : int, default=128
        Width of the projection that is compared with the prototypes.

    {multi_crop_parameters}

    momentum : float or "auto", default="auto"
        Momentum of the teacher's moving average at the start, in [0, 1). It rises to 1 by a cosine
        schedule. "auto" is 1 - 100 / number of steps, within [0.95, 0.996].

    clip_grad : float, default=3.0
        Maximum norm of the gradient of each tensor, above 0.

    freeze_last_layer : float, default=1
        Number of epochs at the start in which the prototypes are fixed, at most half of training.

    final_weight_decay : float or "auto", default="auto"
        Weight decay at the end of training, reached by a cosine schedule. "auto" is 0.04 if
        ``weight_decay`` is "auto" and the optimizer is "adamw"; otherwise weight decay is constant.

    Attributes
    ----------
    n_prototypes_ : int
        Number of outputs of the head, with "auto" resolved.
    """

    doc_name = "distillation"
    n_prototypes: Auto | at_least(2) = "auto"
    head_hidden_dim: Count = 512
    bottleneck_dim: Count = 128
    momentum: Auto | between(0, 1, "left") = "auto"
    clip_grad: Positive = 3.0
    freeze_last_layer: NonNegative = 1
    final_weight_decay: Auto | NonNegative = "auto"

    def _head(self, n_features, training, head=PrototypeHead):
        """Return a head for features of this width."""
        n = self.n_prototypes
        if n == "auto" and training.first_epoch:  # training continues
            n = self.n_prototypes_
        elif n == "auto":
            n = min(512, max(64, training.n_samples // 10))
        return head(n_features, self.head_hidden_dim, self.bottleneck_dim, n)

    def _fitted(self, objective, source):
        return {"n_prototypes_": len(objective.student_head.prototypes)}

    def _teaching(self, training):
        """Return the settings of teacher and gradients, with every "auto" resolved."""
        final = self.final_weight_decay
        if final == "auto":
            rises = self.weight_decay == "auto" and training.optimizer == "adamw"
            final = 0.04 if rises else training.weight_decay
        return {
            "final_weight_decay": final,
            "momentum": momentum_at_start(self.momentum, training.n_steps),
            "clip_grad": self.clip_grad,
            "freeze_until": min(0.5, self.freeze_last_layer / training.max_epochs),
        }

    def attention_maps(self, X):
        """Return the attention of the class token in the last block of a vision transformer.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape.

        Returns
        -------
        maps : ndarray of shape (n_samples, n_heads, height, width), float32
            Attention of each head to the patches of the image. The sum over patches is at most 1;
            the remainder is the attention of the class token to itself.

        Raises
        ------
        ValueError
            If the backbone is not a vision transformer.
        """
        from sklearn_ssl.networks.vit import attention_maps

        return self._map(X, "encoder_", attention_maps)
