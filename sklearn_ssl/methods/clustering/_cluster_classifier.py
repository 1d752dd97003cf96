"""Linear classifier of clusters that starts from those of k-means."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, normalize, softmax

from sklearn_ssl.methods.clustering._feature_clustering import FeatureClustering
from sklearn_ssl.training.objective import wide


class ClusterClassifier(nn.Linear):
    """Logits of clusters, linear in features of length one."""

    def __init__(self, n_features, n_clusters):
        super().__init__(n_features, n_clusters)
        self.register_buffer("has_started", torch.tensor(False))

    def forward(self, features):
        """Return the logits of a batch of features, (n, n_clusters)."""
        return linear(normalize(wide(features)), self.weight, self.bias)

    @torch.no_grad()
    def start(self, features, rng):
        """Start from clusters of an array of features, unless it has; return what was reset."""
        if self.has_started:
            return ()
        clusters = FeatureClustering(self.out_features, self.out_features).fit(features, rng)
        points = normalize(torch.from_numpy(features))
        centers = torch.stack([points[clusters == c].mean(dim=0) for c in np.unique(clusters)])
        # Logits are -5 times the squared distance to a center, of which the mean within clusters
        # is 1, up to what all have in common.
        within = points.square().sum(dim=1).mean() - centers.square().sum(dim=1).mean()
        scale = 5 / within.clamp_min(1e-3)
        self.weight[: len(centers)] = 2 * scale * centers.to(self.weight)
        self.bias[: len(centers)] = -scale * centers.square().sum(dim=1).to(self.weight)
        self.has_started.fill_(True)
        return self.weight, self.bias

    @torch.no_grad()
    def probabilities(self, features):
        """Return the probabilities of the clusters for an array of features, (n, n_clusters)."""
        logits = self(torch.from_numpy(features).to(self.weight))
        return softmax(logits, dim=1).cpu().numpy()
