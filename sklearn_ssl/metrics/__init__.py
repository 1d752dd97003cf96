"""Metrics of embeddings, clusterings and retrieval that scikit-learn does not have."""

from sklearn_ssl.metrics.assignment import clustering_accuracy, match_clusters
from sklearn_ssl.metrics.geometry import (
    alignment,
    alpha_req,
    effective_rank,
    rankme,
    uniformity,
)
from sklearn_ssl.metrics.retrieval import knn_accuracy, mean_average_precision, recall_at_k
from sklearn_ssl.metrics.scorers import alignment_uniformity_scorer, rankme_scorer

__all__ = [
    "alignment",
    "alignment_uniformity_scorer",
    "alpha_req",
    "clustering_accuracy",
    "effective_rank",
    "knn_accuracy",
    "match_clusters",
    "mean_average_precision",
    "rankme",
    "rankme_scorer",
    "recall_at_k",
    "uniformity",
]
