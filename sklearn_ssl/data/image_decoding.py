"""Decoding of one image from a path, encoded bytes, an array or a Pillow image."""

import contextlib
import errno
import functools
import io
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Mapping
from os import PathLike
from urllib.parse import urlsplit

import numpy as np
import torch

# Supported formats. Others that Pillow opens start external programs, or are not raster images.
FORMATS = ["JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"]
# Bytes shorter than this may be a path, and are one if they match the pattern.
LONGEST_PATH, PATH = 4096, re.compile(rb"[^<>\0\n]+\.\w{2,5}")
# Numbers of channels of gray and color images, and of color with transparency.
USUAL = 1, 3, 4
# Images with a larger aspect ratio, relative to the target, are center-cropped to this one.
LONGEST = 2
# Pillow reads files lazily, and X may contain the same image twice.
_loading = threading.Lock()
# Tags of EXIF and TIFF: orientation, photometric interpretation, samples per pixel, extra samples.
ORIENTATION, PHOTOMETRIC, BANDS, EXTRA_BANDS = 0x0112, 262, 277, 338
# Errors not caused by a file itself: no memory, too many open files.
OF_THE_MACHINE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class UnreadableImage(Exception):  # noqa: N818
    """Raised with a readable reason for items that cannot be decoded."""


def is_image(item):
    """Return whether an item may be an image: a path, encoded bytes, a Pillow image, an array."""
    if isinstance(item, np.ndarray | torch.Tensor):
        return item.ndim in (2, 3)
    encoded = isinstance(item, str | bytes | bytearray | memoryview | PathLike)
    return encoded or is_pillow(item) or _is_file(item)


def is_pillow(item):
    """Return whether an item is a Pillow image."""
    pillow = sys.modules.get("PIL.Image")  # if it is not imported, no Pillow image exists
    return pillow is not None and isinstance(item, pillow.Image)


def _is_file(item):
    """Return whether an item is an open file, such as an upload."""
    return isinstance(item, io.IOBase) or (hasattr(item, "read") and hasattr(item, "seek"))


def is_missing(item):
    """Return whether an item is a missing value, such as those of data frames."""
    nan = isinstance(item, float) and math.isnan(item)
    # NA and NaT of pandas, without importing it.
    return item is None or nan or type(item).__name__ in ("NAType", "NaTType")


def image_in(item):
    """Return the image in an item of a dataset: the item, or an element of a pair or dict."""
    if isinstance(item, UnreadableImage):
        raise item
    if isinstance(item, tuple | list) and len(item):
        return image_in(item[0])
    if not isinstance(item, Mapping):
        return _as_path(item)
    for key in ("image", "img"):
        if key in item:
            return image_in(item[key])
    if "bytes" in item or "path" in item:  # encoded images of Hugging Face datasets
        return image_in(item.get("path") if item.get("bytes") is None else item["bytes"])
    found = [x for x in item.values() if is_image(x) and not isinstance(x, str)]
    if not found:
        raise UnreadableImage(f"a dict without an image; its keys are {list(item)}")
    return found[0]


def read_image(item, height, width, channels="auto"):
    """Return a resized image (h, w, 1 or 3), gray or color, that just covers height and width.

    8-bit images are uint8. Others are int32 or float32, as their value range cannot be known from
    a single image. One side has the given length, the other is at most ``LONGEST`` times as long.
    Raises :class:`UnreadableImage` if the image cannot be decoded.
    """
    from PIL import ImageOps

    with explained():
        with _opened(image_in(item), channels) as image:
            if isinstance(image, np.ndarray):
                return _resized(_bands(image), height, width)
            # JPEG files are decoded at 1/2, 1/4 or 1/8 of their size, if that is sufficient.
            scale = max(height, width) / min(image.size)
            image.draft(None, tuple(math.ceil(side * scale) for side in image.size))
            deep, orientation = _more_than_eight_bits(image), None
            image.load()
            with contextlib.suppress(Exception):  # pixels are valid even if EXIF data are corrupted
                orientation = image.getexif().get(ORIENTATION)
                ImageOps.exif_transpose(image, in_place=True)
            if deep is None:
                return _resized([_eight_bits(image)], height, width)
        bands = _bands(deep)
        for band in bands:
            if orientation:
                band.getexif()[ORIENTATION] = orientation
                ImageOps.exif_transpose(band, in_place=True)
        return _resized(bands, height, width)


