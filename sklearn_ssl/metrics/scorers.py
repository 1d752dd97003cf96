"""Scores of a fitted estimator that need no labels, for searches."""

import torch

from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl.inference.batches import transformed, views_of
from sklearn_ssl.metrics.geometry import alignment, rankme, uniformity


def rankme_scorer(estimator, X, y=None):
    """Score an estimator by the number of directions that its embedding uses, without labels.

    Pass it as ``scoring`` of :class:`~sklearn.model_selection.GridSearchCV`, whose ``fit(X)`` then
    needs no y, to choose among settings of one method: learning rates, views, temperatures. Values
    of networks of different width, or of parts of different size, cannot be compared. For the loss
    on samples that are held out, leave ``scoring`` at None.

    Parameters
    ----------
    estimator : transformer
        A fitted one.

    X : array-like, list or DataFrame
        Samples, best those that were held out.

    y : Ignored
        Not used, here for scikit-learn's conventions.

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
    """Score an estimator by how close views of a sample are, and how evenly samples lie apart.

    It is minus the sum of :func:`alignment` of the features of two random views of each sample, and
    :func:`uniformity` of the first ones. Pass it as ``scoring`` of
    :class:`~sklearn.model_selection.GridSearchCV`, whose ``fit(X)`` then needs no y. The same views
    are drawn at every call. What a method that does not bring views together is worth, as rotation,
    it does not tell; nor can settings of ``views`` be compared by it.

    Parameters
    ----------
    estimator : SSLTransformer
        A fitted one, whose ``views_`` give two views or more.

    X : array-like, list or DataFrame
        Samples, best those that were held out.

    y : Ignored
        Not used, here for scikit-learn's conventions.

    Returns
    -------
    score : float
        Larger is better.

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
                "alignment_uniformity_scorer compares two views; those of "
                f"{type(estimator).__name__} are one. Use rankme_scorer."
            )
        return torch.stack([encoder(view) for view in views[:2]], dim=1)  # (n, 2, d)

    device = resolve_device(estimator.device)
    with isolated(device):
        seed_torch(device, estimator._seed)
        first, second = estimator._map(X, "encoder_", embedded).swapaxes(0, 1)
    return -(alignment(first, second) + uniformity(first))
