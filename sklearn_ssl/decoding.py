"""One image, in whatever form it comes, as an array of bytes."""

import contextlib
import errno
import functools
import io
import math
import os
import stat
import sys
import threading
from collections.abc import Mapping
from os import PathLike

import numpy as np
import torch

# What files may be. Other formats that Pillow opens start other programs, or are no pictures.
FORMATS = ["JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"]
# Of an image longer than this many times its target, the middle is kept.
LONGEST = 2
# Pillow reads the file of an image when it is first used, and X may hold an image twice.
_loading = threading.Lock()
# Errors that say nothing about a file: no memory, too many open files.
OF_THE_MACHINE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class UnreadableImage(Exception):  # noqa: N818
    """Says in the user's words why something gives no image."""


def is_image(item):
    """Tell whether something may be an image: a path, encoded bytes, Pillow's, or an array."""
    if isinstance(item, np.ndarray | torch.Tensor):
        return item.ndim in (2, 3)
    pillow = sys.modules.get("PIL.Image")  # without it, nobody has made one of its images
    return isinstance(item, str | bytes | bytearray | PathLike) or (
        pillow is not None and isinstance(item, pillow.Image)
    )


def is_missing(item):
    """Tell whether something is a missing value, as data frames have them."""
    nan = isinstance(item, float) and math.isnan(item)
    return item is None or nan or type(item).__name__ == "NAType"  # pandas', not imported for it


def image_in(item):
    """Return the image in an item of a data set: itself, a pair's first, or one of a dict's."""
    if isinstance(item, UnreadableImage):
        raise item
    if isinstance(item, tuple | list) and len(item):
        return image_in(item[0])
    if not isinstance(item, Mapping):
        return item
    for key in ("image", "img"):
        if key in item:
            return image_in(item[key])
    if "bytes" in item or "path" in item:  # as Hugging Face's data sets have encoded ones
        return item.get("path") if item.get("bytes") is None else item["bytes"]
    found = [x for x in item.values() if is_image(x) and not isinstance(x, str)]
    if not found:
        raise UnreadableImage(f"a dict with no image, its keys are {list(item)}")
    return found[0]


def read_image(item, height, width):
    """Return an image as bytes (h, w, 1 or 3), one for gray, that just covers height and width.

    One side has the length asked for, the other at least that and at most ``LONGEST`` times it.
    Raises an :class:`UnreadableImage` for what is no image.
    """
    from PIL import ImageOps

    with explained(), _opened(image_in(item)) as image:
        # JPEG files are decoded at a half, a quarter or an eighth of their size, if that will do.
        scale = max(height, width) / min(image.size)
        image.draft(None, tuple(math.ceil(side * scale) for side in image.size))
        image.load()
        with contextlib.suppress(Exception):  # broken EXIF data do not make broken pixels
            ImageOps.exif_transpose(image, in_place=True)
        pixels = np.asarray(_covering(_eight_bits(image), height, width))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def shorter_side(item):
    """Return the shorter side of an image in pixels, from the header of a file alone."""
    with explained():
        image = image_in(item)
        if isinstance(getattr(image, "size", None), tuple):  # Pillow's, which shall stay unread
            return min(image.size)
        with _opened(image) as image:
            return min(image.size)


@contextlib.contextmanager
def explained():
    """Turn every error that reading an image may raise into an UnreadableImage with its reason."""
    try:
        yield
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage("no such file") from None
    except Exception as error:  # what a decoder raises on broken data is anything
        if getattr(error, "errno", None) in OF_THE_MACHINE:
            raise
        from PIL import Image, UnidentifiedImageError

        if isinstance(error, UnidentifiedImageError):
            reason = "not an image, or of a format that is not read"
        elif isinstance(error, Image.DecompressionBombError):
            reason = (
                f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, Pillow's guard against files "
                "that fill the memory; PIL.Image.MAX_IMAGE_PIXELS is half of it"
            )
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror.lower()
        else:
            reason = f"broken or cut short ({type(error).__name__}: {error})"
        raise UnreadableImage(reason) from error


