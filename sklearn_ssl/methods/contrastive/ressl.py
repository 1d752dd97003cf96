"""ReSSL: predict a teacher's similarities to other samples from a stronger augmentation."""

import math
from dataclasses import replace

import torch
from torch.nn.functional import log_softmax, normalize, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods import _joint_embedding as joint
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.networks.queue import Queue
from sklearn_ssl.parameters import Auto, Count, Positive
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import CombinedViews, ImageViews, TableViews

# The augmentations of the teacher's view, where they differ from the student's.
NO_COLORS = {"color_jitter": 0.0, "grayscale": 0.0, "gaussian_blur": 0.0}
WEAK = {"image": NO_COLORS, "table": {"corruption": 0.2}}


class ReSSLObjective(joint.MomentumObjective):
    """Cross entropy of the similarities to other samples, of student and teacher."""

    near_chance = 0.98  # the loss contains the teacher's entropy, which may be large

    def __init__(self, encoder, projector, queue, momentum, *temperatures):
        super().__init__(encoder, projector, momentum)
        self.queue, self.temperatures = queue, temperatures  # of student and teacher

    def forward(self, views):
        """Return the loss of a batch of a view of the student and one of the teacher."""
        z, target = self.across(views)
        with full_precision(z.device):
            student, teacher = normalize(wide(z)), normalize(wide(target))
            relations = self.relations(student, teacher), self.relations(teacher, teacher)
            loss = relational_loss(*relations, *self.temperatures)
        return {"loss": loss, "embedding": z, "teacher": teacher}

    def relations(self, z, teacher):
        """Return similarities to the queue and to the other samples, -inf where there is none."""
        same = torch.eye(len(z), dtype=torch.bool, device=z.device)
        others = (z @ teacher.T).masked_fill(same, -torch.inf)
        return torch.cat([self.queue.similarities(z), others], dim=1)

    def after_update(self, terms, progress):
        """Update the teacher, and the queue of its projections."""
        super().after_update(terms, progress)
        self.queue.push(terms["teacher"])

    def chance_loss(self, n):
        """Return the loss at chance level, where all others are equally similar."""
        return math.log(len(self.queue.vectors) + n - 1)


def relational_loss(student, teacher, student_temperature, teacher_temperature):
    """Return the cross entropy of the student's softmax over others to that of the teacher."""
    targets = softmax(teacher / teacher_temperature, dim=1)
    log_probabilities = log_softmax(student / student_temperature, dim=1)
    return -(targets * log_probabilities.masked_fill(student == -torch.inf, 0)).sum(dim=1).mean()


class ReSSLTransformer(joint.MomentumTransformer):
    """Learn features by relational self-supervised learning: similarities to other samples.

    A momentum teacher computes from a weakly augmented view how similar a sample is to others; the
    student predicts it from a strongly augmented view. Similar samples are not pushed apart.
    ``transform`` uses the student. The teacher's views of images are crops without changes of
    color; in those of tabular data, a fifth of the features is replaced.

    Parameters
    ----------
    student_temperature : float, default=0.2
        Temperature of the student's softmax over cosine similarities, above 0.

    teacher_temperature : float, default=0.1
        Temperature of the teacher's softmax, above 0, lower than the student's.

    queue_size : int or "auto", default="auto"
        Number of the teacher's earlier projections that samples are compared with, at least 1.
        "auto" is 4096, and at most half of the samples.

    projection_dim : int, default=128
        Width of the projection in which samples are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {momentum_parameters}

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Unlike in the paper, samples are compared with those of the batch, too, as the queue is empty at
    first. Temperatures, 0.1 and 0.04 in the paper, optimizer, widths and momentum are chosen for
    minutes of training. Of other ``views``, the first is the student's, the second the teacher's.

    References
    ----------
    `Zheng et al. "ReSSL: relational self-supervised learning with weak augmentation", NeurIPS 2021
    <https://arxiv.org/abs/2107.09282>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import ReSSLTransformer
    >>> images = load_digits().images[:200]
    >>> ReSSLTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    student_temperature: Positive = 0.2
    teacher_temperature: Positive = 0.1
    queue_size: Auto | Count = "auto"
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(n_views=1), "table": TableViews(0.6, 1, keep_first=False)}

    def _default_views(self, spec):
        strong = super()._default_views(spec)
        return CombinedViews((strong, replace(strong, **WEAK[spec.kind])))

    def _make_objective(self, encoder, n_features, training):
        widths = n_features, self.projection_hidden_dim, self.projection_dim
        queue = Queue(joint.queue_size_for(self.queue_size, training), self.projection_dim)
        projector = mlp(*widths, last_norm=True)
        settings = self._resolve_momentum(training), self.student_temperature
        return ReSSLObjective(encoder, projector, queue, *settings, self.teacher_temperature)
