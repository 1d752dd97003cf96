"""IPCL: contrastive learning with clusters as labels, and clustering, one after the other."""

import torch

from sklearn_ssl.methods.clustering._neighbor_clustering import (
    PRETRAINING,
    NeighborClusteringEstimator,
    NeighborClusteringObjective,
)
from sklearn_ssl.methods.contrastive.simclr import nt_xent
from sklearn_ssl.methods.contrastive.supcon import supcon
from sklearn_ssl.parameters import Count, between
from sklearn_ssl.training.objective import Epoch


class IPCLObjective(NeighborClusteringObjective):
    """Phases of SCAN, repeated; clusters are labels of the contrastive loss of the next ones."""

    def __init__(self, *parts, sup_weight):
        super().__init__(*parts)
        self.sup_weight = sup_weight
        self.pseudo_labels = None  # of the samples of one training, in the first phase

    def contrast(self, z1, z2, targets):
        """Return NT-Xent of the projections of two views, and SupCon if there are labels."""
        loss = nt_xent(z1, z2, self.temperature)
        if targets is None:
            return loss
        supervised = supcon(torch.cat([z1, z2]), targets.repeat(2), self.temperature)
        return (1 - self.sup_weight) * loss + self.sup_weight * supervised

    def plan_epoch(self, embed, rng):
        """Begin the next phase if it is time, and choose the samples of the epoch."""
        epoch = super().plan_epoch(embed, rng)
        if self.phase != PRETRAINING:
            self.pseudo_labels = None  # the next iteration has others
        return epoch

    def plan_contrast(self, embed, rng):
        """Return an epoch with the clusters of the previous iteration as labels."""
        if self.stage == 0:
            return Epoch()
        if self.pseudo_labels is None:
            features = embed()
            self.classify.start(features, rng)  # if epochs are fewer than phases
            self.pseudo_labels = self.classify.probabilities(features).argmax(axis=1)
            self.neighbors = None
            self.classify.has_started.fill_(False)  # clusters begin again with other features
        return Epoch(targets=self._on_device(self.pseudo_labels))

    def scoring_targets(self, embed):
        """Return the neighbors of samples, or their labels, depending on the phase."""
        if self.phase == PRETRAINING and self.stage > 0:
            return self._on_device(self.classify.probabilities(embed()).argmax(axis=1))
        return super().scoring_targets(embed)

    def after_training(self, embed, rng, unfinished):
        """Label all samples, and forget their neighbors and pseudo-labels."""
        super().after_training(embed, rng, unfinished)
        self.pseudo_labels = None

    def get_extra_state(self):
        """Return the phase, the neighbors and the pseudo-labels, as a part of the state dict."""
        return super().get_extra_state() | {"pseudo_labels": self.pseudo_labels}


class IPCLEstimator(NeighborClusteringEstimator):
    """Iterative clustering and contrastive learning, in which samples of a cluster are positives.

    Each iteration has the three phases of :class:`~sklearn_ssl.SCANEstimator`: contrastive
    learning, agreement of nearest neighbors on clusters, and classification of the clusters of
    confident samples. From the second iteration, the contrastive loss is the sum of that of SimCLR
    and that of SupCon with the clusters of the previous iteration as labels. Use it like SCAN: if
    the number of classes is known and they are about equally frequent.

    Parameters
    ----------
    n_iterations : int, default=2
        Number of iterations, at least 1, all of the same length. Each phase should have an epoch.

    sup_weight : float, default=0.05
        Weight of the loss with clusters as labels, in [0, 1]; that of SimCLR has the remainder. As
        clusters contain errors, low values are best.

    pretraining : float, default=0.4
        Share of each iteration, in [0, 1), with the contrastive loss.

    self_labeling : float, default=0.2
        Share of each iteration at its end, in [0, 1), in which the labels of confident samples are
        learned. If they are less than a tenth of the samples, the second phase continues.

    {neighbor_parameters}

    {shared_parameters}

    Attributes
    ----------
    {neighbor_attributes}

    {shared_attributes}

    Notes
    -----
    Differences from the published code: all phases train one encoder, which ends with a clustering,
    instead of a copy of it for the clustering. Training is one of few iterations with one optimizer
    and learning rate schedule. Labels of clusters are not matched with true ones, as the loss uses
    only which are equal. Those of the phases of clustering are in the notes of
    :class:`~sklearn_ssl.SCANEstimator`. In each iteration, neighbors are found again, and the
    classifier starts again from k-means. Training that continues remains in its last phase.

    References
    ----------
    `Kumar et al. "IPCL: Iterative pseudo-supervised contrastive learning to improve self-supervised
    feature representation", ICASSP 2024 <https://doi.org/10.1109/ICASSP48485.2024.10447607>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import IPCLEstimator
    >>> images = load_digits().images[:200]
    >>> ipcl = IPCLEstimator(max_epochs=6, random_state=0)
    >>> ipcl.fit_predict(images).shape
    (200,)
    >>> ipcl.predict_proba(images).shape
    (200, 10)
    """

    n_iterations: Count = 2
    sup_weight: between(0, 1, "both") = 0.05
    pretraining: between(0, 1, "left") = 0.4
    self_labeling: between(0, 1, "left") = 0.2

    def _make_objective(self, encoder, n_features, training):
        parts = self._parts(encoder, n_features, training, self.n_iterations)
        return IPCLObjective(*parts, sup_weight=self.sup_weight)
