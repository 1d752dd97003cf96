"""EMP-SSL: invariance to many small crops of a sample, and the coding rate of a batch."""

import math
from dataclasses import replace

import torch
from torch.nn.functional import cosine_similarity, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.methods._joint_embedding import (
    JointEmbeddingObjective,
    JointEmbeddingTransformer,
)
from sklearn_ssl.methods.non_contrastive._base import mean_over_crops
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, NonNegative
from sklearn_ssl.training.objective import joined, wide
from sklearn_ssl.views import ImageViews, TableViews


class EMPSSLObjective(JointEmbeddingObjective):
    """Coding rate of the projections of each crop, and their cosines to the mean of all crops."""

    most_views = math.inf

    def __init__(self, encoder, n_features, projection_hidden_dim, projection_dim, weight):
        super().__init__(encoder, mlp(n_features, projection_hidden_dim, projection_dim))
        self.weight = weight

    def forward(self, views):
        """Return the loss of a batch of views of one size, which pass the encoder together."""
        self.check_number_of(views)
        z = self.project(world().gather(self.encoder(joined(views)), len(views)))
        with full_precision(z.device):
            z = normalize(wide(z)).unflatten(0, (len(views), -1))  # (v, n, p)
            rate = coding_rate(z).mean()
            invariance = cosine_similarity(z, z.mean(dim=0, keepdim=True), dim=2).mean()
            loss = -rate - self.weight * invariance
        return {"loss": loss, "coding_rate": rate, "invariance": invariance, "embedding": z[0]}


def coding_rate(z):
    """Half the log-determinant of I + p / (0.2 n) z.T @ z, of batches of n vectors (..., n, p)."""
    n, p = z.shape[-2:]
    products = z @ z.mT if n < p else z.mT @ z  # which have the same determinant
    unit = torch.eye(products.shape[-1], dtype=z.dtype, device=z.device)
    factor, _ = torch.linalg.cholesky_ex(unit + p / (0.2 * n) * products)  # checks wait for GPUs
    return (factor * unit).sum(dim=-1).log().sum(dim=-1)  # compiling ``diagonal`` warns


class EMPSSLTransformer(JointEmbeddingTransformer):
    """Learn features invariant to many small crops, which spread over all directions in a batch.

    Use it for photographs and few epochs. On tabular data, views replace random features. ``lr`` is
    0.004 by default for "adamw"; ``history_`` has the parts ``coding_rate`` and ``invariance``.

    Parameters
    ----------
    invariance_weight : float, default=100.0
        Weight, at least 0, of the mean cosine similarity between the projection of a crop and the
        mean over the crops of its sample. The coding rate has the weight 1.

    n_patches : int, default=1
        Number of crops at fixed positions whose features ``transform`` averages, of the mean size
        of ``views`` if these are ImageViews, else a quarter of the image. 1 embeds whole images.

    projection_dim : int, default=512
        Width of the projection in which crops are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The paper enlarges 20 to 200 crops to the size of images, and uses LARS, wider projections and
    a weight of 200. Images below 24 pixels have larger crops, as small ones of them show little.

    References
    ----------
    `Tong et al. "EMP-SSL: Towards self-supervised learning in one training epoch", 2023
    <https://arxiv.org/abs/2304.03977>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import EMPSSLTransformer
    >>> images = load_digits().images[:200]
    >>> EMPSSLTransformer(max_epochs=1, random_state=0).fit_transform(images).shape
    (200, 256)
    """

    invariance_weight: NonNegative = 100.0
    n_patches: Count = 1
    projection_dim: Count = 512
    projection_hidden_dim: Count = 512

    default_views = {
        "image": ImageViews(size=0.5, scale=(0.25, 0.25), ratio=(1.0, 1.0), hue=0.2, n_views=8),
        "table": TableViews(keep_first=False, n_views=8),
    }

    def _default_views(self, spec):
        views = super()._default_views(spec)
        tiny = spec.kind == "image" and min(spec.shape[1:]) < 24
        return replace(views, size=1.0, scale=(0.4, 1.0), ratio=(3 / 4, 4 / 3)) if tiny else views

    def _resolve_training(self, *args):
        training = super()._resolve_training(*args)
        auto = self.lr == "auto" and training.optimizer == "adamw"
        return replace(training, lr=0.004) if auto else training

    def _network(self):
        views, sides = getattr(self, "views_", None), self._spec.shape[1:]
        return mean_over_crops(super()._network(), views, sides, self.n_patches)

    def _make_objective(self, encoder, n_features, training):
        widths = self.projection_hidden_dim, self.projection_dim
        return EMPSSLObjective(encoder, n_features, *widths, self.invariance_weight)
