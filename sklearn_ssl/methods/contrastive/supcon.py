"""SupCon: contrastive learning in which all samples of a class are positives."""

import torch
from torch.nn.functional import normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.sklearn_private import _fit_context
from sklearn_ssl._runtime.world import world
from sklearn_ssl.base import all_or_nothing
from sklearn_ssl.data.labels import ids_of
from sklearn_ssl.methods._joint_embedding import JointEmbeddingTransformer
from sklearn_ssl.methods.contrastive.simclr import SimCLRObjective
from sklearn_ssl.parameters import Count, Positive
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews, TextViews


class SupConObjective(SimCLRObjective):
    """Supervised contrastive loss of the projections of two views; at chance level as NT-Xent."""

    def forward(self, views, labels):
        """Return the loss of a batch of two views, and of the labels of its samples."""
        z1, z2 = self.projections(views)
        labels = world().gather(labels).repeat(2)
        return {"loss": supcon(torch.cat([z1, z2]), labels, self.temperature), "embedding": z1}


def supcon(z, labels, temperature):
    """Return the supervised contrastive loss of projections, (m, dim), and their labels, (m,).

    Anchors are those with another projection of their label, a positive: the loss is the mean over
    anchors of the mean cross entropy of their positives among all other projections.
    """
    with full_precision(z.device):
        z = normalize(wide(z))
        own = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = (z @ z.T / temperature).masked_fill(own, -torch.inf)
        positive = (labels[:, None] == labels) & ~own
        cross_entropies = (logits.logsumexp(dim=1, keepdim=True) - logits).masked_fill(~positive, 0)
        n_positive = positive.sum(dim=1)
        losses = cross_entropies.sum(dim=1) / n_positive.clamp(min=1)
        return losses.sum() / (n_positive > 0).sum().clamp(min=1)


class SupConTransformer(JointEmbeddingTransformer):
    """Supervised contrastive learning: all views of samples of one class are positives.

    Learns from the labels in y, unlike the other methods: use it if many samples have a label. The
    positives of an unlabeled sample, whose label is -1, None or NaN, are its own views, as in
    :class:`~sklearn_ssl.SimCLRTransformer`, which this is without y. Judge the features by
    cross-validation or on samples that were not in fit, as they contain the labels of those.

    Parameters
    ----------
    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities, above 0.

    projection_dim : int, default=128
        Width of the projection in which views are compared, used during training only.

    projection_hidden_dim : int, default=512
        Width of the hidden layer of the projector.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    This is the loss of the paper with the sum over positives outside of the logarithm, without
    the factor temperature / 0.07 of the published code.

    References
    ----------
    `Khosla et al. "Supervised contrastive learning", NeurIPS 2020
    <https://arxiv.org/abs/2004.11362>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SupConTransformer
    >>> images, digits = load_digits().images[:200], load_digits().target[:200]
    >>> digits[50:] = -1  # unlabeled
    >>> supcon = SupConTransformer(max_epochs=1, random_state=0).fit(images, digits)
    >>> supcon.transform(images).shape
    (200, 256)
    """

    temperature: Positive = 0.2
    projection_dim: Count = 128
    projection_hidden_dim: Count = 512

    default_views = {"image": ImageViews(), "table": TableViews(), "text": TextViews()}

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, groups=None):
        """Train the encoder on X and y.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            Training samples, as in ``fit`` of :class:`~sklearn_ssl.SimCLRTransformer`.

        y : array-like of shape (n_samples,), default=None
            Labels; -1, None and NaN are unlabeled samples. Without, all are unlabeled.

        groups : array-like of shape (n_samples,), default=None
            Groups of samples that show the same, of which two are views of each other.

        Returns
        -------
        self : object
            Fitted estimator. If fit raises, it is unchanged.
        """
        return self._fit(X, y, groups)

    def _ids(self, y, groups):
        return super()._ids(y, groups) | ({} if y is None else {"y": ids_of(y)})

    def _targets(self, X, ids, source, seed=None):
        return torch.from_numpy(ids["y"]) if "y" in ids else torch.arange(len(source))

    def _make_objective(self, encoder, n_features, training):
        widths = self.projection_hidden_dim, self.projection_dim
        return SupConObjective(encoder, n_features, *widths, self.temperature)
