"""Distillation: match the features of a given teacher, which is not trained."""

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods.distillation._given import StudentTransformer
from sklearn_ssl.training.objective import Objective, wide
from sklearn_ssl.views import TableViews, TextViews
from sklearn_ssl.views.image import CROPS


class DistillationObjective(Objective):
    """Distances between projections of views and the teacher's features of their samples."""

    near_chance = 0.98  # few of many features may be predictable

    def __init__(self, encoder, n_features, targets, standardize):
        super().__init__(encoder)
        self.project = nn.Linear(n_features, targets.shape[1])
        std, mean = torch.std_mean(targets, dim=0, correction=0)
        std = std.where(std > 1e-6 * std.max(), torch.inf)  # constants become 0
        self.register_buffer("mean", mean if standardize else torch.zeros_like(mean))
        self.register_buffer("std", std if standardize else torch.ones_like(std))

    def forward(self, views, targets):
        """Return the loss of a batch of views and the teacher's features of their samples."""
        projections = [self.project(self.encoder(view)) for view in views]
        with full_precision(targets.device):
            targets = (targets - self.mean) / self.std
            losses = [distance(wide(z), targets) for z in projections]
            return {"loss": sum(losses) / len(losses), "embedding": projections[0]}

    def chance_loss(self, n):
        """Return the loss of equal projections, if the directions of targets have mean 0."""
        return 2.0


def distance(z, targets):
    """Return the mean squared distance between L2-normalized vectors, 2 - 2 * cosine."""
    return (2 - 2 * cosine_similarity(z, targets)).mean()


class DistillationTransformer(StudentTransformer):
    """Distillation: train a student to match the features of a given teacher.

    Use it to compress a large pretrained network into a small one, to put an ensemble or a pipeline
    of feature extraction into one network, or to adapt a network to X: it does not collapse, needs
    little tuning, and small batches are enough. The teacher sees whole samples, the student views.

    Parameters
    ----------
    {student_parameters}

    standardize : bool, default=True
        Whether the teacher's features are standardized on the X of the first fit, so that all count
        the same. With False, features of larger variance, or of larger mean, dominate.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The loss is the squared distance between the L2-normalized features of the teacher and a linear
    projection of the student's. The teacher embeds X once, before training, so student and teacher
    do not see the same crop, and the default views have no changes of color. Training that
    continues has the teacher of the first fit. ``save`` includes teachers of this package;
    after ``load``, estimators with another one cannot ``score`` or continue training.

    References
    ----------
    `Romero et al. "FitNets: Hints for thin deep nets", ICLR 2015 <https://arxiv.org/abs/1412.6550>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DistillationTransformer, PatchKMeansTransformer
    >>> images = load_digits().images[:200]
    >>> teacher = PatchKMeansTransformer(n_centroids=50, patch_size=4, random_state=0)
    >>> student = DistillationTransformer(teacher=teacher, max_epochs=1, random_state=0)
    >>> student.fit_transform(images).shape
    (200, 256)
    """

    standardize: bool = True

    default_views = {
        "image": CROPS,
        "table": TableViews(keep_first=False, n_views=1),
        "text": TextViews(n_views=1),
    }

    def _student(self, encoder, n_features, targets):
        return DistillationObjective(encoder, n_features, targets, self.standardize)
