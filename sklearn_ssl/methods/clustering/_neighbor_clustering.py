"""Phases of training in which nearest neighbors agree on clusters, shared by SCAN and IPCL."""

import math

import numpy as np
import torch
from torch.nn.functional import cross_entropy, softmax

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods.clustering._base import ClusterTransformer
from sklearn_ssl.methods.clustering._cluster_classifier import ClusterClassifier
from sklearn_ssl.methods.clustering._feature_clustering import uniform_over_clusters
from sklearn_ssl.methods.clustering._neighbors import in_pairs, nearest_neighbors
from sklearn_ssl.methods.contrastive._base import ContrastiveObjective
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Auto, Count, NonNegative, Positive, between
from sklearn_ssl.training.objective import Epoch
from sklearn_ssl.views import ImageViews, TableViews, TextViews

PRETRAINING, CLUSTERING, SELF_LABELING = range(3)


class NeighborClusteringObjective(ContrastiveObjective):
    """A contrastive loss, then agreement of neighbors, then cross entropy of confident labels.

    A class defines ``contrast``. Stages are the phases of one iteration after the other.
    """

    def __init__(self, encoder, projector, temperature, classifier, starts, n_neighbors,
                 entropy_weight, confidence):  # fmt: skip
        super().__init__(encoder, projector, temperature)
        self.classify = classifier
        self.starts = starts  # of all stages after the first one, as progress
        self.n_neighbors, self.entropy_weight = n_neighbors, entropy_weight
        self.confidence = confidence
        self.stage, self.phase, self.progress = 0, PRETRAINING, 0.0
        self.neighbors = self.labels = None  # of the samples of one training

    def forward(self, views, targets=None):
        """Return the loss of a batch of two views, which depends on the phase."""
        self.check_number_of(views)
        if self.phase == PRETRAINING:
            z1, z2 = self.projections(views)
            targets = None if targets is None else world().gather(targets)
            return {"loss": self.contrast(z1, z2, targets), "embedding": z1}
        features = world().gather(torch.cat([self.encoder(view) for view in views]), 2)
        targets = world().gather(targets)
        with full_precision(features.device):
            logits = self.classify(features)
            p1, p2 = softmax(logits, dim=1).chunk(2)
            if self.phase == CLUSTERING:
                indices, neighbors = targets[:, 0], targets[:, 1:]
                are_neighbors = (neighbors[:, :, None] == indices).any(dim=1)
                loss = scan_loss(p1, p2, are_neighbors, self.entropy_weight)
            else:
                labels = targets.repeat(2)
                loss = cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
                loss = loss / (labels >= 0).sum().clamp_min(1)
        return {"loss": loss, "embedding": p1}

    def contrast(self, z1, z2, targets):
        """Return the loss of the projections of two views, in the first phase."""
        raise NotImplementedError

    def plan_epoch(self, embed, rng):
        """Begin the next phase if it is time, and choose the samples of the epoch."""
        self.stage = max(self.stage, sum(self.progress > start - 1e-6 for start in self.starts))
        self.phase = self.stage % 3
        if self.phase == PRETRAINING:
            return self.plan_contrast(embed, rng)
        features = embed()
        renewed = self.classify.start(features, rng)
        labels = self.confident_labels(features)
        confident = np.flatnonzero(labels >= 0)
        figures = {"confident_share": len(confident) / len(labels)}
        if self.phase == SELF_LABELING and figures["confident_share"] > 0.1:
            order = confident[uniform_over_clusters(labels[confident], rng)]
            return Epoch(order, self._on_device(labels), renewed, figures)
        self.phase = CLUSTERING
        if self.neighbors is None:
            self.neighbors = nearest_neighbors(features, self.n_neighbors)
        targets = self._on_device(self.neighbors)
        return Epoch(in_pairs(self.neighbors, rng), targets, renewed, figures)

    def plan_contrast(self, embed, rng):
        """Return an epoch of the first phase."""
        return Epoch()

    def scoring_targets(self, embed):
        """Return the neighbors of samples, or their labels, depending on the phase."""
        if self.phase == PRETRAINING:
            return None
        if self.phase == SELF_LABELING:
            return self._on_device(self.confident_labels(embed()))
        return self._on_device(nearest_neighbors(embed(), self.n_neighbors))

    def confident_labels(self, features):
        """Return the most likely cluster of each sample, -1 if its probability is low."""
        found = self.classify.probabilities(features)
        return np.where(found.max(axis=1) > self.confidence, found.argmax(axis=1), -1)

    def _on_device(self, targets):
        return torch.from_numpy(targets).to(self.classify.weight.device)

    def after_update(self, terms, progress):
        """Note the progress, on which the phase of the next epoch depends."""
        self.progress = progress

    def after_training(self, embed, rng, unfinished):
        """Label all samples, and forget their neighbors."""
        features = embed()
        self.classify.start(features, rng)  # if training ended before
        self.labels = self.classify.probabilities(features).argmax(axis=1)
        self.neighbors = None

    def chance_loss(self, n):
        """Return the loss at chance level, which that of neighbors does not have."""
        if self.phase == CLUSTERING:
            return None
        return math.log(2 * n - 1 if self.phase == PRETRAINING else self.classify.out_features)

    def get_extra_state(self):
        """Return the phase and the neighbors, as a part of the state dict."""
        return {name: getattr(self, name) for name in ("stage", "phase", "progress", "neighbors")}

    def set_extra_state(self, state):
        """Set the phase and the neighbors."""
        vars(self).update(state)


