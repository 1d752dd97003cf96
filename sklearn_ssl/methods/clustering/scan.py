"""SCAN: pretrain, let nearest neighbors agree on clusters, and learn from confident labels."""

from sklearn_ssl.methods.clustering._neighbor_clustering import (
    NeighborClusteringEstimator,
    NeighborClusteringObjective,
)
from sklearn_ssl.methods.contrastive.simclr import nt_xent
from sklearn_ssl.parameters import between


class SCANObjective(NeighborClusteringObjective):
    """NT-Xent, then agreement of neighbors, then cross entropy of confident labels."""

    def contrast(self, z1, z2, targets):
        """Return NT-Xent of the projections of two views."""
        return nt_xent(z1, z2, self.temperature)


class SCANEstimator(NeighborClusteringEstimator):
    """Clustering by nearest neighbors: learn a classifier that agrees on similar samples.

    Training has three phases: contrastive learning as in SimCLR; then a classifier of clusters, and
    the encoder, for which a sample and its nearest neighbors should be in the same cluster, and all
    clusters equally large; then a classification of the clusters of confident samples. Use it for
    clustering if the number of classes is known and they are about equally frequent.

    Parameters
    ----------
    pretraining : float, default=0.3
        Share of training, in [0, 1), with the loss of SimCLR. Set 0 to start from a fitted
        estimator: ``SCANEstimator(backbone=simclr.encoder_.backbone, pretraining=0.0)``, or
        ``weights`` of a file of its ``save``.

    self_labeling : float, default=0.4
        Share of training at the end, in [0, 1), in which the labels of confident samples are
        learned. If they are less than a tenth of the samples, the second phase continues.

    {neighbor_parameters}

    {shared_parameters}

    Attributes
    ----------
    {neighbor_attributes}

    {shared_attributes}

    Notes
    -----
    Differences from the paper: phases are shares of one training with one optimizer. The classifier
    starts from k-means instead of at random, as training is short. A batch contains samples next to
    one of their neighbors, and the loss is the mean over all neighbors in it, each of another view.
    Confident labels are of samples without augmentation, found before each epoch, which has equally
    many samples of each cluster. All phases have the same augmentations. Training that continues
    does not pretrain again. The loss of the second phase is negative if clusters are equally large.

    References
    ----------
    `Van Gansbeke et al. "SCAN: Learning to classify images without labels", ECCV 2020
    <https://arxiv.org/abs/2005.12320>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SCANEstimator
    >>> images = load_digits().images[:200]
    >>> scan = SCANEstimator(max_epochs=3, random_state=0)
    >>> scan.fit_predict(images).shape
    (200,)
    >>> scan.predict_proba(images).shape
    (200, 10)
    """

    pretraining: between(0, 1, "left") = 0.3
    self_labeling: between(0, 1, "left") = 0.4

    def _make_objective(self, encoder, n_features, training):
        return SCANObjective(*self._parts(encoder, n_features, training))
