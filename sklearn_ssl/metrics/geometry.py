"""Metrics of embeddings without labels: effective ranks, alignment and uniformity."""

import numpy as np
import torch
from sklearn.utils import check_array, gen_batches
from torch.nn.functional import normalize

from sklearn_ssl._runtime.decompositions import symmetric_eigh
from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.data.labels import check_readable
from sklearn_ssl.metrics.nearest import BLOCK_BYTES

FIRST, LAST = 11, 100  # ranks of the linear fit of alpha_req


def rankme(X):
    """Return RankMe, a smooth rank of an embedding: the exponential entropy of its singular values.

    Use it to select hyperparameters of one method without labels: higher values tend to give better
    downstream performance. It increases with the number of samples, and cannot compare different
    methods or networks of different width.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding. It is not centered.

    Returns
    -------
    rank : float
        Rank between 1 and about min(n_samples, n_features).

    References
    ----------
    `Garrido et al. "RankMe: assessing the downstream performance of pretrained self-supervised
    representations by their rank", ICML 2023 <https://arxiv.org/abs/2210.02885>`_

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ssl.metrics import rankme
    >>> round(rankme(np.eye(4)), 3)
    4.0
    """
    X = torch.from_numpy(_checked(X)).double()
    try:
        singular = torch.linalg.svdvals(X)
    except RuntimeError:  # no convergence
        products = X.T @ X if X.shape[1] < len(X) else X @ X.T
        singular = symmetric_eigh(products)[0].clamp_min(0).sqrt()
    total = singular.sum()
    if total == 0:
        raise ValueError("X has rank 0, as all values are 0.")
    shares = singular / total + 1e-7  # as in the paper
    return float(torch.exp(torch.special.entr(shares).sum()))


def effective_rank(X):
    """Return the effective rank of the covariance: the exponential entropy of its eigenvalues.

    Unlike :func:`rankme`, the embedding is centered, and squares of singular values are used, so
    that directions of small variance have less weight.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of at least two samples.

    Returns
    -------
    rank : float
        Rank between 1 and min(n_samples - 1, n_features).

    References
    ----------
    `Roy and Vetterli "The effective rank: a measure of effective dimensionality", EUSIPCO 2007
    <https://ieeexplore.ieee.org/document/7098875>`_

    Examples
    --------
    >>> from sklearn_ssl.metrics import effective_rank
    >>> round(effective_rank([[1, 0], [-1, 0], [0, 1], [0, -1]]), 3)
    2.0
    """
    variances = _variances(X)
    if not variances.sum():
        raise ValueError("All samples of X are equal, so they have no effective rank.")
    return float(torch.exp(torch.special.entr(variances / variances.sum()).sum()))


