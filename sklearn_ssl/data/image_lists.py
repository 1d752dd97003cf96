"""Images listed in X, such as paths of files: detection, parallel decoding and storage."""

import contextlib
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from numbers import Number
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse

from sklearn_ssl.data.decoded_images import KINDS, ImageStore, file_key, pixels_at
from sklearn_ssl.data.image_decoding import (
    UnreadableImage,
    explained,
    image_in,
    is_image,
    is_missing,
    read_image,
    shorter_side,
)
from sklearn_ssl.data.on_disk import OnDisk
from sklearn_ssl.data.pixel_range import (
    check_levels,
    drawn_pixels,
    learned_range,
    levels,
    typical_levels,
    usual_range,
    warn_of_outliers,
)

# Images per joblib task, and tasks per worker between two writes.
TASK, TASKS = 16, 8
# Number of evenly spaced images that determine the size.
LOOKED_AT = 100
# Maximum number of unreadable images listed in an error.
NAMED = 10
# Weights of red, green and blue for conversion to gray, of ITU-R 601 and Pillow.
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class StoredImages:
    """Decoded images as an array of bytes (n, h, w, c), of which only parts are created.

    The images are stored in blocks and may be larger than (h, w): the array contains crops. Gray
    images are repeated to three channels if color is needed, and color is converted to gray.
    Images of more than 8 bits are scaled to bytes by the range of their dtype.
    """

    blocks: list  # of bytes, in memory or memory-mapped
    places: np.ndarray  # locations of the images in the blocks
    shape_of_one: tuple  # (h, w, c)
    windows: np.ndarray | None = None  # (n, 2) crop positions from 0 (top, left) to 1; None: center
    ranges: dict = field(default_factory=dict)  # black and white of images that are not 8-bit

    dtype = np.dtype(np.uint8)

    def __len__(self):
        return len(self.places)

    @property
    def shape(self):
        """Shape of the array."""
        return (len(self), *self.shape_of_one)

    @property
    def fits(self):
        """Whether no image is cropped."""
        return bool((self.places["shape"][:, :2] == self.shape_of_one[:2]).all())

    def moved(self, rng):
        """Return the same images with random crops."""
        return replace(self, windows=rng.random((len(self), 2), np.float32))

    def __getitem__(self, indices):
        places = self.places[indices]
        sizes, (height, width, channels) = places["shape"], self.shape_of_one
        shares = 0.5 if self.windows is None else self.windows[indices]
        corners = (shares * (sizes[:, :2] - (height, width) + 1 - 1e-3)).astype(int)
        taken = np.empty((len(places), height, width, channels), np.uint8)
        parts = pixels_at(self.blocks, places), places["kind"].tolist(), corners.tolist()
        for window, image, kind, (top, left) in zip(taken, *parts, strict=True):
            image = image[top : top + height, left : left + width]
            if kind in self.ranges:
                black, white = self.ranges[kind][:2]
                share = (image.astype(np.float64) - black) / (white - black)
                image = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
            if image.shape[2] > channels:
                image = np.rint(image @ LUMINANCE)[:, :, None]
            window[:] = image  # gray to color by broadcasting
        return taken


def listed_images(X, expected=False):
    """Return the images listed in X, which can be indexed, or None if X is an array of numbers.

    X may be a list, an array, a column or a dataset. If images are ``expected``, missing values
    are missing images.
    """
    if isinstance(X, Mapping | str | bytes | PathLike | OnDisk) or issparse(X):
        return None
    column = X
    if hasattr(X, "columns"):
        column = X[X.columns[0]] if len(X.columns) == 1 else None
    elif _is_array(X) and len(getattr(X, "shape", ())) == 2:
        column = X[:, 0] if X.shape[1] == 1 else None
    if _is_array(column):
        if len(getattr(column, "shape", ())) != 1:
            return None
    elif not isinstance(column, list | tuple):
        is_set = hasattr(column, "__len__") and hasattr(column, "__getitem__")
        if not is_set or not len(column):
            return None
        first = _fetched(column, 0)
        return None if not isinstance(first, UnreadableImage) and _is_row(first) else column
    first = next((item for item in column if not is_missing(item)), None)
    if first is None:
        return list(column) if expected else None
    if isinstance(first, np.ndarray | torch.Tensor) and isinstance(X, list | tuple):
        equal = len({getattr(item, "shape", None) for item in X}) == 1
        if equal and not expected:
            return None
    if not _holds_image(first):
        return None
    return column if isinstance(column, list | tuple | np.ndarray) else list(column)


