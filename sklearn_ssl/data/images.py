"""How the images in X are stored: layout of the channels, range of the pixels, normalization."""

from dataclasses import dataclass

import numpy as np

from sklearn_ssl.parameters import Recipe

CHANNELS = "auto", "first", "last"
NORMALIZATIONS = "auto", "data", "imagenet"


@dataclass(frozen=True)
class Images(Recipe):
    """Describe images in X where "auto" cannot infer it: channel axis, pixel range, normalization.

    Give it to an estimator as ``input=Images(...)``.

    Parameters
    ----------
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of an image are: "first" is (channels, height, width), "last" is
        (height, width, channels). "auto" infers it from the shape, and raises an error where the
        shape is ambiguous.

    value_range : "auto" or tuple of two numbers, default="auto"
        Values of black and white, (low, high), such as (0, 4095) for images of 12 bits. Values
        outside are clipped. For channels in different units, ``low`` and ``high`` may be sequences
        with a value for each channel. "auto" is (0, 255) for unsigned bytes. For other types it is
        learned in fit, robust to outliers such as hot pixels and nodata values: from 0, or
        symmetric around 0 where values are negative, up to the largest value; for each channel
        alone where the ranges of channels differ by a factor of 16 or more.

    normalization : {"auto", "data", "imagenet"} or tuple of two sequences, default="auto"
        Mean and standard deviation of the channels, for pixels scaled to [0, 1], with which the
        encoder normalizes its input. "data" takes those of X in fit, "imagenet" the constants of
        most published weights, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225); a tuple
        (mean, std) is used as it is. "auto" is "data", but with ``weights`` the constants that they
        were trained with: those in the file for an estimator's or an ``encoder_``'s, and
        torchvision's for its models, unless the file has another stem or number of channels. For
        other than 3 channels, constants of 3 become their mean. What was taken is in
        ``encoder_.mean`` and ``encoder_.std``.

    Examples
    --------
    >>> from sklearn_ssl import Images, SimCLRTransformer
    >>> simclr = SimCLRTransformer(input=Images(channels="last", value_range=(0, 4095)))
    """

    channels: str = "auto"
    value_range: object = "auto"
    normalization: object = "auto"

    def __post_init__(self):
        if self.channels not in CHANNELS:
            raise ValueError(f"channels must be one of {CHANNELS}. Got {self.channels!r} instead.")
        if not _is_auto(self.value_range):
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
    """Return how the images in X are described to an estimator."""
    return Images() if _is_auto(estimator.input) else estimator.input


def _is_auto(value):
    return isinstance(value, str) and value == "auto"


def _pair(name, value, form):
    """Return two arrays, of shape () or (n_channels,), that a parameter holds."""
    try:
        first, second = (np.asarray(part, np.float64) for part in value)
        np.broadcast_shapes(first.shape, second.shape)
    except (TypeError, ValueError):
        first = second = np.zeros((0, 0))
    if first.ndim > 1 or second.ndim > 1:
        raise ValueError(
            f"{name} must be {form}, numbers or sequences with one for each channel. Got {value!r} "
            "instead."
        )
    return first, second