def scan_loss(p1, p2, are_neighbors, entropy_weight):
    """Return the disagreement of neighbors, minus the weighted entropy of the mean.

    The probabilities of clusters, (n, k), are those of two views. The disagreement is the mean of
    -log(p1[i] @ p2[j]) over all pairs i, j in the mask (n, n).
    """
    pairs = are_neighbors.to(p1)
    disagreement = -((p1 @ p2.T).clamp_min(1e-8).log() * pairs).sum() / pairs.sum().clamp_min(1)
    mean = torch.cat([p1, p2]).mean(dim=0)
    return disagreement - entropy_weight * torch.special.entr(mean).sum()


class NeighborClusteringEstimator(ClusterTransformer):
    """Base of the methods whose objective is a :class:`NeighborClusteringObjective`.

    Parameters
    ----------
    n_clusters : int, default=10
        Number of clusters.

    n_neighbors : int or "auto", default="auto"
        Number of nearest neighbors of a sample, found once before the second phase. "auto" is half
        of the samples of a cluster of mean size, at least 1 and at most 20.

    entropy_weight : float, default=5.0
        Weight of the entropy of the mean probabilities in the second phase, at least 0. Low values
        let clusters become empty.

    confidence : float, default=0.99
        Probability of its cluster, in [0, 1), above which a sample is confident.

    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities in the first phase, above 0.

    projection_dim : int, default=128
        Width of the projection in which views are compared in the first phase.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,)
        Cluster of each sample. Equal to ``predict(X)``; -1 for images that could not be read.
    """

    doc_name = "neighbor"

    n_clusters: Count = 10
    n_neighbors: Auto | Count = "auto"
    entropy_weight: NonNegative = 5.0
    confidence: between(0, 1, "left") = 0.99
    temperature: Positive = 0.2
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    def _parts(self, encoder, n_features, training, n_iterations=1):
        """Return the arguments of an objective whose phases are repeated."""
        n_neighbors = self.n_neighbors
        if n_neighbors == "auto":
            n_neighbors = min(20, max(1, training.n_samples // (2 * self.n_clusters)))
        starts = 0.0, self.pretraining, 1 - self.self_labeling
        starts = [(i + start) / n_iterations for i in range(n_iterations) for start in starts]
        return (
            encoder,
            mlp(n_features, self.projection_hidden_dim, self.projection_dim, last_norm=True),
            self.temperature,
            ClusterClassifier(n_features, self.n_clusters),
            tuple(starts[1:]),
            n_neighbors,
            self.entropy_weight,
            self.confidence,
        )

    def _fitted(self, objective, source):
        return {"labels_": source.aligned(objective.labels)}

    def predict(self, X):
        """Assign samples to clusters.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the same shape.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Index of the most likely cluster, -1 for images that could not be read.
        """
        return self._of_features(X, lambda p: p.argmax(axis=1))

    def predict_proba(self, X):
        """Return the probabilities of the clusters.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the same shape.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_clusters), float32
            Probabilities, NaN for images that could not be read.
        """
        return self._of_features(X, lambda p: p)

    def _of_features(self, X, function):
        def finish(features):
            return function(self.objective_.classify.probabilities(features))

        return self._map(X, "objective_.encoder", finish=finish)