def _is_array(X):
    return any(hasattr(X, f"__{name}__") for name in ("array", "array_namespace", "dlpack"))


def _holds_image(item):
    """Return whether an item of a list is an image, a pair with an image, or a dict."""
    if isinstance(item, list | tuple) and len(item):
        shapes = [getattr(part, "shape", None) for part in item]
        planes = shapes[0] is not None and shapes == shapes[:1] * len(shapes)
        row = isinstance(item, list) and len(item) > 1
        return is_image(item[0]) and not planes and not row
    return is_image(item) or isinstance(item, Mapping)


def stacked_items(dataset):
    """Return the items of a dataset of arrays, or the first elements of its pairs, as an array."""
    rows = []
    for i in range(len(dataset)):  # a dataset need not raise IndexError
        row = _fetched(dataset, i)
        if isinstance(row, UnreadableImage):
            raise ValueError(f"Item {i} of X cannot be read: {row}.")
        if isinstance(row, list | tuple) and not all(isinstance(x, Number) for x in row):
            row = row[0]
        row = np.asarray(row.detach().cpu() if isinstance(row, torch.Tensor) else row)
        if not row.ndim:
            raise ValueError(
                f"Item {i} of X is, or begins with, a number. Items must be images, arrays of "
                "numbers, dicts with an image, or pairs (image, label)."
            )
        if rows and row.shape != rows[0].shape:
            raise ValueError(
                f"Items of X have different shapes: {rows[0].shape} of item 0, {row.shape} of item "
                f"{i}."
            )
        rows.append(row)
    if not rows:
        raise ValueError("X is an empty dataset.")
    return np.stack(rows)


def typical_size(images, largest, channels):
    """Return the median of the shorter sides of images, rounded down to a multiple of 32."""
    sides = []
    for row in np.linspace(0, len(images) - 1, min(len(images), LOOKED_AT)).astype(int).tolist():
        with contextlib.suppress(UnreadableImage):  # reported when all images are read
            sides.append(shorter_side(_fetched(images, row), channels))
    size = min(largest, int(np.median(sides))) if sides else largest
    return size if size < 32 else size - size % 32


def content_keys(images, by_content):
    """Return keys that identify listed files and bytes; None if the list contains other items.

    Files are identified by path, size and modification time, or by their content.
    """
    if not _is_list(images):
        return None
    parts = []
    for image in images:
        with contextlib.suppress(UnreadableImage):
            image = image_in(image)
        if by_content and isinstance(image, str | PathLike):
            with contextlib.suppress(OSError, ValueError):
                image = Path(image).read_bytes()
        if isinstance(image, bytes):
            parts.append(hashlib.sha256(image).digest())
        elif isinstance(image, str | PathLike):
            parts.append(file_key(image, 0, 0))
        elif is_missing(image):
            parts.append(b"")
        else:
            return None
    return parts


def read_images(images, height, width, *, channels="auto", n_jobs, folder, verbose):
    """Decode images that cover height and width; return blocks, locations and errors.

    The block of unreadable images is -1; errors is a dict of index and reason.
    """
    store, bad = ImageStore(folder, verbose), {}
    keys = [b""] * len(images)
    if folder is not None and _is_list(images):
        keys = [_key(image, height, width) for image in images]
    in_folder = np.array(keys, "S16")
    places = store.find(in_folder)
    if (places["block"] >= 0).all():
        return store.blocks, places, bad
    n_workers = effective_n_jobs(n_jobs)
    with store.writing(), Parallel(n_jobs, prefer="threads") as parallel:
        places = store.find(in_folder)  # another process may have written in the meantime
        left = np.flatnonzero(places["block"] < 0)
        for rows in _watched(left, TASKS * TASK * n_workers, verbose):
            # Items are requested by one thread, as datasets may not be thread-safe.
            items = [_fetched(images, row) for row in rows]
            parts = (items[i : i + TASK] for i in range(0, len(items), TASK))
            decoded = parallel(delayed(_decoded)(part, height, width, channels) for part in parts)
            for row, result in zip(rows, chain.from_iterable(decoded), strict=True):
                if isinstance(result, UnreadableImage):
                    bad[row] = str(result)
                else:
                    places[row] = store.add(result, keys[row])
    return store.blocks, places, bad