def alpha_req(X):
    """Return alpha-ReQ: the exponent of the power law of the eigenvalues of the covariance.

    The sorted eigenvalues decay about as 1 / rank ** alpha. Values near 1 are good for downstream
    tasks; far above 1, a few directions have most of the variance, and far below 1 there is much
    noise.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of at least 6 samples and 5 features. A line is fitted in log-log scale to ranks
        11 to 100, with weights 1 / rank. Of n < 100 eigenvalues, ranks min(11, n / 4) to 0.8 n are
        used.

    Returns
    -------
    alpha : float
        Exponent, larger for faster decay.

    References
    ----------
    `Agrawal et al. "alpha-ReQ: assessing representation quality in self-supervised learning by
    measuring eigenspectrum decay", NeurIPS 2022
    <https://papers.neurips.cc/paper_files/paper/2022/hash/70596d70542c51c8d9b4e423f4bf2736-Abstract-Conference.html>`_

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ssl.metrics import alpha_req
    >>> X = np.random.default_rng(0).normal(size=(5000, 200)) / np.arange(1, 201) ** 0.5
    >>> round(alpha_req(X), 1)
    1.0
    """
    variances = _variances(X)
    n = len(variances)
    first, last = (FIRST, LAST) if n >= LAST else (max(1, min(FIRST, n // 4)), int(0.8 * n))
    ranks = torch.arange(first, last + 1, dtype=torch.float64, device="cpu")
    chosen = variances[first - 1 : last]
    if len(ranks) < 3 or chosen[-1] <= 1e-12 * variances[0]:
        raise ValueError(
            f"alpha_req needs positive variances at ranks {first} to {max(last, first + 2)}. X "
            f"varies in {int((variances > 1e-12 * variances[0]).sum())} directions, with {len(X)} "
            f"samples and {np.shape(X)[1]} features. Pass more samples or features."
        )
    weights = 1 / ranks
    x, y = ranks.log(), chosen.log()
    x, y = (values - (weights * values).sum() / weights.sum() for values in (x, y))
    return float(-(weights * x * y).sum() / (weights * x * x).sum())


def alignment(X1, X2, *, alpha=2):
    """Return the alignment: the mean distance of the two views of each sample, on the unit sphere.

    Small values mean that the embedding is invariant to the views. A collapsed embedding is
    invariant too: use it together with :func:`uniformity`.

    Parameters
    ----------
    X1, X2 : array-like of shape (n_samples, n_features)
        Embeddings of two views of the same samples, in the same order. Vectors are normalized to
        length one.

    alpha : float, default=2
        Exponent of the distances, above 0.

    Returns
    -------
    alignment : float
        Alignment in [0, 2 ** alpha], smaller is better.

    References
    ----------
    `Wang and Isola "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere", ICML 2020 <https://arxiv.org/abs/2005.10242>`_

    Examples
    --------
    >>> from sklearn_ssl.metrics import alignment
    >>> round(alignment([[1.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [1.0, 0.0]]), 5)
    1.0
    """
    z1, z2 = (normalize(torch.from_numpy(X)) for X in _checked(X1, X2))
    _check_positive("alpha", alpha)
    return float((z1 - z2).norm(dim=1).double().pow(alpha).mean())


def uniformity(X, *, t=2):
    """Return the uniformity: how evenly samples are distributed on the unit sphere.

    It is the logarithm of the mean Gaussian potential exp(-t * squared distance) of all pairs of
    samples. Time grows with the square of the number of samples: pass a subset if it is too long.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of at least two samples. Vectors are normalized to length one.

    t : float, default=2
        Factor of the squared distances, above 0.

    Returns
    -------
    uniformity : float
        Uniformity, at most 0; smaller is better. It is 0 if all samples are equal, and near -2 * t
        for a uniform distribution in many dimensions.

    References
    ----------
    `Wang and Isola "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere", ICML 2020 <https://arxiv.org/abs/2005.10242>`_

    Examples
    --------
    >>> from sklearn_ssl.metrics import uniformity
    >>> uniformity([[1.0, 0.0], [-1.0, 0.0]])  # a squared distance of 4
    -8.0
    """
    z = normalize(torch.from_numpy(_checked(X)))
    _check_positive("t", t)
    n, total = len(z), 0.0
    for rows in gen_batches(n, max(1, BLOCK_BYTES // (z.itemsize * n))):
        others = z[rows.start :]  # each pair once
        with full_precision(z.device):  # also under autocast
            potential = z[rows] @ others.T
        potential = potential.sub_(1).mul_(2 * t).exp_().triu_(diagonal=1)
        total += potential.sum(dtype=torch.float64).item()
    if total == 0:  # underflow for large t
        return -float("inf")
    return float(np.log(total / (n * (n - 1) / 2)))


def _checked(*embeddings):
    """Return embeddings as float arrays, without samples that could not be read."""
    check = {"dtype": [np.float64, np.float32], "ensure_min_samples": 2, "ensure_all_finite": False}
    embeddings = [check_array(X, **check) for X in embeddings]
    if len({X.shape for X in embeddings}) > 1:
        raise ValueError(
            "X1 and X2 must have the same shape, one row for each of the same samples. Got shapes "
            f"{embeddings[0].shape} and {embeddings[1].shape}."
        )
    readable = np.all([check_readable(X, n_needed=2) for X in embeddings], axis=0)
    if not readable.all():
        embeddings = [X[readable] for X in embeddings]
        check_array(embeddings[0], ensure_min_samples=2)
    embeddings = [np.require(X, requirements=["C", "W"]) for X in embeddings]  # shared by torch
    return embeddings if len(embeddings) > 1 else embeddings[0]


def _check_positive(name, value):
    if not value > 0:
        raise ValueError(f"{name} must be above 0. Got {value!r} instead.")


def _variances(X):
    """Return the min(n - 1, d) largest eigenvalues of the covariance of X, in decreasing order."""
    z = torch.from_numpy(_checked(X)).double()
    z = z - z.mean(dim=0)
    n, d = z.shape
    products = z.T @ z if d < n else z @ z.T  # which have the same nonzero eigenvalues
    return symmetric_eigh(products / n)[0].flip(0)[: min(n - 1, d)].clamp_min(0)