def shorter_side(item, channels="auto"):
    """Return the shorter side of an image in pixels; of files only the header is read."""
    with explained():
        image = image_in(item)
        if isinstance(getattr(image, "size", None), tuple):  # a Pillow image, not loaded here
            return min(image.size)
        with _opened(image, channels) as image:
            return min(image.shape[:2] if isinstance(image, np.ndarray) else image.size)


class AmbiguousLayout(ValueError):  # noqa: N818
    """Raised if the channel axis cannot be inferred from the shape of an image."""


@contextlib.contextmanager
def explained(otherwise="corrupted or truncated"):
    """Convert every error raised by reading an image to an UnreadableImage with a reason.

    ``otherwise`` is the reason for unknown errors.
    """
    try:
        yield
    except UnreadableImage:
        raise
    except AmbiguousLayout as error:
        raise UnreadableImage(str(error)) from None
    except FileNotFoundError:
        raise UnreadableImage("no such file") from None
    except Exception as error:  # decoders raise arbitrary errors for corrupted data
        if getattr(error, "errno", None) in OF_THE_MACHINE:
            raise
        from PIL import Image, UnidentifiedImageError

        if isinstance(error, UnidentifiedImageError):
            reason = "not an image, or an unsupported format"
        elif isinstance(error, Image.DecompressionBombError):
            reason = (
                f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, Pillow's limit against "
                "decompression bombs; PIL.Image.MAX_IMAGE_PIXELS sets half of this limit"
            )
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror.lower()
        else:
            reason = f"{otherwise} ({type(error).__name__}: {error})"
        raise UnreadableImage(reason) from error