def value_ranges(blocks, places, declared, scaling, name):
    """Return black, white and ``typical_levels`` of images that are not 8-bit, by index of dtype.

    The range is ``declared``, or learned in fit, where ``scaling`` is None.
    """
    declared, ranges = None if isinstance(declared, str) else declared, {}
    if declared is not None and np.max(declared[1]) <= 255:
        ranges[0] = declared
    for kind in sorted(set(places["kind"].tolist()) - {0}):
        dtype, these = np.dtype(KINDS[kind]), places[places["kind"] == kind]
        share = min(1, drawn_pixels(1) / these["shape"].prod(axis=1, dtype=np.int64).sum())
        lows, highs, pixels, rng = [], [], [], np.random.default_rng(0)
        for image in pixels_at(blocks, these):
            lows.append(image.min())
            highs.append(image.max())
            pixels.append(rng.choice(image.ravel(), math.ceil(share * image.size)))
        lows, highs = (np.array(values, np.float64)[:, None] for values in (lows, highs))
        low, high = lows.min(), highs.max()
        if scaling is not None and kind in scaling.ranges:
            black, white, *typical = scaling.ranges[kind]
        else:
            typical = None if scaling is None else scaling.levels
            found = declared or usual_range(dtype, low, high, in_fit=scaling is None)
            if found is None and scaling is not None:
                raise ValueError(
                    f"X lists {dtype} images with values from {low:g} to {high:g}, but {name} was "
                    "fitted on 8-bit images. Give bytes, or floats from 0 to 1, or fit with "
                    "input=Images(value_range=(low, high))."
                )
            if found is None:
                pixels = np.concatenate(pixels).astype(np.float64)
                found = learned_range(pixels, low, high, integers=dtype.kind == "i")
                warn_of_outliers("X", pixels, low, high, *found)
            black, white = found
        scale = np.float64(1 / (white - black))
        if typical is None:
            typical = typical_levels(*levels(lows, highs, black, scale))
        else:
            check_levels(typical, lows, highs, np.float64(black), scale, dtype, name)
        ranges[kind] = tuple(map(float, (black, white, *typical)))
    return ranges


def _key(image, height, width):
    """Return the ``file_key`` of an image in a file, else b""."""
    with contextlib.suppress(UnreadableImage):
        image = image_in(image)
    return file_key(image, height, width) if isinstance(image, str | PathLike) else b""


def _fetched(images, row):
    """Return an item, or the reason why the dataset cannot return it."""
    try:
        with explained("the dataset raised an error"):
            return images[row]
    except UnreadableImage as reason:
        return reason


def _decoded(items, height, width, channels):
    """Return the pixels of each image, or the reason why it cannot be read."""
    results = []
    for item in items:
        try:
            results.append(read_image(item, height, width, channels))
        except UnreadableImage as reason:
            # Without the traceback, which references the file.
            results.append(UnreadableImage(str(reason)))
    return results


def _watched(rows, size, verbose):
    """Yield parts of rows, with a progress bar if verbose and after one second."""
    from tqdm.auto import tqdm

    with tqdm(total=len(rows), desc="Decoding", unit="img", delay=1, disable=not verbose) as bar:
        for start in range(0, len(rows), size):
            part = rows[start : start + size].tolist()
            yield part
            bar.update(len(part))


def what_went_wrong(images, bad):
    """Return the message of errors for images that could not be read."""
    lines = [f"{len(bad)} of the {len(images)} images in X could not be read:"]
    for row in sorted(bad)[:NAMED]:
        image = None
        if _is_list(images):
            with contextlib.suppress(UnreadableImage):
                image = image_in(images[row])
        name = f", {os.fspath(image)!r:.300}" if isinstance(image, str | PathLike) else ""
        lines.append(f"  {row}{name}: {bad[row]}")
    if len(bad) > NAMED:
        lines.append(f"  and {len(bad) - NAMED} more")
    if "no such file" in bad.values():
        lines.append(f"Relative paths start in the working directory, {os.getcwd()!r}.")
    return "\n".join(lines)


def _is_list(images):
    """Return whether images are in a list or array, not created by a dataset on access."""
    return isinstance(images, list | tuple | np.ndarray)


def _is_row(item):
    """Return whether an item of a dataset, or the first element of a pair, is a row of numbers."""
    if isinstance(item, list | tuple) and len(item) and not isinstance(item[0], Number):
        item = item[0]
    if isinstance(item, list | tuple) and len(item):
        return isinstance(item[0], Number)
    return isinstance(item, Number) or getattr(item, "ndim", 2) < 2
