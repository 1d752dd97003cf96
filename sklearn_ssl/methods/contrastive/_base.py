"""Contrastive learning: what methods share that compare projections by cosine similarity."""

from sklearn_ssl._runtime.world import world
from sklearn_ssl.training.objective import Objective


class ContrastiveObjective(Objective):
    """Objective on projections of views, whose cosine similarities a temperature divides."""

    def __init__(self, encoder, projector, temperature):
        super().__init__(encoder)
        self.project, self.temperature = projector, temperature

    def projections(self, views):
        """Return the projections of each view, (n, projection_dim), from all processes.

        One view passes the encoder after the other, so that batch norm statistics are of one view.
        """
        features = [self.encoder(view) for view in views]  # all, before processes wait for others
        return [self.project(world().gather(part)) for part in features]
