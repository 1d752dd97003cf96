"""EMP-SSL: bring many small crops of a sample together, and let a batch fill all directions."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, NonNegative
from sklearn_ssl.training.objective import Objective, joined, wide
from sklearn_ssl.views import ImageViews, RowViews
from sklearn_ssl.views.image import fixed_crops

DISTORTION = 0.2  # of the coding rate; the paper's
LEARNING_RATE = 4e-3  # with AdamW


class EMPSSLObjective(Objective):
    """Coding rate of the projections of each crop, and their cosines with the mean of all crops."""

    def __init__(self, encoder, n_features, projection_hidden_dim, projection_dim, weight):
        super().__init__(encoder)
        self.project = mlp(n_features, projection_hidden_dim, projection_dim)
        self.weight = weight

    def forward(self, views):
        """Return the loss of a batch of views of one size, which pass the encoder together."""
        if len(views) < 2:
            raise ValueError(f"EMP-SSL needs two views or more; the view recipe gave {len(views)}.")
        z = self.project(self.encoder(joined(views)))
        with full_precision(z.device):
            z = normalize(wide(z)).unflatten(0, (len(views), -1))  # (v, n, p)
            rate = coding_rate(z).mean()
            invariance = cosine_similarity(z, z.mean(dim=0, keepdim=True), dim=2).mean()
            loss = -rate - self.weight * invariance
        return {"loss": loss, "coding_rate": rate, "invariance": invariance, "embedding": z[0]}


def coding_rate(z):
    """Half the log-determinant of I + p / (0.2 n) z.T @ z, of batches of n vectors (..., n, p).

    It is large where the vectors of a batch point everywhere, and small where all point one way.
    """
    n, p = z.shape[-2:]
    products = z @ z.mT if n < p else z.mT @ z  # which have the same determinant
    unit = torch.eye(products.shape[-1], dtype=z.dtype, device=z.device)
    # The check of ``cholesky`` would wait for a GPU, and this one is never singular.
    factor, _ = torch.linalg.cholesky_ex(unit + p / (DISTORTION * n) * products)
    return (factor * unit).sum(dim=-1).log().sum(dim=-1)  # compiling ``diagonal`` warns


class MeanOverCrops(nn.Module):
    """The mean of what an encoder gives for crops at fixed places, the same of every image."""

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


class EMPSSLTransformer(SSLTransformer):
    """Learn features in which many small crops of a sample agree, and a batch points everywhere.

    Use it for photographs and few epochs: each shows it many crops of every image. On rows each
    view is the row with another random part of its features replaced.

    Parameters
    ----------
    invariance_weight : float, default=100.0
        Weight of the mean cosine between each crop's projection and the mean of all crops of its
        sample, at least 0, beside that of the coding rate, which is 1.

    n_patches : int, default=1
        Number of crops of an image whose mean is its embedding, at fixed places and as large as
        the mean crop of ``views`` if they are ImageViews, else a quarter of the image. All crops
        of a batch pass the encoder together. With 1 the whole image is embedded, as rows always
        are.

    projection_dim : int, default=512
        Width of the projection in which crops are compared, in training alone.

    projection_hidden_dim : int, default=512
        Width of the projection's hidden layer.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The paper has 20 to 200 crops, enlarged to the image's size, a projector of 4096, 4096 and 1024,
    batches of 100, LARS, and an invariance weight of 200, which is about the highest coding rate
    that its batches can have. A batch of 64 whose projections are 512 wide has at most 119, hence
    the lower weight. Here there are 8 crops, which keep their size, so that an epoch takes about
    as long as SimCLR's. With 2,000 images of CIFAR-10, of which 2,000 others were told apart after
    90 seconds on one core, crops of 16 pixels did better than enlarged ones (a linear model had
    .502 and .416, 20 neighbours .428 and .366), and 8 crops no worse than 20 (.511, .447). The
    mean of 16 crops did better than the whole image in most linear models, by up to .04, and worse
    in all of the neighbours, by up to .04, and takes four times as long. Of images of fewer than
    24 pixels small crops show little, and the default ones are large. ``lr="auto"`` is 0.004 with
    "adamw". ``history_`` holds both parts of the loss, ``coding_rate`` and ``invariance``, the mean
    cosine.

    References
    ----------
    `Tong et al. "EMP-SSL: Towards self-supervised learning in one training epoch", 2023
    <https://arxiv.org/abs/2304.03977>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import EMPSSLTransformer
    >>> images = load_digits().images[:200]
    >>> emp_ssl = EMPSSLTransformer(max_epochs=1, random_state=0).fit(images)
    >>> emp_ssl.transform(images).shape
    (200, 256)
    """

    invariance_weight: NonNegative = 100.0
    n_patches: Count = 1
    projection_dim: Count = 512
    projection_hidden_dim: Count = 512

    default_views = {
        "image": ImageViews(size=0.5, scale=(0.25, 0.25), ratio=(1.0, 1.0), hue=0.2, n_views=8),
        "rows": RowViews(keep_first=False, n_views=8),
    }

    def _default_views(self, source):
        views = super()._default_views(source)
        if source.is_image and min(source.shape[1:]) < 24:
            return replace(views, size=1.0, scale=(0.4, 1.0), ratio=(3 / 4, 4 / 3))
        return views

    def _resolve_training(self, *args):
        training = super()._resolve_training(*args)
        auto = self.lr == "auto" and training.optimizer == "adamw"
        return replace(training, lr=LEARNING_RATE) if auto else training

    def _network(self):
        embedder, shape = super()._network(), self._sample_shape()
        if self.n_patches == 1 or len(shape) == 1:
            return embedder
        views = getattr(self, "views_", None)
        # Nobody knows how much of an image other recipes show.
        ours = type(views) is ImageViews
        recipe = views if ours else replace(self.default_views["image"], size=1.0)
        return MeanOverCrops(embedder, *fixed_crops(recipe, *shape[1:], self.n_patches))

    def _make_objective(self, encoder, n_features, training):
        return EMPSSLObjective(
            encoder,
            n_features,
            self.projection_hidden_dim,
            self.projection_dim,
            self.invariance_weight,
        )
