"""VIME: reconstruct tabular data of which some values were replaced, and find those."""

import math
from dataclasses import replace

import numpy as np
import torch
from sklearn import config_context
from torch.nn.functional import binary_cross_entropy_with_logits

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.data.arrays import holds_nan
from sklearn_ssl.inference.batches import in_batches, moved
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.parameters import Count, between
from sklearn_ssl.training.objective import Objective, wide
from sklearn_ssl.views import TableViews

VALUES_WEIGHT = 2.0  # of the squared error, where the cross entropy of the masks has 1


class VIMEObjective(Objective):
    """Squared error of all values, and cross entropy of which were replaced."""

    def __init__(self, encoder, n_features, mask_ratio, width, depth):
        super().__init__(encoder)
        self.mask_ratio = mask_ratio
        self.decode = mlp(n_features, *depth * [width], 2 * encoder.in_shape[0])

    def forward(self, views):
        """Return the loss of a batch: samples as they are, and copies with values replaced."""
        if len(views) < 2:
            raise ValueError(
                "VIME needs each sample and a copy with values replaced; the view recipe gave "
                f"{len(views)} view. Give TableViews with keep_first=True and n_views=2."
            )
        corrupted, samples = torch.cat(views[1:]), views[0].repeat(len(views) - 1, 1)
        values, scores, features = self.predict(corrupted)
        with full_precision(samples.device):
            replaced = (corrupted != samples).to(samples)  # by other values
            # Of all values: among those that changed, a rare one is as frequent as any.
            error = (wide(values) - samples).square().mean()
            mask = binary_cross_entropy_with_logits(wide(scores), replaced)
        found = {"loss": mask + VALUES_WEIGHT * error, "embedding": features[: len(views[0])]}
        return found | {"squared_error": error.detach(), "mask_loss": mask.detach()}

    def chance_loss(self, n):
        """Return the loss without any knowledge of other features: each is shrunk to its mean."""
        n_features = self.encoder.in_shape[0]
        p = max(1, int(self.mask_ratio * n_features)) / n_features
        error = 1 - (1 - p) ** 2  # of 1 - p times the value
        return VALUES_WEIGHT * error - sum(q * math.log(q) for q in (p, 1 - p) if q)

    def predict(self, samples):
        """Return the values of all features, logits of being replaced, and the embedding."""
        features = self.encoder(samples)
        return *self.decode(features).chunk(2, dim=1), features

    def imputed(self, samples):
        """Return standardized samples with predictions for NaN, which the encoder sees as 0."""
        missing, samples = samples.isnan(), samples.nan_to_num(0.0)
        return torch.where(missing, self.predict(samples)[0], samples)


class VIMETransformer(SSLTransformer):
    """VIME: reconstruct tabular data of which some values were replaced, and find those.

    Use it for tabular data of numbers, and to ``impute`` missing values.

    Parameters
    ----------
    mask_ratio : float, default=0.3
        Share of the features of each sample that are replaced by those of other samples, in (0, 1).
        Not used if ``views`` is set.

    decoder_dim : int, default=64
        Width of the hidden layers of the decoder, which is used during training only.

    decoder_depth : int, default=2
        Number of its hidden layers.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Features are standardized, as many values are replaced in each sample, and both predictions
    share a decoder. The paper scales features to [0, 1], has two linear heads, and more stages.

    References
    ----------
    `Yoon et al. "VIME: extending the success of self- and semi-supervised learning to tabular
    domain", NeurIPS 2020 <https://proceedings.neurips.cc/paper/2020/hash/7d97667a3e056acab9aaf653807b4a03-Abstract.html>`_

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_ssl import VIMETransformer
    >>> X = load_wine().data
    >>> vime = VIMETransformer(max_epochs=1, random_state=0).fit(X)
    >>> missing = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    >>> bool(np.isnan(vime.impute(missing)).any())
    False
    """

    mask_ratio: between(0, 1, "neither") = 0.3
    decoder_dim: Count = 64
    decoder_depth: Count = 2

    default_views = {"table": TableViews()}

    def _default_views(self, spec):
        return replace(super()._default_views(spec), corruption=self.mask_ratio)

    def _make_objective(self, encoder, n_features, training):
        ratio = self.mask_ratio
        if isinstance(self.views, TableViews):
            ratio = self.views.corruption
            if not self.views.keep_first:
                raise ValueError(
                    f"views={self.views!r} leave out the sample as it is, which is the target. Set "
                    "keep_first=True."
                )
        return VIMEObjective(encoder, n_features, ratio, self.decoder_dim, self.decoder_depth)

    def impute(self, X):
        """Replace missing values by those that the network predicts from the other features.

        Parameters
        ----------
        X : array-like, tensor or DataFrame of shape (n_samples, n_features_in_)
            Samples with NaN where a value is missing. Those in fit must be complete.

        Returns
        -------
        imputed : ndarray of shape (n_samples, n_features_in_), float64
            X with a value for each NaN; other values are not changed.
        """
        with config_context(assume_finite=True):  # allows NaN
            source, device = self._read_again(X)
        holds_nan(source)  # which raises where infinity is
        samples = np.asarray(source.array[:], dtype=np.float64)
        scaling, objective = self._scaling, moved(self.objective_, device)
        imputed = in_batches(objective.imputed, source, scaling.on(device), device)
        return np.where(np.isnan(samples), imputed / scaling.scale + scaling.offset, samples)
