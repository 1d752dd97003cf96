"""SMoG: contrast views with groups of samples, whose vectors follow each step."""

import math

import torch
from torch.nn.functional import cross_entropy, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods._joint_embedding import MomentumObjective, MomentumTransformer
from sklearn_ssl.methods.clustering._base import (
    AssignmentMixin,
    number_of_prototypes,
    unit_projections,
)
from sklearn_ssl.methods.clustering._groups import assigned, updated_groups
from sklearn_ssl.methods.clustering._spherical_clustering import SphericalClustering
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Auto, Count, Positive, at_least, between
from sklearn_ssl.training.objective import Epoch, wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews

# After so many steps or such a share of training, groups are clusters of all samples again.
RESET_STEPS, RESET_SHARE = 300, 0.05


class SMoGObjective(MomentumObjective):
    """Cross entropy between the group of a view and the predictions of the other view."""

    near_chance = 0.98  # after each reset, other groups have to be predicted

    def __init__(self, encoder, projector, predictor, groups, momentum, group_momentum,
                 temperature, reset_epochs):  # fmt: skip
        super().__init__(encoder, projector, momentum)
        self.predict, self.reset_epochs = predictor, reset_epochs
        self.group_momentum, self.temperature = group_momentum, temperature
        self.register_buffer("groups", normalize(groups))
        self.register_buffer("n_planned", torch.zeros((), dtype=torch.long))  # epochs

    def plan_epoch(self, embed, rng):
        """Reset groups to clusters of all samples, and the teacher to the student, in time."""
        if self.n_planned % self.reset_epochs == 0:
            clustering = SphericalClustering(len(self.groups), 1)
            clustering.fit(unit_projections(self.project, embed()), rng)
            self.groups.copy_(torch.from_numpy(clustering.centers))
            self.teacher.encoder.load_state_dict(self.encoder.state_dict())
            self.teacher.head.load_state_dict(self.project.state_dict())
        self.n_planned += 1
        return Epoch()

    def forward(self, views):
        """Return the loss of a batch of two views."""
        z, targets = self.projections(views), self.taught(views)
        predictions = torch.cat([self.predict(part) for part in z])
        with full_precision(predictions.device):
            z, p, t = (normalize(wide(x)) for x in (torch.cat(z), predictions, torch.cat(targets)))
            groups = updated_groups(self.groups.to(z), z, self.group_momentum)
            labels = assigned(t, self.groups).roll(len(t) // 2)  # those of the other view
            loss = cross_entropy(p @ groups.T / self.temperature, labels)
        return {"loss": loss, "embedding": z[: len(z) // 2], "groups": groups}

    def assigned(self, samples):
        """Return the nearest group of each sample."""
        return assigned(normalize(self.projected(samples)), self.groups)

    def after_update(self, terms, progress):
        """Update the teacher and the groups."""
        super().after_update(terms, progress)
        self.groups.copy_(terms["groups"])

    def chance_loss(self, n):
        """Return the cross entropy of equal probabilities for all groups."""
        return math.log(len(self.groups))


def reset_epochs_for(training):
    """Return the number of epochs from one reset to the next."""
    share = max(RESET_SHARE, 1 / training.max_epochs)
    return math.ceil(training.max_epochs * min(share, RESET_STEPS / training.n_steps) - 1e-6)


class SMoGTransformer(AssignmentMixin, MomentumTransformer):
    """Learn features by contrasting views with groups of samples instead of single samples.

    A momentum teacher assigns one view to a group, which is predicted from the other view. Vectors
    of groups are moving averages, updated in each step, to which ``predict`` assigns samples. Use
    it if samples of one class should not be negatives of each other, as they are in SimCLR.

    Parameters
    ----------
    n_groups : int or "auto", default="auto"
        Number of groups, at least 2. "auto" is ``n_samples // 20``, at least 10 and at most 500.

    group_momentum : float, default=0.99
        Momentum of the moving averages of groups, in [0, 1).

    temperature : float, default=0.1
        Temperature of the softmax over cosine similarities to groups, above 0.

    projection_dim : int, default=128
        Width of the projection that is compared with groups.

    projection_hidden_dim : int, default=512
        Width of the hidden layers of projector and predictor.

    {momentum_parameters}

    {shared_parameters}

    Attributes
    ----------
    groups_ : ndarray of shape (n_groups, projection_dim)
        Vectors of the groups, of length one.

    {shared_attributes}

    Notes
    -----
    Differences from the paper: the loss is the mean over both views in each step, instead of one of
    them in turn. Groups have length one. They become the centers of spherical k-means of all
    samples, instead of recent ones, and the teacher a copy of the student, before the first epoch
    and then every 300 steps, or twentieth of training if that is shorter, up to whole epochs: on
    digits more than half of the groups became empty otherwise.

    References
    ----------
    `Pang et al. "Unsupervised visual representation learning by synchronous momentum grouping",
    ECCV 2022 <https://arxiv.org/abs/2207.06167>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SMoGTransformer
    >>> images = load_digits().images[:200]
    >>> smog = SMoGTransformer(max_epochs=1, random_state=0).fit(images)
    >>> smog.transform(images).shape, smog.predict(images).shape
    ((200, 256), (200,))
    """

    n_groups: Auto | at_least(2) = "auto"
    group_momentum: between(0, 1, "left") = 0.99
    temperature: Positive = 0.1
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {
        "image": ImageViews(),
        "table": TableViews(keep_first=False),
        "text": TextViews(),
    }

    def _make_objective(self, encoder, n_features, training):
        hidden, dim = self.projection_hidden_dim, self.projection_dim
        n = number_of_prototypes(self.n_groups, training, getattr(self, "groups_", ()))
        return SMoGObjective(
            encoder,
            mlp(n_features, hidden, dim, last_norm=True, affine=False),
            mlp(dim, hidden, dim),
            torch.randn(n, dim),
            self._resolve_momentum(training),
            self.group_momentum,
            self.temperature,
            reset_epochs_for(training),
        )

    def _fitted(self, objective, source):
        return {"groups_": objective.groups.numpy().copy()}