@contextlib.contextmanager
def _opened(image, channels="auto"):
    """Open an image with Pillow, without decoding its pixels; arrays are returned as (h, w, c)."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(image, np.ndarray | torch.Tensor):
        yield _values(image, channels)
        return
    if isinstance(image, Image.Image):
        path = getattr(image, "filename", None)
        has_file = bool(path) and os.path.isfile(path)
        unread = getattr(image, "fp", None) is not None and image.tell() == 0
        if not (unread and has_file):
            try:
                with _loading:
                    copied = image.copy()
            except (
                AssertionError,
                AttributeError,
                ValueError,
            ):  # raised by Pillow if the file was closed
                if not has_file:
                    raise UnreadableImage(
                        "a Pillow image whose file was closed before its pixels were read; call "
                        "its load() before closing the file"
                    ) from None
            else:
                yield copied
                return
        image = path  # so that the pixels are not stored in the user's object
    if _is_file(image):
        image = _content(image)
    if isinstance(image, str | PathLike):
        _check_path(image)
        mode = os.stat(image).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableImage(
                f"a folder; sklearn_ssl.image_paths({os.fspath(image)!r}) lists the images in it"
            )
        if not stat.S_ISREG(mode):  # opening a pipe could block forever
            raise UnreadableImage("not a regular file")
        file = open(image, "rb")  # noqa: SIM115
    elif isinstance(image, bytes | bytearray | memoryview):
        file = io.BytesIO(image)
    else:
        missing = "a missing value" if is_missing(image) else "not an image"
        raise UnreadableImage(f"{missing}, {image!r:.80} of type {type(image).__name__}")
    with file:
        head = file.read(512)
        if not head:
            raise UnreadableImage("an empty file of 0 bytes")
        file.seek(0)
        try:
            opened = Image.open(file, formats=_formats())
        except UnidentifiedImageError:
            if b"<svg" in head:
                raise UnreadableImage(
                    "an SVG file, which has no pixels; convert it to PNG"
                ) from None
            if head[:4] in (b"II*\0", b"MM\0*"):
                file.seek(0)
                yield _tiff(file)
                return
            raise
        with opened:
            yield opened


def _as_path(image):
    """Return an image; file URLs and paths as bytes are converted to paths."""
    if isinstance(image, bytes) and len(image) < LONGEST_PATH:  # such as those of os.listdir(b".")
        return os.fsdecode(image) if PATH.fullmatch(image) or os.path.isfile(image) else image
    if isinstance(image, str) and image[:5].lower() == "file:":
        from urllib.request import url2pathname  # slow to import

        return url2pathname(urlsplit(image).path)
    return image


def _check_path(path):
    """Raise if a path is a URL, a glob pattern, or starts with ``~``."""
    path = os.fspath(path)
    if os.path.lexists(path):
        return
    if re.match(r"data:|[a-z0-9+.-]{2,}:/", path, re.I):
        raise UnreadableImage("a URL, not a path; download the file first")
    if re.search(r"[*?]", path):
        raise UnreadableImage("a glob pattern, not a path; glob.glob lists the matching files")
    if path.startswith("~"):
        raise UnreadableImage("no such file; os.path.expanduser replaces ~ by the home directory")


def _content(file):
    """Return the content of an open file, and restore its position."""
    if getattr(file, "closed", False):
        raise UnreadableImage("a closed file; open it again, or give its path")
    if isinstance(file, io.TextIOBase):
        raise UnreadableImage("a file opened in text mode; open it with mode 'rb'")
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    return content


@functools.cache
def _formats():
    """Return the supported formats that this version of Pillow reads."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _values(array, channels="auto"):
    """Return an array or tensor, (h, w), (h, w, c) or (c, h, w), as array (h, w, c) of numbers."""
    if isinstance(array, torch.Tensor):
        array = (array.float() if array.dtype == torch.bfloat16 else array).detach().cpu().numpy()
    first = array.ndim == 3 and channel_axis(array.shape, channels) == 0
    last = array.transpose(1, 2, 0) if first else array
    if last.ndim not in (2, 3) or 0 in last.shape or last.shape[2:] not in ((), (1,), (3,)):
        raise UnreadableImage(
            f"an array of shape {array.shape}; images have shape (h, w), (h, w, c) or (c, h, w), "
            "with 1 or 3 channels"
        )
    if isinstance(last, np.ma.MaskedArray):
        if np.ma.is_masked(last):
            raise UnreadableImage("a masked array; fill masked values with .filled(value)")
        last = last.data
    if last.dtype == bool:
        last = last * np.uint8(255)
    if last.dtype.kind not in "uif":
        raise UnreadableImage(f"an array of dtype {last.dtype}; pixels must be numbers")
    return last.reshape(*last.shape[:2], -1)


def _bands(values):
    """Return pixels (h, w, c) as Pillow images: one of bytes, or one of floats per channel.

    Dtypes other than uint8 are resized as floats; integers are converted back by ``_resized``.
    """
    from PIL import Image

    if values.dtype == np.uint8:
        values = values if values.shape[2] == 3 else values[:, :, 0]
        return [Image.fromarray(np.ascontiguousarray(values))]
    if not np.isfinite(values).all():
        raise UnreadableImage(
            f"{values.dtype} with values that are NaN or infinite; replace them by finite values"
        )
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and 0 <= low <= high <= 1:  # equal to bytes of the same pixels
        (band,) = _bands(np.rint(values * 255).astype(np.uint8))
        band.info["dtype"] = np.float32
        return [band]
    exact = values.dtype.kind in "ui" and -(2**24) <= low <= high <= 2**24
    bands = [Image.fromarray(np.ascontiguousarray(v, "f4")) for v in np.moveaxis(values, 2, 0)]
    bands[0].info["dtype"] = np.int32 if exact else np.float32
    return bands


