"""Joint embedding: what methods share that compare projections of views of a sample."""

import torch
from torch.nn.functional import normalize

from sklearn_ssl._runtime.sklearn_private import _fit_context
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl._runtime.world import world
from sklearn_ssl.base import SSLTransformer, all_or_nothing
from sklearn_ssl.networks.teacher import Teacher, momentum_at_start
from sklearn_ssl.parameters import Auto, between
from sklearn_ssl.training.objective import Objective


class JointEmbeddingObjective(Objective):
    """Objective on the projections of views of each sample."""

    fewest_views, most_views = 2, 2  # that are compared

    def __init__(self, encoder, projector):
        super().__init__(encoder)
        self.project = projector

    def check_number_of(self, views):
        """Raise if the method cannot compare this number of views."""
        if self.fewest_views <= len(views) <= self.most_views:
            return
        needed = f"needs {self.fewest_views} views or more"
        if self.most_views == 2:
            needed = "compares two views"
        name = type(self).__name__.removesuffix("Objective")
        raise ValueError(f"{name} {needed}; the view recipe gave {len(views)}.")

    def projections(self, views):
        """Return the projections of each view, (n, projection_dim), from all processes."""
        self.check_number_of(views)
        return projections_by(self.encoder, self.project, views)

    def projected(self, samples):
        """Return the projections of samples, as :meth:`JointEmbeddingTransformer.energy`."""
        return self.project(self.encoder(samples))


def projections_by(encoder, projector, views):
    """Return the projections of each view, (n, projection_dim), from all processes.

    One view passes the networks after the other, so that batch norm statistics are of one view.
    """
    features = [encoder(view) for view in views]  # all, before processes wait for others
    gathered = world().gather(torch.cat(features), len(views))  # in one message
    return [projector(part) for part in gathered.chunk(len(views))]


class MomentumObjective(JointEmbeddingObjective):
    """Objective with a momentum teacher of encoder and projector; the student embeds samples."""

    def __init__(self, encoder, projector, momentum):
        super().__init__(encoder, projector)
        self.teacher = Teacher(encoder, projector, momentum)

    @torch.no_grad()
    def taught(self, views):
        """Return the teacher's projections of each view, without gradients, from all processes."""
        return projections_by(self.teacher.encoder, self.teacher.head, views)

    def across(self, views):
        """Return the student's projections of the first of two views, the teacher's of the second.

        They are those of all processes.
        """
        self.check_number_of(views)
        (z,) = projections_by(self.encoder, self.project, views[:1])
        (target,) = self.taught(views[1:])
        return z, target

    def after_update(self, terms, progress):
        """Update the teacher."""
        self.teacher.update(self.encoder, self.project, progress)


class JointEmbeddingTransformer(SSLTransformer):
    """Base of the methods whose objective projects samples to compare them."""

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, groups=None):
        """Train the encoder on X.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            Training samples, as in ``fit`` of :class:`~sklearn_ssl.SimCLRTransformer`.

        y : Ignored
            Not used, present for API consistency by convention.

        groups : array-like of shape (n_samples,), default=None
            Groups of samples that show the same, such as a patient, a scene or a recording. Then
            the first view is of the sample and all others are of another one of its group, drawn
            in each epoch, so that features become invariant to what differs in a group. Samples
            whose group is None or NaN, or has no other sample, are paired with themselves; -1 is a
            group as any other. Pass it
            through pipelines and cross-validation by metadata routing:
            ``set_fit_request(groups=True)``.

        Returns
        -------
        self : object
            Fitted estimator. If fit raises, it is unchanged.
        """
        return self._fit(X, y, groups)

    def energy(self, X1, X2):
        """Return the energy of pairs of samples: low if they are compatible.

        It is the squared Euclidean distance between L2-normalized projections, 2 - 2 * cosine
        similarity: what training makes low for two views of one sample.

        Parameters
        ----------
        X1, X2 : array-like or tensor
            Samples as in fit, the same number in both.

        Returns
        -------
        energy : ndarray of shape (n_samples,), float32
            Energy of each pair, in [0, 4]; NaN if an image could not be read.
        """
        z1, z2 = (self._map(X, "objective_", _unit_projections) for X in (X1, X2))
        if len(z1) != len(z2):
            raise ValueError(
                f"X1 has {len(z1)} samples, but X2 has {len(z2)}: the energy is of pairs."
            )
        return ((z1 - z2) ** 2).sum(axis=1)


def _unit_projections(objective, samples):
    return normalize(objective.projected(samples))


class MomentumTransformer(JointEmbeddingTransformer):
    """Base of the methods with a momentum teacher whose student embeds samples.

    Parameters
    ----------
    momentum : float or "auto", default="auto"
        Momentum of the teacher's moving average at the start, in [0, 1). It rises to 1 by a cosine
        schedule. "auto" is 1 - 100 / number of steps, within [0.95, 0.996].
    """

    doc_name = "momentum"

    momentum: Auto | between(0, 1, "left") = "auto"

    def _resolve_momentum(self, training):
        return momentum_at_start(self.momentum, training.n_steps)


def queue_size_for(size, training):
    """Return the size of a queue, at most half of the samples, so that few are in it twice."""
    most = max(1, training.n_samples // 2)
    if size == "auto":
        return min(4096, most)
    if size > most:
        tell(
            f"queue_size={size} is more than half of the {training.n_samples} samples, whose "
            f"copies would be in it. {most} will be used."
        )
    return min(size, most)
