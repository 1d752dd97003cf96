"""Range of pixel values, from black to white, learned robustly to outliers and nodata values."""

import numpy as np

from sklearn_ssl._runtime.warnings import tell

# Number of pixels sampled to find outliers: per channel, and in total.
PIXELS, ALL_PIXELS = 2**18, 2**22
# A pixel is an outlier if its distance from the median is larger than FAR times the 90 % quantile
# of the distances of pixels that differ from the median.
FAR, QUANTILE = 30, 0.9
# Common nodata values; a single negative value is one as well. The gap to the other values has to
# be larger than GAP or GAP_NEGATIVE times the range of these.
NODATA = 255, 9999, 32767, 32768, 65535, 99999, 2**31 - 1, 2**31
HUGE, GAP, GAP_NEGATIVE = 1e9, 2, 0.5
# White of integers of 8, 10, 12, 14 and 16 bits, used if values reach more than half of it.
WHITE = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
# Each channel has its own range if the range of one is less than this share of the common one.
OWN_RANGE = 1 / 16
# Images are on another scale than those in fit if values exceed LARGEST times the range, or if all
# amplitudes are below FAINTEST times that of bright images in fit, or FAINTER times that of the
# faint ones (quantile FEW).
LARGEST, FAINTEST, FAINTER, FEW = 3, 1 / 12, 0.25, 0.05
MANY = 10  # for fewer images, another scale is a warning instead of an error


def drawn_pixels(n_channels):
    """Return the number of pixels per channel to sample for ``learned_range``."""
    return min(PIXELS, ALL_PIXELS // n_channels)


def learned_range(pixels, low, high, *, integers=False):
    """Return the values of black and white of a channel.

    ``pixels`` is a sample of its pixels, ``low`` and ``high`` are the extremes of all of them.
    """
    low, high = bulk(pixels, low, high)
    if low < 0:
        high = max(high, -low)  # images in [-1, 1] and standardized ones: 0 is middle gray
        return -high, high
    if low <= high - low:
        low = 0  # black is 0
        if integers:
            high = next((white for white in WHITE if white / 2 < high <= white), high)
    return low, high


def usual_range(dtype, low, high, *, in_fit):
    """Return the conventional range of floats from 0 to 1, None if there is no convention.

    For images after a fit on bytes also those of values from 0 to 255, and of 16-bit integers.
    """
    if low < 0:
        return None
    if dtype.kind == "f" and high <= 1:
        return 0, 1
    if not in_fit and high <= 255:
        return 0, 255
    return (0, 65535) if not in_fit and dtype.kind == "i" and 16383 < high <= 65535 else None


def warn_of_outliers(name, pixels, low, high, black, white):
    """Warn if there are pixels outside of the learned range."""
    if black <= low and high <= white:
        return
    share = np.mean((pixels >= black) & (pixels <= white))
    tell(
        f"{name} holds values from {low:g} to {high:g}, {share:.2%} of them from {black:g} to "
        f"{white:g}. Values outside, such as hot pixels or nodata values, are clipped to this "
        "range. If they are valid, set input=Images(value_range=(low, high)), otherwise replace "
        "them in X."
    )


def bulk(pixels, low, high):
    """Return the extremes without nodata values and outliers."""
    while len(values := np.unique(pixels)) > 3:
        rest_of_low, rest_of_high = values[-1] - values[1], values[-2] - values[0]
        if low == values[0] < 0 and (
            (values[1] >= 0 and -low > GAP_NEGATIVE * rest_of_low)
            or (_is_nodata(low) and values[1] - low > GAP * rest_of_low)
        ):
            pixels, low = pixels[pixels > low], values[1]
        elif high == values[-1] and _is_nodata(high) and high - values[-2] > GAP * rest_of_high:
            pixels, high = pixels[pixels < high], values[-2]
        else:
            break
    median = np.median(pixels)
    distance = np.abs(pixels - median)
    distance = distance[distance > 0]
    reach = FAR * np.quantile(distance, QUANTILE) if len(distance) else np.inf
    if low < median - reach:
        low = pixels[pixels >= median - reach].min()
    if high > median + reach:
        high = pixels[pixels <= median + reach].max()
    return low, high


def _is_nodata(value):
    return abs(value) in NODATA or abs(value) > HUGE


def common_or_own(ranges):
    """Return one range (2,) for all channels, or one per channel (c, 2) if they differ too much.

    Constant channels are ignored.
    """
    ranges = np.asarray(ranges, np.float64)
    widths = ranges[:, 1] - ranges[:, 0]
    varies = widths > 0
    common = np.array([ranges[varies, 0].min(), ranges[varies, 1].max()])
    if (widths[varies] >= OWN_RANGE * (common[1] - common[0])).all():
        return common
    ranges[~varies, 1] = ranges[~varies, 0] + 1
    return ranges


def levels(lows, highs, offset, scale):
    """Return darkest value, brightest value and amplitude of images, (n,) each, scaled to a range.

    ``lows`` and ``highs`` (n, c) are the extremes of each channel of each image.
    """
    floors, peaks = ((lows - offset) * scale).min(axis=1), ((highs - offset) * scale).max(axis=1)
    signed = np.min(offset) < 0
    return floors, peaks, np.maximum(2 * peaks - 1, 1 - 2 * floors) if signed else peaks


def typical_levels(floors, peaks, amplitudes):
    """Return the statistics of images in fit, (4,), that ``check_levels`` compares with.

    The amplitude of faint and of bright images, the darkest value of bright ones, and the share
    of images with values far out of range, such as nodata values.
    """
    varies = peaks > floors
    faint, bright = np.quantile(amplitudes[varies], [FEW, 1 - FEW]) if varies.any() else (0, 0)
    return np.array([faint, bright, np.quantile(floors, 1 - FEW), _far_out(floors, peaks).mean()])


def check_levels(typical, lows, highs, offset, scale, dtype, name):
    """Raise, or warn for few images, if they are on another scale than those in fit."""
    faint, bright, bright_floor, far_out = typical
    floors, peaks, amplitudes = levels(lows, highs, offset, scale)
    varies, low, high, white = peaks > floors, lows.min(), highs.max(), np.max(offset + 1 / scale)
    certain = len(lows) >= MANY
    # A quantile, as some of many images may have outliers.
    brightest = np.quantile(amplitudes[varies], 0.9, method="lower") if varies.any() else 0.0
    if _far_out(floors, peaks).mean() > max(0.5, 2 * far_out):
        certain = True
    elif 0 < brightest < max(FAINTEST * bright if certain else 0, FAINTER * faint):
        certain |= dtype.kind == "f" and 0 <= low <= high <= 1 and white >= 4
    elif not (varies.any() and bright_floor < 0.25 and floors.min() >= 0.5):  # 0.5 is a value of 0
        return
    text = (
        f"X holds {dtype} images with values from {low:g} to {high:g}, but {name} was fitted on "
        f"values from {np.min(offset):g} to {white:g}. Features of images on another scale are "
        "meaningless. Scale X to the range in fit"
    )
    if 0 <= low <= high <= 1 and white == 255:
        text += ", with X * 255"
    elif np.min(offset) == 0 and white <= 1 and low >= 0 and 1 < high <= 255:
        text += ", with X / 255"
    if certain:
        raise ValueError(f"{text}, or fit on images of this scale.")
    tell(f"{text}, unless these few images really are that faint.")


def _far_out(floors, peaks):
    return (peaks > LARGEST) | (floors < -0.9)
