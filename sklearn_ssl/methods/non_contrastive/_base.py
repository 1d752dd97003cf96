"""Shared by methods without negatives: predictors, losses of all projections, means over crops."""

import math

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.data.batch import shape_of
from sklearn_ssl.methods._joint_embedding import (
    JointEmbeddingObjective,
    JointEmbeddingTransformer,
    queue_size_for,
)
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.networks.queue import Queue
from sklearn_ssl.parameters import Auto, Count
from sklearn_ssl.training.health import LEAST_STD
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews
from sklearn_ssl.views.image import fixed_crops


class Predictor(nn.Module):
    """Predicts the projections of a view from that of another view.

    With ``queue_size``, it predicts their nearest neighbors in a queue of earlier projections.
    """

    def __init__(self, dim, hidden_dim, queue_size=0):
        super().__init__()
        self.layers = mlp(dim, hidden_dim, dim)
        self.queue = Queue(queue_size, dim) if queue_size else None

    def forward(self, projections):
        """Return the predictions from projections, (n, d)."""
        return self.layers(projections)

    def negative_cosine(self, projections, targets):
        """Return minus the mean cosine similarity of predictions to targets, from -1 to 1.

        ``projections`` are those of each view, which others are predicted from, and ``targets`` of
        each view what is predicted, without gradients. That of a view is the mean over the others.
        """
        predictions = torch.stack([self(z) for z in projections])  # (v, n, d)
        with full_precision(predictions.device):
            targets = self._neighbors(wide(torch.stack(targets).detach()))
            others = (targets.sum(dim=0) - targets) / (len(targets) - 1)
            return -cosine_similarity(wide(predictions), others, dim=2).mean()

    def _neighbors(self, targets):
        """Return the nearest neighbors of targets (v, n, d), or the targets without a queue."""
        if self.queue is None:
            return targets
        nearest = self.queue.nearest(normalize(targets, dim=2).flatten(0, 1))[:, 0]
        return nearest.unflatten(0, targets.shape[:2])

    def remember(self, targets):
        """Add the targets of a view, (n, d), to the queue."""
        if self.queue is not None:
            self.queue.push(normalize(wide(targets)))


class PredictorTransformer(JointEmbeddingTransformer):
    """Base of the methods that predict the projections of a view from those of another view.

    Parameters
    ----------
    neighbors : bool, default=False
        Whether to predict not the projection of the other view, but its nearest neighbor in a queue
        of projections of previous batches: positive pairs of different samples.

    queue_size : int or "auto", default="auto"
        Number of projections in the queue, at least 1, if ``neighbors`` is True. "auto" is 4096,
        and at most half of the samples.

    predictor_hidden_dim : int, default=512
        Width of the hidden layer of the predictor.
    """

    doc_name = "predictor"

    neighbors: bool = False
    queue_size: Auto | Count = "auto"
    predictor_hidden_dim: Count = 512

    def _predictor(self, dim, training):
        """Return a predictor of projections of this width."""
        size = queue_size_for(self.queue_size, training) if self.neighbors else 0
        return Predictor(dim, self.predictor_hidden_dim, size)


class MeanOverCrops(nn.Module):
    """Mean of the features of crops at fixed positions, the same for every image."""

    def __init__(self, encoder, rows, columns):
        super().__init__()
        self.encoder = encoder
        self.register_buffer("rows", rows)  # (crops, h', h)
        self.register_buffer("columns", columns)  # (crops, w', w)
        self.copies = len(rows) * getattr(encoder, "copies", 1)

    def forward(self, images):
        """Return the features of images (n, c, h, w)."""
        with full_precision(images.device):
            crops = torch.einsum("pyh,nchw->pncyw", self.rows, images)
            crops = torch.einsum("pncyw,pxw->pncyx", crops, self.columns)
        # In one batch: an encoder that is called once can be folded, and is written once by ONNX.
        return self.encoder(crops.flatten(0, 1)).unflatten(0, (len(self.rows), -1)).mean(dim=0)


