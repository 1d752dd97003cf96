"""Sources of samples, batch by batch on a device, and the scaling of their values."""

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
    typical_levels,
    warn_of_outliers,
)
from sklearn_ssl.data.spec import ImageSpec, Spec, Stored, TableSpec

# Passes over all samples use parts of about this many values: 16 MB as float32.
CHUNK_VALUES = 2**22
DIGEST_VALUES = 2**16
# All samples are stored on a GPU if they take at most this share of its free memory.
DEVICE_SHARE = 0.25
# Dtypes of NumPy that torch supports; others are converted to floats batch by batch.
TORCH_TYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@dataclass(frozen=True)
class ArraySource:
    """Samples of an array, batch by batch, in the dtype of the array.

    ``array`` is never copied. A batch has shape (n, c, h, w) for images and (n, n_features) for
    tabular data.
    """

    array: np.ndarray
    sample_shape: tuple  # as stored: (h, w), (h, w, c), (c, h, w) or (n_features,)
    channel_axis: int | None = None  # of sample_shape; None for tabular data and gray images
    spec: Spec | None = None

    def __post_init__(self):
        if self.spec is None:
            kind, n_features = (
                ImageSpec if self.is_image else TableSpec,
                math.prod(self.sample_shape),
            )
            object.__setattr__(self, "spec", kind(self.shape, n_features))

    def __len__(self):
        return len(self.array)

    @property
    def is_image(self):
        """Whether samples are images, not tabular data."""
        return len(self.sample_shape) > 1

    @property
    def shape(self):
        """Shape of a sample as network input: (c, h, w) for images, else (n_features,)."""
        if self.is_image and self.channel_axis is None:
            return (1, *self.sample_shape)
        if self.channel_axis == 2:
            return (self.sample_shape[2], *self.sample_shape[:2])
        return self.sample_shape

    def batch(self, indices, device="cpu"):
        """Return the samples at these indices (an array or a slice) on a device."""
        return self._as_seen(self._stored(indices, device).to(device, non_blocking=True))

    def _stored(self, indices, device):
        """Return samples as stored, as a tensor of a supported dtype to copy to a device."""
        samples = np.asarray(self.array[indices])
        if samples.dtype.name not in TORCH_TYPES or not samples.dtype.isnative:
            short = samples.dtype.itemsize <= 2 or samples.dtype.name == "float32"
            samples = samples.astype(np.float32 if short else np.float64)
        elif isinstance(indices, slice):
            samples = samples.copy()  # torch shares memory, which must be writable and contiguous
        samples = torch.from_numpy(samples)
        if torch.device(device).type == "cuda":
            samples = samples.pin_memory()  # for an asynchronous copy
        return samples

    def _as_seen(self, samples):
        """Return samples as stored in the shape of network input."""
        samples = samples.reshape(len(samples), *self.sample_shape)
        if self.is_image and self.channel_axis is None:
            return samples[:, None]
        return samples.permute(0, 3, 1, 2) if self.channel_axis == 2 else samples

    def laid_out(self, images):
        """Return images (n, c, h, w) in the layout of the samples, by default channels last."""
        if self.channel_axis is None and images.shape[1] == 1:
            return images[:, 0]
        return images if self.channel_axis == 0 else images.transpose(0, 2, 3, 1)

    def batches(self, order, device, rng=None):
        """Yield the batch of each row of indices; the next one is prefetched by a thread.

        ``rng`` is a NumPy generator for random crops of the samples.
        """
        with ThreadPoolExecutor(1) as fetcher:
            fetched = (fetcher.submit(self._stored, indices, device) for indices in order)
            for samples in one_behind(fetched):
                # Copied by the calling thread, as CUDA streams belong to threads.
                yield self._as_seen(samples.result().to(device, non_blocking=True))

    def blank(self, device):
        """Return a batch of one sample, for shapes of results if no sample could be read."""
        return torch.zeros(1, *self.shape, dtype=torch.uint8, device=device)

    def aligned(self, results):
        """Return the results of all samples, with one row for each sample of X."""
        return results

    def read(self):
        """Return the source itself, as its samples are already in an array."""
        return self

    def content(self, by_content=False):
        """Return what identifies the samples: shape, dtype and a hash of their values."""
        values = hashlib.sha256()
        for part in self.parts():
            values.update(np.ascontiguousarray(self.array[part]))
        shape = len(self), self.sample_shape, self.channel_axis
        return [shape, self.array.dtype.str, values.digest()]

    def digests(self):
        """Return a hash of each sample, (n,) int64, that is equal for samples of equal values.

        It does not depend on layout, dtype and byte order: values are hashed as float32 in the
        order of network input, and integers from 0 to 255 as bytes, in a quarter of the time.
        """
        hashes = np.empty(len(self), np.int64)
        # Parts that fit in the CPU cache.
        for part in gen_batches(len(self), max(1, DIGEST_VALUES // math.prod(self.sample_shape))):
            # NumPy avoids the synchronization of torch's threads in each of these short steps.
            values = self.batch(part).numpy()
            values = np.ascontiguousarray(values.reshape(len(values), -1))
            if values.dtype != np.uint8:
                with np.errstate(invalid="ignore", over="ignore"):
                    as_bytes, values = values.astype(np.uint8), values.astype(np.float32)
                whole = (as_bytes == values).all(axis=1)
                if not whole.all():
                    hashes[part] = np.where(whole, sums_of(as_bytes), sums_of(values + 0))  # no -0.
                    continue
                values = as_bytes
            hashes[part] = sums_of(values)
        return hashes

    def near(self, device, verbose=0):
        """Return the source for training: on the GPU if it has memory for all samples."""
        if device.type == "cpu":
            return self
        size = len(self) * self._stored(slice(1), "cpu").nbytes
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + cached
        fits = size <= DEVICE_SHARE * free
        if verbose:
            what = f"is stored on {device}" if fits else f"is copied to {device} batch by batch"
            print(f"X {what}: it takes {size / 1e9:.3g} GB, {free / 1e9:.3g} GB are free.")
        return self.moved(device) if fits else self

    def moved(self, device):
        """Return a source of the same samples, stored on a device."""
        first = self._stored(slice(1), "cpu")
        samples = first.new_empty((len(self), *first.shape[1:]), device=device)
        for part in self.parts():
            samples[part] = self._stored(part, device)
        return DeviceSource(self._as_seen(samples), self.sample_shape, self.channel_axis, self.spec)

    def parts(self):
        """Slices that cover the samples in order, each of about ``CHUNK_VALUES`` values."""
        return gen_batches(len(self), max(1, CHUNK_VALUES // math.prod(self.sample_shape)))


@dataclass(frozen=True)
class DeviceSource(ArraySource):
    """Samples stored on a device, in a tensor of the shape of network input."""

    array: torch.Tensor

    def batch(self, indices, device=None):
        """Return the samples at these indices (a tensor on the device, or a slice)."""
        return self.array[indices]

    def batches(self, order, device=None, rng=None):
        """Yield the batch of each row of indices; these are copied to the device in one call."""
        yield from (self.array[row] for row in torch.as_tensor(order).to(self.array.device))


@dataclass(frozen=True)
class ImagesSource(ArraySource):
    """Images that were decoded one by one, without those that could not be read.

    Batches are center crops, and in training random crops, drawn again in each epoch.
    """

    array: StoredImages
    rows: np.ndarray | None = None  # indices of the images in X
    n_rows: int = 0  # of X

    def batches(self, order, device, rng=None):
        """Yield the batch of each row of indices: random crops with ``rng``, else center crops."""
        moved = self if rng is None else replace(self, array=self.array.moved(rng))
        return ArraySource.batches(moved, order, device)

    def content(self, by_content=False):
        """Return what identifies the images, including pixels outside of the center crops."""
        values = hashlib.sha256()
        places = self.array.places
        for image in pixels_at(self.array.blocks, places):
            values.update(np.ascontiguousarray(image))
        about = places["shape"], places["kind"]
        return [self.array.shape, *about, self.rows, self.n_rows, values.digest()]

    def aligned(self, results):
        """Return the results with one row for each sample of X, NaN or -1 for unreadable images."""
        if len(self.rows) == self.n_rows:
            return results
        if results.dtype.kind == "u":
            results = results.astype(np.promote_types(results.dtype, np.int8))
        missing = np.nan if results.dtype.kind == "f" else -1
        filled = np.full((self.n_rows, *results.shape[1:]), missing, results.dtype)
        filled[self.rows] = results
        return filled

    def near(self, device, verbose=0):
        """Return the source for training: on the GPU if it has memory and no image is cropped."""
        if device.type == "cpu" or self.array.fits:
            return super().near(device, verbose)
        if verbose:
            print(f"X is copied to {device} batch by batch: its images are not square.")
        return self


@dataclass(frozen=True)
class Scaling(Stored):
    """Affine scaling from the values in X to the input of views and encoder.

    Images are scaled and clipped to [0, 1]; mean and standard deviation of their channels are
    stored for the encoder, to normalize views. Tabular data is standardized.
    """

    offset: np.ndarray  # float64, of shape () or (c,) for images, (n_features,) for tabular data
    scale: np.ndarray
    mean: np.ndarray  # after scaling, float32 of shape (c,) or (n_features,)
    std: np.ndarray
    levels: np.ndarray | None = None  # (4,), typical_levels of the images in fit
    ranges: dict = field(default_factory=dict)  # of listed images that are not 8-bit

    def described(self):
        """Return metadata of exported models: none, as these scale their input."""
        return {}

    @property
    def is_bytes(self):
        """Whether the range is that of bytes, from 0 to 255."""
        return self.offset.ndim == 0 and self.offset == 0 and self.scale == 1 / 255

    def on(self, device):
        """Return the scaling as a function of batches on a device."""
        if not len(self.mean):
            # Features of large mean and small variance need float64 until they are centered.
            offset, scale = (torch.as_tensor(v, device=device) for v in (self.offset, self.scale))
            return lambda batch: ((batch - offset) * scale).float()
        (offset, scale), is_bytes = self._of_channels(device), self.is_bytes

        def scaled(batch):
            wide = _floating(batch)
            if wide is batch or not is_bytes:  # else it is a copy, which is scaled in place
                wide = wide - offset
            wide = wide.mul_(scale).float()
            return wide if is_bytes and batch.dtype == torch.uint8 else wide.clamp_(0, 1)

        return scaled

    def _of_channels(self, device):
        """Return offset and scale for batches of images; scalars preserve the dtype of a batch."""
        if self.offset.ndim == 0:
            return self.offset.item(), self.scale.item()
        return [torch.as_tensor(v, device=device)[:, None, None] for v in (self.offset, self.scale)]

    def undone(self, images, as_bytes):
        """Return images in the value range of X, rounded to bytes on request."""
        offset, scale = self._of_channels(images.device)
        values = (images.float() / scale + offset).float()
        return values.round().clamp(0, 255).byte() if as_bytes else values

    def check(self, source, name):
        """Raise, or warn for few images, if they are on another scale than those in fit."""
        as_in_fit = self.is_bytes and source.array.dtype == np.uint8
        if self.levels is None or as_in_fit or not len(source):
            return
        lows, highs = extremes(source)
        check_levels(self.levels, lows, highs, self.offset, self.scale, source.array.dtype, name)


def extremes(source):
    """Return minimum and maximum of each channel of each image, both (n, c)."""
    lows, highs = np.empty((2, len(source), source.shape[0]))
    for part in source.parts():
        batch = source.batch(part)
        lows[part], highs[part] = batch.amin(dim=(2, 3)), batch.amax(dim=(2, 3))
    return lows, highs


def sums_of(values):
    """Return a hash of each row: its 32-bit words times random 64-bit numbers, summed."""
    words = values.view(np.uint8)
    if words.shape[1] % 4:
        words = np.pad(words, ((0, 0), (0, -words.shape[1] % 4)))
    words = words.view(np.uint32)
    factors = np.random.default_rng(0).integers(2**64, size=words.shape[1], dtype=np.uint64)
    return (words * factors).sum(axis=1, dtype=np.uint64).view(np.int64)


def _floating(batch):
    """Return a batch as float32, or as float64 if float32 would lose precision."""
    wide = batch.dtype in (torch.float64, torch.int32, torch.int64)
    return batch.double() if wide else batch.float()


def one_behind(items):
    """Yield items in order, each after the next one has been requested."""
    waiting = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def learn_standardization(source, standardize=True):
    """Learn the scaling of tabular data, which leaves it as it is if not ``standardize``."""
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


def learn_scaling(source, value_range="auto"):
    """Learn the scaling of images; ``value_range`` is a parameter of ``Images``."""
    n_channels, rng, pixels = source.shape[0], np.random.default_rng(0), []
    lows, highs = np.empty((2, len(source), n_channels))
    ranges = getattr(source.array, "ranges", None)
    if ranges is not None:  # listed images, already converted to bytes with their value range
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
        warn_of_outliers(where, pixels[:, i], low[i], high[i], *bounds)
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
    """Return the mean and standard deviation of each channel or feature over all batches."""
    count, mean, square = 0, 0.0, 0.0  # square: sum of (x - mean)^2
    for batch in batches:
        variance, part_mean = torch.var_mean(_floating(batch), dim=axes, correction=0)
        part_mean, variance = part_mean.double().numpy(), variance.double().numpy()
        # Parallel algorithm of Chan et al. for mean and variance.
        n, difference = len(batch), part_mean - mean
        total = count + n
        with np.errstate(over="ignore", invalid="ignore"):  # see _check_statistics
            square = square + variance * n + difference**2 * (count * n / total)
            mean, count = mean + difference * (n / total), total
    return mean, np.sqrt(square / count)


def _check_statistics(low, high, std=0.0):
    """Raise if all values are equal, or the standard deviation overflows."""
    if low == high:
        raise ValueError(
            f"Every value in X equals {low}, so there is nothing to learn. Check how X was loaded."
        )
    if not np.isfinite(std).all():
        raise ValueError(
            f"The values of X, from {low} to {high}, are too large to standardize. Scale them down."
        )


def _drawn(batch, share, rng):
    """Return the channels (k, c) of a random sample of the pixels of a batch."""
    n, _, height, width = batch.shape
    places = rng.integers(n * height * width, size=math.ceil(share * n * height * width))
    image, row, column = np.unravel_index(places, (n, height, width))
    return batch[image, :, row, column]


def _for_channels(values, n_channels):
    """Return one value per channel of a given ``value_range``."""
    if values.shape not in ((), (n_channels,)):
        raise ValueError(
            f"value_range of Images has values for {len(values)} channels, but the images of X "
            f"have {n_channels}."
        )
    return np.broadcast_to(values, n_channels).copy()
