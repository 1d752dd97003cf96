"""Contrastive learning: what methods share that compare projections by cosine similarity."""

from sklearn_ssl.methods._joint_embedding import JointEmbeddingObjective


class ContrastiveObjective(JointEmbeddingObjective):
    """Objective on projections of views, whose cosine similarities a temperature divides."""

    def __init__(self, encoder, projector, temperature):
        super().__init__(encoder, projector)
        self.temperature = temperature
