"""What the vectors of an embedding tell without labels: their ranks, and how they spread."""

import numpy as np
import torch
from sklearn.utils import check_array, gen_batches
from torch.nn.functional import normalize

from sklearn_ssl._runtime.decompositions import symmetric_eigh
from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.data.labels import check_readable
from sklearn_ssl.metrics.nearest import BLOCK_BYTES

FIRST, LAST = 11, 100  # ranks that the slope of alpha_req is taken over


def rankme(X):
    """Count the directions that an embedding uses: exponential entropy of its singular values.

    Use it to choose among runs of one method without labels: of two embeddings of the same
    samples, the one with the higher value tends to serve better. It rises with the number of
    samples, and is not for comparing methods or networks of different width.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding. It is not centered.

    Returns
    -------
    rank : float
        From 1 to about min(n_samples, n_features).

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
    except RuntimeError:  # it did not converge
        products = X.T @ X if X.shape[1] < len(X) else X @ X.T
        singular = symmetric_eigh(products)[0].clamp_min(0).sqrt()
    total = singular.sum()
    if total == 0:
        raise ValueError("X has rank 0: all values are 0.")
    shares = singular / total + 1e-7  # the paper's
    return float(torch.exp(torch.special.entr(shares).sum()))


def effective_rank(X):
    """Count the directions in which samples differ: exponential entropy of their variances.

    Unlike :func:`rankme` it is of the centered embedding, and of squares, so that small directions
    count little: the paper's definition, for the covariance.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of two samples or more.

    Returns
    -------
    rank : float
        From 1 to min(n_samples - 1, n_features).

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
        raise ValueError("The samples of X do not differ: they have no effective rank.")
    return float(torch.exp(torch.special.entr(variances / variances.sum()).sum()))


def alpha_req(X):
    """Tell how fast the variances of an embedding fall: the alpha of their power law.

    The sorted eigenvalues of the covariance fall about as 1 / rank ** alpha. Near 1 is good for
    what follows; far above 1 a few directions hold all, far below 1 there is much noise.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding, of 6 samples and 5 features or more; the line is fitted over ranks 11 to 100, or,
        where there are fewer than 100 directions, min(11, a quarter) to .8 of them, as fits with
        weights 1 / rank.

    Returns
    -------
    alpha : float
        Larger for faster decay.

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
            f"varies in {int((variances > 1e-12 * variances[0]).sum())} directions, as there are "
            f"{len(X)} samples of {np.shape(X)[1]} features. Pass more samples or features."
        )
    weights = 1 / ranks
    x, y = ranks.log(), chosen.log()
    x, y = (values - (weights * values).sum() / weights.sum() for values in (x, y))
    return float(-(weights * x * y).sum() / (weights * x * x).sum())


def alignment(X1, X2, *, alpha=2):
    """Return the mean distance of two embeddings of each sample, on the unit sphere.

    Small values say that views of a sample agree, which they also do where all samples are the
    same: read it beside :func:`uniformity`.

    Parameters
    ----------
    X1, X2 : array-like of shape (n_samples, n_features)
        Embeddings of two views of the same samples, in the same order. Each row is brought to
        length one.

    alpha : float, default=2
        Power of the distances, above 0.

    Returns
    -------
    alignment : float
        From 0 to 2 ** alpha, smaller is better.

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
    """Tell how evenly samples lie on the unit sphere: the logarithm of their mean closeness.

    It is exact, over all pairs, in blocks; 50,000 samples take some 10^12 products, so pass a
    part where this is too long.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embedding of two samples or more. Each row is brought to length one.

    t : float, default=2
        Factor of the squared distances in the exponential, above 0.

    Returns
    -------
    uniformity : float
        At most 0, where all samples are the same; smaller is better, and near -2 * t where
        samples point everywhere in many dimensions.

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
        with full_precision(z.device):  # whatever the caller's autocast is
            closeness = z[rows] @ others.T
        closeness = closeness.sub_(1).mul_(2 * t).exp_().triu_(diagonal=1)
        total += closeness.sum(dtype=torch.float64).item()
    if total == 0:  # beyond float32: t is large
        return -float("inf")
    return float(np.log(total / (n * (n - 1) / 2)))


def _checked(*embeddings):
    """Return embeddings as float32 or float64 arrays, of two or more samples that could be read."""
    check = {"dtype": [np.float64, np.float32], "ensure_min_samples": 2, "ensure_all_finite": False}
    embeddings = [check_array(X, **check) for X in embeddings]
    if len({X.shape for X in embeddings}) > 1:
        raise ValueError(
            "X1 and X2 must have a row for the same samples and as many features. Got shapes "
            f"{embeddings[0].shape} and {embeddings[1].shape}."
        )
    readable = np.all([check_readable(X, n_needed=2) for X in embeddings], axis=0)
    if not readable.all():
        embeddings = [X[readable] for X in embeddings]
        check_array(embeddings[0], ensure_min_samples=2)
    embeddings = [np.require(X, requirements=["C", "W"]) for X in embeddings]  # torch shares these
    return embeddings if len(embeddings) > 1 else embeddings[0]


def _check_positive(name, value):
    if not value > 0:
        raise ValueError(f"{name} must be above 0. Got {value!r} instead.")


def _variances(X):
    """Return the eigenvalues of the covariance of X, the largest first, min(n - 1, d) of them."""
    z = torch.from_numpy(_checked(X)).double()
    z = z - z.mean(dim=0)
    n, d = z.shape
    products = z.T @ z if d < n else z @ z.T  # which have the same eigenvalues but for zeros
    return symmetric_eigh(products / n)[0].flip(0)[: min(n - 1, d)].clamp_min(0)
