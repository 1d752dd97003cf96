"""DeepCluster v2: classify views by frozen centers of spherical k-means of projections."""

import math
from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods._joint_embedding import JointEmbeddingObjective, JointEmbeddingTransformer
from sklearn_ssl.methods.clustering._base import (
    ClusterEstimator,
    ClusteringObjective,
    unit_projections,
)
from sklearn_ssl.methods.clustering._spherical_clustering import SphericalClustering
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, Positive
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class DeepClusterV2Objective(ClusteringObjective, JointEmbeddingObjective):
    """Cross entropy of the similarities of projections to the centers of their clusters."""

    fewest_views, most_views = 1, math.inf

    def __init__(self, encoder, n_features, projection_hidden_dim, projection_dim, temperature,
                 n_clusters, n_clusterings):  # fmt: skip
        projector = mlp(n_features, projection_hidden_dim, projection_dim)
        JointEmbeddingObjective.__init__(self, encoder, projector)
        self.clustering = SphericalClustering(n_clusters, n_clusterings)
        self.temperature = temperature
        self.register_buffer("centers", torch.zeros(n_clusterings, n_clusters, projection_dim))

    def forward(self, views, clusters):
        """Return the loss of a batch of views and the clusters of their samples, (n, h)."""
        z, clusters = torch.cat(self.projections(views)), world().gather(clusters)
        with full_precision(z.device):
            z = normalize(wide(z))
            logits = torch.einsum("np,hkp->nkh", z, self.centers.to(z)) / self.temperature
            loss = cross_entropy(logits, clusters.repeat(len(views), 1))
        return {"loss": loss, "embedding": z[: len(clusters)]}

    def points(self, features):
        """Return the projections of an array of features, of length one."""
        return unit_projections(self.project, features)

    def plan_epoch(self, embed, rng):
        """Cluster the projections of all samples, and classify by the centers."""
        features = embed()
        epoch = super().plan_epoch(lambda: features, rng)
        self._take_centers()
        return replace(epoch, targets=self.scoring_targets(lambda: features))

    def scoring_targets(self, embed):
        """Assign samples to the existing clusters, of all clusterings."""
        return self._on_device(self.clustering.assign_all(self.points(embed())))

    def after_training(self, embed, rng, unfinished):
        """Cluster all samples with the trained encoder."""
        super().after_training(embed, rng, unfinished)
        self._take_centers()

    def _take_centers(self):
        self.centers.copy_(torch.from_numpy(self.clustering.all_centers))

    def chance_loss(self, n):
        """Return the cross entropy of equal probabilities for all clusters."""
        return math.log(self.centers.shape[1])


class DeepClusterV2Estimator(ClusterEstimator, JointEmbeddingTransformer):
    """Deep clustering by the centers of k-means: learn features that recognize their clusters.

    Before each epoch, spherical k-means clusters the projections of all samples; then the encoder
    is trained so that views are nearest to the center of their sample's cluster. As the centers
    are the weights of the classifier, nothing has to be learned again in the next epoch, as in
    :class:`~sklearn_ssl.DeepClusterEstimator`. Use it for clustering, and as SimCLR: the features
    become invariant to the augmentations of ``views``, without negatives and with small batches.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of clusters. "auto" is ``n_samples // 20``, at least 2 and at most 100. More than
        that leaves few samples in each cluster.

    n_clusterings : int, default=3
        Number of runs of k-means, from other samples, over which the loss is averaged. ``labels_``
        and the other fitted attributes are of the first one.

    temperature : float, default=0.1
        Temperature of the softmax over cosine similarities to centers, above 0.

    projection_dim : int, default=128
        Width of the projection that is clustered.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {shared_parameters}

    Attributes
    ----------
    {clustering_attributes}

    {shared_attributes}

    Notes
    -----
    Clusters are of projections of whole samples, all computed before an epoch. The published code
    stores those of the crops of the previous epoch. A cluster without samples stays empty. Defaults
    are for small networks and short training.

    References
    ----------
    `Caron et al. "Unsupervised learning of visual features by contrasting cluster assignments",
    NeurIPS 2020 <https://arxiv.org/abs/2006.09882>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DeepClusterV2Estimator
    >>> images = load_digits().images[:200]
    >>> model = DeepClusterV2Estimator(n_clusters=10, max_epochs=1, random_state=0)
    >>> model.fit_predict(images).shape
    (200,)
    >>> model.transform(images).shape
    (200, 256)
    """

    n_clusterings: Count = 3
    temperature: Positive = 0.1
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {
        "image": ImageViews(),
        "table": TableViews(keep_first=False),
        "text": TextViews(),
    }

    def _make_objective(self, encoder, n_features, training):
        n_clusters = self._resolve_n_clusters(training)
        self._warn_above(training, n_features, n_clusters=training.n_samples)
        widths = self.projection_hidden_dim, self.projection_dim
        settings = self.temperature, n_clusters, self.n_clusterings
        return DeepClusterV2Objective(encoder, n_features, *widths, *settings)
