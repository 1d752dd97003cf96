"""Scorers that need no labels, for hyperparameter searches."""

import torch

from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl.inference.batches import transformed, views_of
from sklearn_ssl.metrics.geometry import alignment, rankme, uniformity


def rankme_scorer(estimator, X, y=None):
    """Score an estimator without labels, by the RankMe of its embedding.

    Pass it as ``scoring`` to :class:`~sklearn.model_selection.GridSearchCV`, whose ``fit(X)`` then
    needs no y, to select hyperparameters of one method: learning rates, views, temperatures. Values
    of networks of different width, or of different numbers of samples, cannot be compared. With
    ``scoring=None``, the score is minus the loss on held-out samples.

    Parameters
    ----------
    estimator : transformer
        A fitted transformer.

    X : array-like, list or DataFrame
        Samples, preferably held-out ones.

    y : Ignored
        Not used, present for API consistency.

    Returns
    -------
    score : float
        :func:`rankme` of the embedding.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_ssl import SimCLRTransformer
    >>> from sklearn_ssl.metrics import rankme_scorer
    >>> simclr = SimCLRTransformer(max_epochs=1, random_state=0)
    >>> search = GridSearchCV(simclr, {"temperature": [0.1, 0.5]}, scoring=rankme_scorer, cv=2)
    >>> search.fit(load_digits().images[:100]).best_params_["temperature"] in (0.1, 0.5)
    True
    """
    return rankme(transformed(estimator, X))


def alignment_uniformity_scorer(estimator, X, y=None):
    """Score an estimator without labels, by alignment and uniformity of its embedding.

    The score is minus the sum of :func:`alignment`, of the features of two random views of each
    sample, and :func:`uniformity`, of the first view. Pass it as ``scoring`` to
    :class:`~sklearn.model_selection.GridSearchCV`, whose ``fit(X)`` then needs no y. The same views
    are drawn at every call. It is not meaningful for methods that do not compare views, such as
    rotation, and cannot compare different ``views``.

    Parameters
    ----------
    estimator : SSLTransformer
        A fitted method, whose ``views_`` give at least two views.

    X : array-like, list or DataFrame
        Samples, preferably held-out ones.

    y : Ignored
        Not used, present for API consistency.

    Returns
    -------
    score : float
        Score, larger is better.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SimCLRTransformer
    >>> from sklearn_ssl.metrics import alignment_uniformity_scorer
    >>> images = load_digits().images[:200]
    >>> simclr = SimCLRTransformer(max_epochs=1, random_state=0).fit(images[:100])
    >>> alignment_uniformity_scorer(simclr, images[100:]) > 0
    True
    """

    def embedded(encoder, samples):
        views = views_of(estimator.views_, lambda batch: batch, samples)
        if len(views) < 2:
            raise ValueError(
                "alignment_uniformity_scorer needs two views, but the view recipe of "
                f"{type(estimator).__name__} gives one. Use rankme_scorer."
            )
        return torch.stack([encoder(view) for view in views[:2]], dim=1)  # (n, 2, d)

    device = resolve_device(estimator.device)
    with isolated(device):
        seed_torch(device, estimator._seed)
        first, second = estimator._map(X, "encoder_", embedded).swapaxes(0, 1)
    return -(alignment(first, second) + uniformity(first))