def mean_over_crops(encoder, views, sides, n):
    """Return an encoder of the mean over n crops of images of these sides; itself for one crop.

    Crops have the mean size of those of ``views`` if these are ImageViews, else a quarter of the
    image. Tabular samples, which have no sides, are encoded as a whole.
    """
    if n == 1 or not sides:
        return encoder
    known = type(views) is ImageViews
    recipe = views if known else ImageViews(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    return MeanOverCrops(encoder, *fixed_crops(recipe, *sides, n))


class ProjectionObjective(JointEmbeddingObjective):
    """Objective whose loss is a function of the projections of all views, in full precision."""

    def forward(self, views):
        """Return the terms of a batch of views."""
        z = self.projections(views)
        with full_precision(z[0].device):
            terms = self.terms_of([wide(part) for part in z], views)
        return terms | {"embedding": z[0]}

    def terms_of(self, z, views):
        """Return the loss and its parts, for the projections (n, p) of each view."""
        raise NotImplementedError


class UnitScaleObjective(ProjectionObjective):
    """Objective that lets projections have a standard deviation of about 1."""

    def forward(self, views):
        """Return the terms of a batch of views, and the standard deviation of projections."""
        terms = super().forward(views)
        return terms | {"projection_std": wide(terms["embedding"].detach()).std(dim=0).mean()}

    def diagnose(self, row):
        """Report a collapse of the scale, which normalized projections do not show."""
        std, name = row["projection_std"], type(self).__name__.removesuffix("Objective")
        if std > LEAST_STD:
            return {}
        return {
            "collapse": f"The embedding collapsed: in epoch {row['epoch']} projections have a mean "
            f"standard deviation of {std:.2g}, where that of {name} should be near 1. Lower lr, or "
            "increase the weights of the loss that keep samples apart."
        }


class GaussianObjective(UnitScaleObjective):
    """Distance of views to the mean of global views, and that of a batch to a Gaussian.

    The latter is a function of the projections on random directions, drawn at each step. Global
    views are those of the size of the first one.
    """

    most_views = math.inf

    def __init__(self, encoder, projector, weight, n_directions):
        super().__init__(encoder, projector)
        self.weight = weight
        self.n_directions = n_directions

    def terms_of(self, z, views):
        """Return the loss, the distance of views, and the parts of that to a Gaussian."""
        size, z = shape_of(views[0]), torch.stack(z)
        is_global = [shape_of(view) == size for view in views]
        center = sum(part for part, used in zip(z, is_global, strict=True) if used) / sum(is_global)
        invariance = (z - center).square().mean()  # gradients flow through both
        draws = torch.randn(z.shape[-1], self.n_directions, dtype=z.dtype, device=z.device)
        parts = self.distance_to_gaussian(z, normalize(draws, dim=0))
        loss = self.weight * sum(parts.values()) + (1 - self.weight) * invariance
        return {"loss": loss, "invariance": invariance, **parts}

    def distance_to_gaussian(self, z, directions):
        """Return the summands of the distance, for projections (v, n, p) and directions (p, m)."""
        raise NotImplementedError


class ProjectionTransformer(JointEmbeddingTransformer):
    """Base of the methods whose loss is a function of the projections of all views.

    Parameters
    ----------
    projection_hidden_dim : int, default=512
        Width of the hidden layers of the projector.
    """

    doc_name = "projection"

    projection_hidden_dim: Count = 512

    def _projector(self, n_features, n_hidden=2):
        hidden = [self.projection_hidden_dim] * n_hidden
        return mlp(n_features, *hidden, self.projection_dim)


def unit_like(matrices):
    """Return the identity, of the size, type and device of square matrices."""
    return torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)


def off_diagonal(matrices):
    """Return the sum of the squares of the entries of each matrix that are not on its diagonal."""
    return (matrices * (1 - unit_like(matrices))).square().sum(dim=(-2, -1))
