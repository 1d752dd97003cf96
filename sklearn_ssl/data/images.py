"""Images as X: layout, size, pixel range, normalization and reading of files."""

from collections.abc import Iterable
from numbers import Integral
from os import PathLike

import numpy as np

from sklearn_ssl.parameters import Recipe, is_auto, recipe

CHANNELS = "auto", "first", "last"
NORMALIZATIONS = "auto", "data", "imagenet"
ON_ERROR = "raise", "skip", "warn"


@recipe
class Images(Recipe):
    """Images in X: layout, resizing, reading of files, pixel range and normalization.

    Passed to an estimator as ``input=Images(...)``, where the default "auto" is not sufficient.

    Parameters
    ----------
    size : int or "auto", default="auto"
        Size of the images in pixels. The shorter side is resized to it, and the image is cropped
        to a square: a random crop in each epoch of training, a center crop in ``transform``.
        Panoramas are center-cropped to an aspect ratio of 2 before. Arrays of another size are
        resized as well, if they have 1 or 3 channels. "auto" does not resize arrays; for files,
        datasets and images of different sizes it is the median of the shorter sides of 100
        images, rounded down to a multiple of 32, at most 64 on the CPU and 224 on a GPU.

    shape : tuple of int, default=None
        Shape of flattened images in a two-dimensional X: (height, width), (height, width,
        channels), or (channels, height, width), for shapes such as (3, 32, 32) and with
        ``channels="first"``. Not used for arrays of images.

    channels : {"auto", "first", "last"}, default="auto"
        Layout of the images: "first" is (channels, height, width), "last" is (height, width,
        channels). "auto" infers it from the shape, and raises an error if that is ambiguous.

    value_range : "auto" or tuple of two numbers, default="auto"
        Values of black and white, (low, high), such as (0, 4095) for 12-bit images. Values outside
        are clipped. For channels in different units, ``low`` and ``high`` may be sequences with one
        value per channel. "auto" is (0, 255) for uint8. For other dtypes it is learned in fit,
        robust to outliers such as hot pixels and nodata values: from 0 to the largest value, or
        symmetric around 0 if there are negative values; separately for each channel if the ranges
        of channels differ by a factor of 16 or more.

    normalization : {"auto", "data", "imagenet"} or tuple of two sequences, default="auto"
        Mean and standard deviation of the channels, for pixels scaled to [0, 1], with which the
        encoder normalizes its input. "data" computes them from X in fit; "imagenet" uses the
        ImageNet constants of most published weights, (0.485, 0.456, 0.406) and (0.229, 0.224,
        0.225); (mean, std) is used as given. "auto" is "data", but with ``weights`` the constants
        that they were trained with: those in the file of an estimator or ``encoder_``, and
        torchvision's for its models, unless the file has another stem or number of channels. For
        other numbers of channels than 3, constants of 3 channels are averaged. The values used
        are stored in ``encoder_.mean`` and ``encoder_.std``.

    on_error : {"raise", "skip", "warn"}, default="raise"
        How to handle images that cannot be read. "raise" reads all images and then raises one
        error that lists the first ten. "skip" trains without them; their output of ``transform``
        is NaN, and -1 for integer outputs. "warn" also issues a warning. It may be changed after
        fit, to apply to ``transform``.

    cache : str or path, default=None
        Folder in which decoded and resized images of files are cached. Calls, estimators and
        processes may share it: a pipeline reads files twice, to train and to embed, and a
        cross-validation does so in each fold. A file is decoded again if its size, modification
        time or inode changed. Cached images are never removed. With None, decoded images are
        stored during a call only: 1 GB in memory, and the rest in a temporary file in TMPDIR.

    n_jobs : int, default=None
        Number of images decoded in parallel, in threads unless :func:`joblib.parallel_config`
        sets another backend. None means 1, -1 means all cores.

    Examples
    --------
    >>> from sklearn_ssl import Images, SimCLRTransformer
    >>> simclr = SimCLRTransformer(input=Images(channels="last", value_range=(0, 4095)))
    >>> simclr.set_params(input__size=32).input.size
    32
    """

    size: int | str = "auto"
    shape: tuple | None = None
    channels: str = "auto"
    value_range: object = "auto"
    normalization: object = "auto"
    on_error: str = "raise"
    cache: object = None
    n_jobs: int | None = None

    def __post_init__(self):
        is_int = isinstance(self.size, Integral) and not isinstance(self.size, bool)
        if not (is_auto(self.size) or (is_int and self.size >= 1)):
            raise ValueError(f'size must be "auto" or an int, at least 1. Got {self.size!r}.')
        if self.shape is not None and not isinstance(self.shape, Iterable):
            raise ValueError(
                "shape must be (height, width), (height, width, channels) or None. Got "
                f"{self.shape!r} instead."
            )
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {ON_ERROR}. Got {self.on_error!r} instead.")
        if not (self.cache is None or isinstance(self.cache, str | PathLike)):
            raise ValueError(f"cache must be a path or None. Got {self.cache!r} instead.")
        if not (self.n_jobs is None or isinstance(self.n_jobs, Integral)):
            raise ValueError(f"n_jobs must be an int or None. Got {self.n_jobs!r} instead.")
        if self.channels not in CHANNELS:
            raise ValueError(f"channels must be one of {CHANNELS}. Got {self.channels!r} instead.")
        if not is_auto(self.value_range):
            low, high = _pair("value_range", self.value_range, "(low, high)")
            if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
                raise ValueError(
                    "value_range must be (low, high), finite and with low < high. Got "
                    f"{self.value_range!r} instead."
                )
        if isinstance(self.normalization, str):
            if self.normalization not in NORMALIZATIONS:
                raise ValueError(
                    f"normalization must be one of {NORMALIZATIONS} or (mean, std). Got "
                    f"{self.normalization!r} instead."
                )
            return
        mean, std = _pair("normalization", self.normalization, "(mean, std)")
        if not (np.isfinite(mean) & np.isfinite(std) & (std > 0)).all():
            raise ValueError(
                "normalization must be (mean, std), finite and with std > 0. Got "
                f"{self.normalization!r} instead."
            )


def images_of(estimator):
    """Return the :class:`Images` of an estimator, with defaults if ``input`` is not one."""
    return estimator.input if isinstance(estimator.input, Images) else Images()


def _pair(name, value, form):
    """Return the two values of a parameter as arrays of shape () or (n_channels,)."""
    try:
        first, second = (np.asarray(part, np.float64) for part in value)
        np.broadcast_shapes(first.shape, second.shape)
    except (TypeError, ValueError):
        first = second = np.zeros((0, 0))
    if first.ndim > 1 or second.ndim > 1:
        raise ValueError(
            f"{name} must be {form}, numbers or sequences with one value per channel. Got "
            f"{value!r} instead."
        )
    return first, second
