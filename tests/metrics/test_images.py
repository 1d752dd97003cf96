"""Metrics beside slow references, published values and other libraries' definitions."""

import numpy as np
import pytest

from sklearn_ssl import metrics
from sklearn_ssl.metrics import geometry
from sklearn_ssl.metrics import nearest as neighbors

RNG = np.random.default_rng(0)


X, Y = RNG.normal(size=(60, 5)), RNG.integers(0, 4, 60)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Many blocks, the last one not full."""
    monkeypatch.setattr(neighbors, "BLOCK_BYTES", 4 * 50 * 7)
    monkeypatch.setattr(geometry, "BLOCK_BYTES", 4 * 50 * 7)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_compared_as_scikit_image_does(channels, dtype):
    skimage = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    told = rng.random((3, 20, 24, *channels))
    true = (told + 0.3 * rng.random(told.shape)).clip(0, 1)
    high = 255 if dtype == np.uint8 else 1
    true, told = ((high * x).astype(dtype) for x in (true, told))
    axis = -1 if channels else None
    settings = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5}
    similar = [
        skimage.structural_similarity(t, p, data_range=high, channel_axis=axis, **settings)
        for t, p in zip(true.astype(float), told.astype(float), strict=True)
    ]
    assert 0.2 < np.mean(similar) < 0.95
    assert metrics.structural_similarity(true, told) == pytest.approx(np.mean(similar))
    noise = skimage.peak_signal_noise_ratio(true, told, data_range=high)
    assert metrics.peak_signal_noise_ratio(true, told) == pytest.approx(noise, rel=1e-6)
    twice = metrics.peak_signal_noise_ratio(true, told, data_range=2 * high)
    assert twice == pytest.approx(noise + 20 * np.log10(2), rel=1e-6)
    assert metrics.structural_similarity(true, true) == pytest.approx(1)
    assert metrics.peak_signal_noise_ratio(true, true) == np.inf


def test_images_that_cannot_be_compared_are_told_of():
    X = np.zeros((2, 12, 12))
    with pytest.raises(ValueError, match=r"one shape.*\(2, 12, 12\) and \(2, 12, 11\)"):
        metrics.peak_signal_noise_ratio(X, X[:, :, 1:])
    with pytest.raises(ValueError, match=r"11 pixels a side or more. Got 10 x 12"):
        metrics.structural_similarity(X[:, 2:], X[:, 2:])
    with pytest.raises(ValueError, match=r"data_range must be above 0. Got 0"):
        metrics.structural_similarity(X, X, data_range=0)
    whole = X.astype(np.uint8) + 200
    for pair in ((X, whole), (whole, X)):
        with pytest.raises(ValueError, match=r"bytes in both or in neither .* Got .*uint8"):
            metrics.peak_signal_noise_ratio(*pair)
    told = metrics.peak_signal_noise_ratio(whole, whole + 10.0, data_range=255)
    assert told == pytest.approx(20 * np.log10(25.5))
