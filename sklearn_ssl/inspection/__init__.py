"""Displays: plots of views, training, embeddings, neighbors and clusterings."""

from sklearn_ssl.inspection.clustering import ClusteringDisplay
from sklearn_ssl.inspection.embedding import EmbeddingDisplay
from sklearn_ssl.inspection.label_efficiency import LabelEfficiencyDisplay
from sklearn_ssl.inspection.neighbors import NeighborsDisplay
from sklearn_ssl.inspection.pretext import PretextDisplay
from sklearn_ssl.inspection.training import TrainingDisplay
from sklearn_ssl.inspection.views import ViewsDisplay

__all__ = [
    "ClusteringDisplay",
    "EmbeddingDisplay",
    "LabelEfficiencyDisplay",
    "NeighborsDisplay",
    "PretextDisplay",
    "TrainingDisplay",
    "ViewsDisplay",
]
