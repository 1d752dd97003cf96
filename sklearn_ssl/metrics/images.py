"""How near images are to others: signal to noise, and structure."""

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.utils import check_array

WINDOW, TRUNCATE = 1.5, 3.5  # standard deviation in pixels of the weights around one, and their end
STABLE = 0.01, 0.03  # of the published index


@np.errstate(under="ignore")
def peak_signal_noise_ratio(X_true, X_pred, *, data_range="auto"):
    """Return the peak signal-to-noise ratio of images, in decibels.

    Parameters
    ----------
    X_true : array-like of shape (n_samples, height, width) or (n_samples, height, width, channels)
        Images.

    X_pred : array-like of the same shape
        What they were told to be.

    data_range : float or "auto", default="auto"
        What lies between black and white. "auto" is 255 for bytes, and 1 for others; one of them
        beside the other is refused.

    Returns
    -------
    ratio : float
        10 * log10(data_range**2 / mean squared error) over all images; infinite where they are
        equal. Larger is better.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ssl.metrics import peak_signal_noise_ratio
    >>> images = np.zeros((2, 8, 8))
    >>> peak_signal_noise_ratio(images, images + 0.1)
    20.0
    """
    X_true, X_pred, data_range = _checked(X_true, X_pred, data_range)
    error = np.mean([np.mean(np.square(t - p)) for t, p in _pairs(X_true, X_pred)])
    return float("inf") if error == 0 else float(10 * np.log10(data_range**2 / error))


@np.errstate(under="ignore")
def structural_similarity(X_true, X_pred, *, data_range="auto"):
    """Return the structural similarity of images, which weighs what people see.

    Around each pixel it compares brightness, contrast and structure, with weights of a Gaussian of
    1.5 pixels.

    Parameters
    ----------
    X_true : array-like of shape (n_samples, height, width) or (n_samples, height, width, channels)
        Images, of 11 pixels a side or more. Channels count alike.

    X_pred : array-like of the same shape
        What they were told to be.

    data_range : float or "auto", default="auto"
        What lies between black and white. "auto" is 255 for bytes, and 1 for others; one of them
        beside the other is refused.

    Returns
    -------
    similarity : float
        The mean over all images, at most 1, for equal ones. Larger is better.

    References
    ----------
    `Wang et al. "Image quality assessment: from error visibility to structural similarity", TIP
    2004 <https://doi.org/10.1109/TIP.2003.819861>`_

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ssl.metrics import structural_similarity
    >>> images = np.random.default_rng(0).random((2, 16, 16))
    >>> round(structural_similarity(images, images), 6)
    1.0
    >>> structural_similarity(images, 1 - images) < 0
    True
    """
    X_true, X_pred, data_range = _checked(X_true, X_pred, data_range)
    border = int(TRUNCATE * WINDOW + 0.5)  # of pixels whose window leaves the image
    if min(X_true.shape[1:3]) <= 2 * border:
        raise ValueError(
            f"structural_similarity needs images of {2 * border + 1} pixels a side or more. Got "
            f"{X_true.shape[1]} x {X_true.shape[2]}."
        )
    inner = (slice(border, -border),) * 2
    small, large = ((constant * data_range) ** 2 for constant in STABLE)
    found = []
    for pair in _pairs(X_true, X_pred):
        t, p, tt, pp, tp = (
            gaussian_filter(x, WINDOW, truncate=TRUNCATE, axes=(0, 1))[inner]
            for x in (*pair, pair[0] ** 2, pair[1] ** 2, pair[0] * pair[1])
        )
        brightness = (2 * t * p + small) / (t**2 + p**2 + small)
        rest = (2 * (tp - t * p) + large) / (tt - t**2 + pp - p**2 + large)
        found.append(np.mean(brightness * rest))
    return float(np.mean(found))


def _checked(X_true, X_pred, data_range):
    """Return images, checked, and what lies between black and white."""
    X_true, X_pred = (check_array(X, allow_nd=True, dtype=None) for X in (X_true, X_pred))
    if X_true.shape != X_pred.shape or X_true.ndim not in (3, 4):
        raise ValueError(
            "X_true and X_pred must be images of one shape, (n, h, w) or (n, h, w, c). Got "
            f"{X_true.shape} and {X_pred.shape}."
        )
    if data_range == "auto":
        data_range = 255 if X_true.dtype == np.uint8 else 1
        if (X_pred.dtype == np.uint8) != (data_range == 255):
            raise ValueError(
                'data_range="auto" needs bytes in both or in neither of X_true and X_pred. Got '
                f"{X_true.dtype} and {X_pred.dtype}. Convert one, or set data_range: 255 if both "
                "run from 0 to 255."
            )
    if not data_range > 0:
        raise ValueError(f"data_range must be above 0. Got {data_range!r}.")
    return X_true, X_pred, float(data_range)


def _pairs(X_true, X_pred):
    """Give each image and what it was told to be, in float64: all at once may not fit."""
    return ((t.astype(float), p.astype(float)) for t, p in zip(X_true, X_pred, strict=True))
