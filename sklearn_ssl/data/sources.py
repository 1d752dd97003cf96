"""Samples as training and embedding see them: batches on a device, and their scale."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_ssl.data.decoded_images import pixels_at
from sklearn_ssl.data.image_lists import StoredImages
from sklearn_ssl.data.pixel_range import (
    check_levels,
    common_or_own,
    drawn_pixels,
    learned_range,
    levels,
    tell_of_outliers,
    typical_levels,
)

# Samples are looked over in parts of about this many values: 16 MB as float32.
CHUNK_VALUES = 2**22
DIGEST_VALUES = 2**16
# All are stored on a GPU where they take at most this share of its free memory.
DEVICE_SHARE = 0.25
# The number types of NumPy that torch computes with; others become float32, batch by batch.
TORCH_TYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@dataclass(frozen=True)
class ArraySource:
    """Samples of an array, batch by batch, in the array's own number type.

    ``array`` is used as it is, never copied. A batch has the shape (n, c, h, w) for images and
    (n, n_features) for rows.
    """

    array: np.ndarray
    sample_shape: tuple  # as stored: (h, w), (h, w, c), (c, h, w) or (n_features,)
    channel_axis: int | None = None  # of sample_shape; None for rows and gray images

    def __len__(self):
        return len(self.array)

    @property
    def is_image(self):
        """Whether samples are images, and not rows."""
        return len(self.sample_shape) > 1

    @property
    def kind(self):
        """What a sample is: "image" or "table"."""
        return "image" if self.is_image else "table"

    @property
    def shape(self):
        """Shape of a sample as networks see it: (c, h, w) for images, (n_features,) for rows."""
        if self.is_image and self.channel_axis is None:
            return (1, *self.sample_shape)
        if self.channel_axis == 2:
            return (self.sample_shape[2], *self.sample_shape[:2])
        return self.sample_shape

    def batch(self, indices, device="cpu"):
        """Return the samples of these indices (an array or a slice) on a device."""
        return self._as_seen(self._stored(indices, device).to(device, non_blocking=True))

    def _stored(self, indices, device):
        """Return samples as stored, in a number type that torch computes with, to be copied."""
        samples = np.asarray(self.array[indices])
        if samples.dtype.name not in TORCH_TYPES or not samples.dtype.isnative:
            short = samples.dtype.itemsize <= 2 or samples.dtype.name == "float32"
            samples = samples.astype(np.float32 if short else np.float64)
        elif isinstance(indices, slice):
            samples = samples.copy()  # torch shares memory, which must be writable and in order
        samples = torch.from_numpy(samples)
        if torch.device(device).type == "cuda":
            samples = samples.pin_memory()  # else the copy would wait for all that runs there
        return samples

    def _as_seen(self, samples):
        """Return samples as stored in the shape that networks see."""
        samples = samples.reshape(len(samples), *self.sample_shape)
        if self.is_image and self.channel_axis is None:
            return samples[:, None]
        return samples.permute(0, 3, 1, 2) if self.channel_axis == 2 else samples

    def laid_out(self, images):
        """Return images (n, c, h, w) with channels where those of the samples are, or last."""
        if self.channel_axis is None and images.shape[1] == 1:
            return images[:, 0]
        return images if self.channel_axis == 0 else images.transpose(0, 2, 3, 1)

    def batches(self, order, device, rng=None):
        """Yield the samples of each row of indices, the next fetched while these are in use.

        ``rng``, a NumPy generator, decides what is random about the samples themselves.
        """
        with ThreadPoolExecutor(1) as fetcher:
            fetched = (fetcher.submit(self._stored, indices, device) for indices in order)
            for samples in one_behind(fetched):
                # Copied by the thread that uses them: streams of a GPU belong to threads.
                yield self._as_seen(samples.result().to(device, non_blocking=True))

    def aligned(self, results):
        """Return results of all samples with one for each row of X."""
        return results

    def read(self):
        """Return the source itself, which has nothing left to read."""
        return self

    def content(self, by_content=False):
        """Return what tells the samples from others: their shape, number type and values."""
        values = hashlib.sha256()
        for part in self.parts():
            values.update(np.ascontiguousarray(self.array[part]))
        shape = len(self), self.sample_shape, self.channel_axis
        return [shape, self.array.dtype.str, values.digest()]

    def digests(self):
        """Return a number for each sample, (n,) int64, which samples of equal values share.

        Layout, number type and byte order do not count: values are compared as float32, in the
        order in which networks see them, and whole numbers from 0 to 255 as bytes, which take a
        quarter of the time.
        """
        told = np.empty(len(self), np.int64)
        # Parts that stay in the processor's cache from one step to the next.
        for part in gen_batches(len(self), max(1, DIGEST_VALUES // math.prod(self.sample_shape))):
            # By NumPy: torch's threads would wait for each other in each of these short steps.
            values = self.batch(part).numpy()
            values = np.ascontiguousarray(values.reshape(len(values), -1))
            if values.dtype != np.uint8:
                with np.errstate(invalid="ignore", over="ignore"):
                    as_bytes, values = values.astype(np.uint8), values.astype(np.float32)
                whole = (as_bytes == values).all(axis=1)
                if not whole.all():
                    told[part] = np.where(whole, sums_of(as_bytes), sums_of(values + 0))  # no -0.0
                    continue
                values = as_bytes
            told[part] = sums_of(values)
        return told

    def near(self, device, verbose=0):
        """Return the source to train from: one on a GPU that has room for all samples there."""
        if device.type == "cpu":
            return self
        size = len(self) * self._stored(slice(1), "cpu").nbytes
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + cached
        fits = size <= DEVICE_SHARE * free
        if verbose:
            what = f"lies on {device}" if fits else f"is copied to {device} batch by batch"
            print(f"X {what}: it takes {size / 1e9:.3g} GB, {free / 1e9:.3g} GB are free there.")
        return self.moved(device) if fits else self

    def moved(self, device):
        """Return a source of the same samples that lie on a device."""
        first = self._stored(slice(1), "cpu")
        samples = first.new_empty((len(self), *first.shape[1:]), device=device)
        for part in self.parts():
            samples[part] = self._stored(part, device)
        return DeviceSource(self._as_seen(samples), self.sample_shape, self.channel_axis)

    def parts(self):
        """Slices that cover the samples in order, each small beside the memory."""
        return gen_batches(len(self), max(1, CHUNK_VALUES // math.prod(self.sample_shape)))


@dataclass(frozen=True)
class DeviceSource(ArraySource):
    """The same where all samples lie on a device, in a tensor of the shape that networks see."""

    array: torch.Tensor

    def batch(self, indices, device=None):
        """Return the samples of these indices (a tensor on the device, or a slice)."""
        return self.array[indices]

    def batches(self, order, device=None, rng=None):
        """Yield the samples of each row of indices, which are copied to the device at once."""
        yield from (self.array[row] for row in torch.as_tensor(order).to(self.array.device))


@dataclass(frozen=True)
class ImagesSource(ArraySource):
    """The same where images were decoded one by one, and some of them could not be.

    A batch holds the middle of each image, and in training another part of it in every epoch.
    """

    array: StoredImages
    rows: np.ndarray | None = None  # the images' rows in X
    n_rows: int = 0  # of X

    def batches(self, order, device, rng=None):
        """Yield the samples of each row of indices, each cut at a random place of its image."""
        moved = self if rng is None else replace(self, array=self.array.moved(rng))
        return ArraySource.batches(moved, order, device)

    def content(self, by_content=False):
        """Return what tells the images from others: also what training sees beside the windows."""
        values = hashlib.sha256()
        places = self.array.places
        for image in pixels_at(self.array.blocks, places):
            values.update(np.ascontiguousarray(image))
        about = places["shape"], places["kind"]
        return [self.array.shape, *about, self.rows, self.n_rows, values.digest()]

    def aligned(self, results):
        """Return results with a row for each row of X, NaN or -1 where there is no image."""
        if len(self.rows) == self.n_rows:
            return results
        if results.dtype.kind == "u":
            results = results.astype(np.promote_types(results.dtype, np.int8))
        missing = np.nan if results.dtype.kind == "f" else -1
        filled = np.full((self.n_rows, *results.shape[1:]), missing, results.dtype)
        filled[self.rows] = results
        return filled

    def near(self, device, verbose=0):
        """Return the source to train from: one on a GPU if it has room and nothing is cut off."""
        if device.type == "cpu" or self.array.fits:
            return super().near(device, verbose)
        if verbose:
            print(f"X is copied to {device} batch by batch: its images are not squares.")
        return self


@dataclass(frozen=True)
class Scaling:
    """The affine map from the values in X to those that views and encoder work on.

    Images get values in [0, 1], to which values outside are clipped, and keep the mean and standard
    deviation of their channels, for the encoder to normalise views with. Rows are standardised.
    """

    offset: np.ndarray  # float64, of shape () or (c,) for images, (n_features,) for rows
    scale: np.ndarray
    mean: np.ndarray  # after scaling, float32 of shape (c,) or (n_features,)
    std: np.ndarray
    levels: np.ndarray | None = None  # (4,), how the images in fit fill their range
    ranges: dict = field(default_factory=dict)  # of listed images that are no plain bytes

    @property
    def is_bytes(self):
        """Whether values are bytes as they are, from 0 to 255."""
        return self.offset.ndim == 0 and self.offset == 0 and self.scale == 1 / 255

    def on(self, device):
        """Return the map as a function of batches on a device."""
        if not len(self.mean):
            # Rows of large values and small spread need float64 until the offset is gone.
            offset, scale = (torch.as_tensor(v, device=device) for v in (self.offset, self.scale))
            return lambda batch: ((batch - offset) * scale).float()
        (offset, scale), is_bytes = self._of_channels(device), self.is_bytes

        def scaled(batch):
            wide = _floating(batch)
            if wide is batch or not is_bytes:  # else it is a copy, which may be changed in place
                wide = wide - offset
            wide = wide.mul_(scale).float()
            return wide if is_bytes and batch.dtype == torch.uint8 else wide.clamp_(0, 1)

        return scaled

    def _of_channels(self, device):
        """Return offset and scale for batches of images; numbers leave the type of a batch."""
        if self.offset.ndim == 0:
            return self.offset.item(), self.scale.item()
        return [torch.as_tensor(v, device=device)[:, None, None] for v in (self.offset, self.scale)]

    def undone(self, images, as_bytes):
        """Return images with values like those in X, as bytes if X holds these."""
        offset, scale = self._of_channels(images.device)
        values = (images.float() / scale + offset).float()
        return values.round().clamp(0, 255).byte() if as_bytes else values

    def check(self, source, name):
        """Raise, or warn of few images, where they are on another scale than those in fit."""
        as_in_fit = self.is_bytes and source.array.dtype == np.uint8
        if self.levels is None or as_in_fit or not len(source):
            return
        lows, highs = extremes(source)
        check_levels(self.levels, lows, highs, self.offset, self.scale, source.array.dtype, name)


def extremes(source):
    """Return the smallest and largest value of each channel of each image, (n, c) both."""
    lows, highs = np.empty((2, len(source), source.shape[0]))
    for part in source.parts():
        batch = source.batch(part)
        lows[part], highs[part] = batch.amin(dim=(2, 3)), batch.amax(dim=(2, 3))
    return lows, highs


def sums_of(values):
    """Return the sum of each row's words of 32 bits, each times a random number of 64 bits."""
    words = values.view(np.uint8)
    if words.shape[1] % 4:
        words = np.pad(words, ((0, 0), (0, -words.shape[1] % 4)))
    words = words.view(np.uint32)
    factors = np.random.default_rng(0).integers(2**64, size=words.shape[1], dtype=np.uint64)
    return (words * factors).sum(axis=1, dtype=np.uint64).view(np.int64)


