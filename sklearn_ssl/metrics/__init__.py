"""What embeddings, clusters, label maps and images are judged by; NMI, ARI are scikit-learn's."""

from sklearn_ssl.metrics.assignment import (
    clustering_accuracy,
    mean_iou,
    pixel_accuracy,
    segmentation_f1,
)
from sklearn_ssl.metrics.geometry import (
    alignment,
    alpha_req,
    effective_rank,
    rankme,
    uniformity,
)
from sklearn_ssl.metrics.images import peak_signal_noise_ratio, structural_similarity
from sklearn_ssl.metrics.retrieval import knn_accuracy, mean_average_precision, recall_at_k
from sklearn_ssl.metrics.scorers import alignment_uniformity_scorer, rankme_scorer

__all__ = [
    "alignment",
    "alignment_uniformity_scorer",
    "alpha_req",
    "clustering_accuracy",
    "effective_rank",
    "knn_accuracy",
    "mean_average_precision",
    "mean_iou",
    "peak_signal_noise_ratio",
    "pixel_accuracy",
    "rankme",
    "rankme_scorer",
    "recall_at_k",
    "segmentation_f1",
    "structural_similarity",
    "uniformity",
]