def _resized(bands, height, width):
    """Return the images of ``_bands``, resized, as an array (h, w, c)."""
    dtype = bands[0].info.get("dtype", np.uint8)
    pixels = [np.asarray(_covering(band, height, width)) for band in bands]
    pixels = np.stack(pixels, axis=2) if pixels[0].ndim == 2 else pixels[0]
    if dtype == np.int32:
        return np.rint(pixels).astype(dtype)
    return pixels if pixels.dtype == dtype else pixels.astype(dtype) / np.float32(255)


def _more_than_eight_bits(image):
    """Return the pixels (h, w, c) of an unloaded image of more than 8 bits, None for 8 bits."""
    if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) in (0, 1, 2):
        n_bands = image.tag_v2.get(BANDS, 1)
        if n_bands in (2, 4) and image.tag_v2.get(EXTRA_BANDS) not in ((1,), (2,), 1, 2):
            raise UnreadableImage(
                f"a TIFF of {n_bands} bands whose last band is not marked as transparency, such as "
                f"near infrared; give all images as one array, (n, height, width, {n_bands}), or "
                "files of 1 or 3 bands"
            )
    if image.mode[0] in "IF":
        return np.asarray(image)[:, :, None]
    decoder = str(image.tile[0][3]) if getattr(image, "tile", None) else ""
    if image.mode != "RGB" or ";16" not in decoder or image.has_transparency_data:
        return None
    image.fp.seek(0)  # Pillow reads only 8 of the 16 bits
    if image.format == "TIFF":
        return _tiff(image.fp)
    from torchvision.io import ImageReadMode

    data = torch.frombuffer(bytearray(image.fp.read()), dtype=torch.uint8)
    # torchvision.io.decode_png raises a deprecation warning.
    pixels = torch.ops.image.decode_png(data, ImageReadMode.RGB.value)
    return pixels.permute(1, 2, 0).numpy()


def _tiff(file):
    """Return the pixels (h, w, c) of a TIFF file that Pillow does not read."""
    try:
        from tifffile import imread
    except ImportError:
        raise UnreadableImage(
            "a TIFF of several channels of more than 8 bits, which requires the package tifffile: "
            'pip install "sklearn-ssl[tiff]"'
        ) from None
    return _values(imread(file))


def _eight_bits(image):
    """Convert an 8-bit image of any mode to gray ("L") or color ("RGB") on a white background."""
    from PIL import Image

    gray = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data and image.mode not in ("La", "RGBa"):
        return image.convert("L" if gray else "RGB")
    image = image.convert("LA" if gray else "RGBA")
    white = Image.new("L" if gray else "RGB", image.size, "white")
    white.paste(image.convert(white.mode), mask=image.getchannel("A"))
    return white


def _covering(image, height, width):
    """Return an image resized to cover height and width, center-cropped if it is very long."""
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


def channel_axis(shape, channels="auto"):
    """Return the channel axis of an image: 0 or 2, None for a gray image (h, w).

    It is given by ``channels``, or inferred from the shape; raises if that is ambiguous.
    """
    if len(shape) == 2:
        return None
    if channels != "auto":
        return 0 if channels == "first" else 2
    first, middle, last = shape
    found = set()
    if (first in USUAL) != (last in USUAL):
        found.add(0 if first in USUAL else 2)
    if first == middle != last:
        found.add(2)
    if middle == last != first:
        found.add(0)
    if not found and 2 * last <= min(first, middle):
        found.add(2)
    if not found and 2 * first <= min(middle, last):
        found.add(0)
    if len(found) == 1 and not {first, last} <= set(USUAL):
        return found.pop()
    raise AmbiguousLayout(
        f"The layout of images of shape {tuple(shape)} is ambiguous: {last} channels last and "
        f"{first} x {middle} pixels, or {first} channels first and {middle} x {last} pixels. Set "
        'input=Images(channels="last") or input=Images(channels="first").'
    )