def _floating(batch):
    """Return a batch in float32, or float64 where float32 would lose digits."""
    wide = batch.dtype in (torch.float64, torch.int32, torch.int64)
    return batch.double() if wide else batch.float()


def one_behind(items):
    """Yield items in their order, each when the one after it has been made."""
    waiting = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def learn_scaling(source, value_range="auto", standardize=True):
    """Learn the scaling from all samples of a source.

    ``value_range`` is that of ``Images``, ``standardize`` that of ``Table``.
    """
    if not source.is_image:
        lows, highs = [], []

        def seen():
            for batch in map(source.batch, source.parts()):
                lows.append(batch.min().item())
                highs.append(batch.max().item())
                yield batch

        mean, std = _statistics(seen(), (0,))
        _check_statistics(min(lows), max(highs), std)
        if not standardize:
            mean, std = np.zeros_like(mean), np.ones_like(std)
        return Scaling(mean, 1 / np.where(std > 0, std, 1), np.zeros(0), np.ones(0))
    n_channels, rng, pixels = source.shape[0], np.random.default_rng(0), []
    lows, highs = np.empty((2, len(source), n_channels))
    ranges = getattr(source.array, "ranges", None)
    if ranges is not None:  # listed images, which become bytes by what was declared
        value_range = "auto"
    learns = isinstance(value_range, str) and source.array.dtype != np.uint8
    n_pixels = math.prod((len(source), *source.shape[1:]))
    share = min(1, drawn_pixels(n_channels) / n_pixels) if learns else 0

    def watched():
        for part in source.parts():
            batch = source.batch(part)
            lows[part], highs[part] = batch.amin(dim=(2, 3)), batch.amax(dim=(2, 3))
            if learns:
                pixels.append(_drawn(batch, share, rng))
            yield batch

    mean, std = _statistics(watched(), (0, 2, 3))
    low, high = lows.min(axis=0), highs.max(axis=0)
    _check_statistics(low.min(), high.max())
    if learns:
        pixels, whole = torch.cat(pixels).double().numpy(), source.array.dtype.kind in "iub"
        of_channels = zip(pixels.T, low, high, strict=True)
        value_range = common_or_own([learned_range(*c, integers=whole) for c in of_channels]).T
    elif isinstance(value_range, str):
        value_range = 0, 255
    black, white = (np.asarray(value, np.float64) for value in value_range)
    if black.ndim + white.ndim:
        black, white = _for_channels(black, n_channels), _for_channels(white, n_channels)
    outside = (low < black) | (high > white)
    if learns:
        i = int(outside.argmax())
        where = f"Channel {i} of the images in X" if n_channels > 1 else "X"
        bounds = (np.broadcast_to(value, n_channels)[i] for value in (black, white))
        tell_of_outliers(where, pixels[:, i], low[i], high[i], *bounds)
    scaling = Scaling(black, np.asarray(1 / (white - black)), mean, std)
    if outside.any():
        scaled = scaling.on("cpu")
        batches = (scaled(source.batch(part)) for part in source.parts())
        mean, std = _statistics(batches, (0, 2, 3))
    else:
        mean, std = (mean - scaling.offset) * scaling.scale, std * scaling.scale
    _check_statistics(low.min(), high.max(), std)
    return replace(
        scaling,
        mean=mean.astype("f4"),
        std=np.where(std > 0, std, 1).astype("f4"),
        levels=typical_levels(*levels(lows, highs, scaling.offset, scaling.scale)),
        ranges=ranges or {},
    )


