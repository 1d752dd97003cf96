"""Metrics, compared with slow references, published values and other libraries."""

import numpy as np
import pytest
import torch
from common import check_inputs

from sklearn_ssl import metrics

RNG = np.random.default_rng(0)


X, Y = RNG.normal(size=(60, 5)), RNG.integers(0, 4, 60)


GALLERY, Y_GALLERY = RNG.normal(size=(50, 5)), RNG.integers(0, 4, 50)


def test_rankme_has_the_published_value():
    a, _ = check_inputs()[:2]
    assert metrics.rankme(a) == pytest.approx(3.026065, abs=1e-6)
    assert metrics.rankme(a.float()) == pytest.approx(3.026065, abs=1e-4)


def test_ranks_by_definition():
    z = X * [3, 2, 1, 0.5, 0.1]
    values = np.linalg.eigvalsh(np.cov(z.T))
    shares = values / values.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert metrics.effective_rank(z + 100) == pytest.approx(expected)
    wide = z[:4] @ RNG.normal(size=(5, 80))  # fewer samples than features
    shares = np.linalg.eigvalsh(np.cov(wide.T))[-3:]
    shares /= shares.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert metrics.effective_rank(wide) == pytest.approx(expected)


@pytest.mark.parametrize(("n_features", "ranks"), [(120, (11, 100)), (60, (11, 48)), (20, (5, 16))])
def test_alpha_req_is_a_weighted_slope(n_features, ranks):
    z = RNG.normal(size=(500, n_features)) / np.arange(1, n_features + 1)
    values = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    i = np.arange(ranks[0], ranks[1] + 1)
    # polyfit takes the roots of weights
    slope, _ = np.polyfit(np.log(i), np.log(values[i - 1]), 1, w=i**-0.5)
    assert metrics.alpha_req(z) == pytest.approx(-slope)


def test_alignment_and_uniformity_by_definition():
    a, b = X[:25], X[:25] + 0.5 * GALLERY[:25]
    z1, z2 = (torch.nn.functional.normalize(torch.tensor(x)) for x in (a, b))
    distances = [float((p - q).norm()) for p, q in zip(z1, z2, strict=True)]
    assert metrics.alignment(a, b) == pytest.approx(np.mean(np.square(distances)))
    assert metrics.alignment(a, b, alpha=1) == pytest.approx(np.mean(distances))
    for t in (2, 0.5):
        expected = torch.pdist(z1).pow(2).mul(-t).exp().mean().log()
        assert metrics.uniformity(a, t=t) == pytest.approx(float(expected))
    assert metrics.uniformity(np.ones((30, 4))) == pytest.approx(0)
