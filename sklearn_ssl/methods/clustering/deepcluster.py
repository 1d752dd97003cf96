"""DeepCluster: alternate between clustering the features and classifying the clusters."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.methods.clustering._base import ClusterEstimator, ClusteringObjective
from sklearn_ssl.methods.clustering._feature_clustering import (
    FeatureClustering,
    uniform_over_clusters,
)
from sklearn_ssl.parameters import Auto, Count
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews


class DeepClusterObjective(ClusteringObjective):
    """Cross entropy of a linear classifier of k-means clusters."""

    near_chance = 0.98  # the classifier of each epoch starts at chance level
    if_one_dominates = "Decrease lr, increase n_components"

    def __init__(self, encoder, n_features, n_clusters, n_components):
        super().__init__(encoder, FeatureClustering(n_clusters, n_components))
        self.classify = nn.Linear(n_features, n_clusters)

    def forward(self, views, clusters):
        """Return the loss of a batch of views and the clusters of their samples."""
        features = torch.cat([self.encoder(view) for view in views])
        logits = self.classify(features)
        with full_precision(logits.device):
            loss = cross_entropy(wide(logits), clusters.repeat(len(views)))
        return {"loss": loss, "embedding": features[: len(clusters)]}

    def plan_epoch(self, embed, rng):
        """Cluster all samples and reset the classifier."""
        epoch = super().plan_epoch(embed, rng)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)
        order = uniform_over_clusters(self.clustering.assignments[-1], rng)
        return replace(epoch, order=order, renewed=tuple(self.classify.parameters()))


class DeepClusterEstimator(ClusterEstimator):
    """Deep clustering: learn features by classifying the clusters that k-means finds in them.

    Before each epoch, k-means clusters the features of all samples; then the encoder and a new
    linear classifier are trained on the cluster assignments. Use it for clustering, or to learn
    features if only one view per sample is available. Features are usually better with more
    clusters than there are classes.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        Number of clusters. "auto" is ``n_samples // 20``, at least 2 and at most 100.

    n_components : int or "auto", default="auto"
        Number of principal components of the features that are whitened and clustered. "auto" is
        ``n_clusters``, at most 64 and at most ``n_samples // 10``, at least 2. Components beyond
        the number of clusters mostly add noise.

    {shared_parameters}

    Attributes
    ----------
    {clustering_attributes}

    {shared_attributes}

    Notes
    -----
    Clustered are whitened principal components, on the unit sphere. An empty cluster takes half of
    the largest one whose samples are not all equal.

    Differences from the paper: k-means is scikit-learn's with at most 20 iterations, initialized
    by k-means++ for up to 256 clusters and by random samples for more. The learning rate is
    constant after warm-up, since each epoch trains a new classifier. The paper's networks see
    Sobel edges instead of colors, and its views do not change colors; here they do. An epoch
    samples uniformly over clusters, about ``n_samples`` in total.

    With more than two threads, the k-means of scikit-learn sums in the order in which threads
    finish, so samples between two clusters may be assigned differently from fit to fit.

    References
    ----------
    `Caron et al. "Deep clustering for unsupervised learning of visual features", ECCV 2018
    <https://arxiv.org/abs/1807.05520>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import DeepClusterEstimator
    >>> images = load_digits().images[:200]
    >>> model = DeepClusterEstimator(n_clusters=10, max_epochs=1, random_state=0)
    >>> model.fit_predict(images).shape
    (200,)
    >>> model.transform(images).shape
    (200, 256)
    """

    n_components: Auto | Count = "auto"

    default_views = {
        "image": ImageViews(n_views=1),
        "table": TableViews(n_views=1, keep_first=False),
    }

    def _resolve_training(self, *args):
        # Each epoch trains a new classifier, also the last one.
        return replace(super()._resolve_training(*args), final_lr=1.0)

    def _make_objective(self, encoder, n_features, training):
        n, n_clusters = training.n_samples, self._resolve_n_clusters(training)
        limits = {"n_clusters": n, "n_components": min(n - 1, n_features)}
        self._warn_above(training, n_features, **limits)
        n_components = self.n_components
        if n_components == "auto":
            n_components = max(2, min(64, n // 10, n_clusters))
        return DeepClusterObjective(encoder, n_features, n_clusters, n_components)