def _statistics(batches, axes):
    """Return mean and standard deviation of each channel or feature, over all batches."""
    count, mean, square = 0, 0.0, 0.0  # square: sum of (x - mean)^2
    for batch in batches:
        variance, part_mean = torch.var_mean(_floating(batch), dim=axes, correction=0)
        part_mean, variance = part_mean.double().numpy(), variance.double().numpy()
        # Chan's update of mean and variance by another part's.
        n, difference = len(batch), part_mean - mean
        total = count + n
        with np.errstate(over="ignore", invalid="ignore"):  # checked by whom they are used
            square = square + variance * n + difference**2 * (count * n / total)
            mean, count = mean + difference * (n / total), total
    return mean, np.sqrt(square / count)


def _check_statistics(low, high, std=0.0):
    """Raise where there is nothing to learn, or values overflow."""
    if low == high:
        raise ValueError(
            f"Every value in X equals {low}, so there is nothing to learn from. "
            "Check how X was loaded."
        )
    if not np.isfinite(std).all():
        raise ValueError(
            f"The values of X, from {low} to {high}, are too large to standardise. Scale them down."
        )


def _drawn(batch, share, rng):
    """Return the channels (k, c) of a share of the pixels of a batch, drawn at random."""
    n, _, height, width = batch.shape
    places = rng.integers(n * height * width, size=math.ceil(share * n * height * width))
    image, row, column = np.unravel_index(places, (n, height, width))
    return batch[image, :, row, column]


def _for_channels(values, n_channels):
    """Return a value for each channel of what was declared."""
    if values.shape not in ((), (n_channels,)):
        raise ValueError(
            f"value_range of Images has values for {len(values)} channels, but the images of X "
            f"have {n_channels}."
        )
    return np.broadcast_to(values, n_channels).copy()