@contextlib.contextmanager
def _opened(image):
    """Open an image as Pillow does, that is, with its pixels still to decode."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(image, Image.Image):
        path = getattr(image, "filename", None)
        unread = getattr(image, "fp", None) is not None and image.tell() == 0
        if not (unread and path and os.path.isfile(path)):
            with _loading:
                image = image.copy()
            yield image
            return
        image = path  # read from its file, it does not stay in the user's object
    if isinstance(image, np.ndarray | torch.Tensor):
        yield _from_array(image)
        return
    if isinstance(image, str | PathLike):
        mode = os.stat(image).st_mode
        if not stat.S_ISREG(mode):  # to open a pipe would wait for ever
            raise UnreadableImage("a folder" if stat.S_ISDIR(mode) else "not a regular file")
        file = open(image, "rb")  # noqa: SIM115
    elif isinstance(image, bytes | bytearray | memoryview):
        file = io.BytesIO(image)
    else:
        missing = "a missing value" if is_missing(image) else "not an image"
        raise UnreadableImage(f"{missing}, {image!r:.80} of type {type(image).__name__}")
    with file:
        head = file.read(512)
        if not head:
            raise UnreadableImage("empty, it has 0 bytes")
        file.seek(0)
        try:
            opened = Image.open(file, formats=_formats())
        except UnidentifiedImageError:
            if b"<svg" in head:
                raise UnreadableImage(
                    "an SVG drawing, which has no pixels; save it as PNG"
                ) from None
            raise
        with opened:
            yield opened


@functools.cache
def _formats():
    """Return which of the formats this Pillow reads."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _from_array(array):
    """Return an array or tensor, (h, w), (h, w, c) or (c, h, w), as an image of Pillow's."""
    from PIL import Image

    if isinstance(array, torch.Tensor):
        array = (array.float() if array.dtype == torch.bfloat16 else array).detach().cpu().numpy()
    first = array.ndim == 3 and channel_axis(array.shape) == 0
    last = array.transpose(1, 2, 0) if first else array
    if last.ndim not in (2, 3) or 0 in last.shape or last.shape[2:] not in ((), (1,), (3,)):
        raise UnreadableImage(
            f"an array of shape {array.shape}; images have (h, w), (h, w, c) or (c, h, w), and 1 "
            "or 3 channels"
        )
    gray = last.shape[2:] == (1,)
    return Image.fromarray(np.ascontiguousarray(_as_bytes(last[:, :, 0] if gray else last)))


def _as_bytes(values):
    """Return pixels of any number type as bytes."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and 0 <= low <= high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    if values.dtype.kind in "iu" and 0 <= low <= high <= 255:
        return values.astype(np.uint8)
    raise UnreadableImage(
        f"{values.dtype} from {low} to {high}; pixels are whole numbers from 0 to 255, uint16 from "
        "0 to 65535, or floats from 0 to 1"
    )


def _eight_bits(image):
    """Return an image of any mode as one of gray ("L") or colour ("RGB"), on white."""
    from PIL import Image

    if image.mode[0] in "IF":  # 16 bits, 32 bits, floats
        return Image.fromarray(_as_bytes(_sixteen_bits(np.asarray(image))))
    gray = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data and image.mode not in ("La", "RGBa"):
        return image.convert("L" if gray else "RGB")
    image = image.convert("LA" if gray else "RGBA")
    white = Image.new("L" if gray else "RGB", image.size, "white")
    white.paste(image.convert(white.mode), mask=image.getchannel("A"))
    return white


def _sixteen_bits(values):
    """Return values of a mode of 32 bits, in which Pillow reads some files of 16, as such."""
    fits = values.dtype == np.int32 and values.min() >= 0 and values.max() <= 65535
    return values.astype(np.uint16) if fits else values


def _covering(image, height, width):
    """Return an image resized, and cut down to its middle where it is very long."""
    from PIL import Image

    scale = max(height / image.height, width / image.width)
    sides = (
        min(image.width, LONGEST * width / scale),
        min(image.height, LONGEST * height / scale),
    )
    size = max(width, round(sides[0] * scale)), max(height, round(sides[1] * scale))
    if size == image.size:
        return image
    left, top = (image.width - sides[0]) / 2, (image.height - sides[1]) / 2
    box = left, top, left + sides[0], top + sides[1]
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


def channel_axis(shape):
    """Axis of the channels in an image: the shorter of first and last, and the last on a tie."""
    if len(shape) == 2:
        return None
    return 2 if shape[2] <= shape[0] else 0
