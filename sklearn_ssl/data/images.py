"""Images as X: layout, size, pixel range, normalization and reading of files."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral
from os import PathLike

import numpy as np

from sklearn_ssl._runtime.sklearn_private import _check_feature_names
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.data.arrays import check_finite, checked
from sklearn_ssl.data.image_decoding import AmbiguousLayout, channel_axis
from sklearn_ssl.data.image_lists import (
    StoredImages,
    content_keys,
    read_images,
    typical_size,
    value_ranges,
    what_went_wrong,
)
from sklearn_ssl.data.modality import Modality, Request
from sklearn_ssl.data.on_disk import OnDisk
from sklearn_ssl.data.recognition import is_shape_of_one
from sklearn_ssl.data.sources import ArraySource, ImagesSource, learn_scaling
from sklearn_ssl.data.spec import ImageSpec
from sklearn_ssl.data.table import checked_rows
from sklearn_ssl.parameters import is_auto, recipe

CHANNELS = "auto", "first", "last"
NORMALIZATIONS = "auto", "data", "imagenet"
ON_ERROR = "raise", "skip", "warn"
# Maximum of size="auto": training on larger images takes hours on a CPU.
LARGEST_SIZE = {"cpu": 64, "cuda": 224}


@recipe
class Images(Modality):
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

    kind, noun = "image", "images"
    forms = (
        "Pass an array (n, h, w) or (n, h, w, c), or input=Images(shape=...) for flattened images."
    )

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

    @classmethod
    def accepts(cls, given):
        """Return whether X lists images or is an array of more than two dimensions."""
        return given.listed is not None or len(given.array.shape) > 2

    def find(self, given, request):
        """Check X; return its source, or its listed images, whose ``read()`` is the source."""
        images, seen, channels = given.listed, request.seen, self.channels
        names, n_features = None, 1  # a column of images
        if images is None:
            source = self._of_array(given.array, request)
            if not self._are_resized(source, request):
                check_finite(source)
                return source if seen is None else self._as_in_fit(source, request)
            images = source.array
            if not isinstance(images, OnDisk):
                images = list(images.reshape(len(source), *source.sample_shape))
            channels = "last" if source.channel_axis == 2 else "first"
            names, n_features = source.spec.names, math.prod(source.sample_shape)
        elif seen is None or (seen.listed and hasattr(given.X, "columns")):
            header = request.header()
            _check_feature_names(header, given.X, reset=seen is None)
            names = getattr(header, "feature_names_in_", None)
        if seen is not None:
            size = shape_of_fit(request)[:2]
        elif is_auto(self.size):
            side = typical_size(images, LARGEST_SIZE[request.device_type], channels)
            size = side, side
        else:
            size = self.size, self.size
        spec = ImageSpec((0, *size), n_features, names, listed=True)
        return ListedImages(self, images, request, channels, spec)

    def learn(self, source):
        """Return the scaling of pixels to [0, 1], and the normalization of channels."""
        return learn_scaling(source, self.value_range)

    def identity(self):
        """Return the parameters on which results depend, for the key of a cached fit."""
        return replace(self, cache=None, n_jobs=None)

    def _of_array(self, X, request):
        """Return the source of an array, with checked shape and layout."""
        ndim, seen, names = len(X.shape), request.seen, None
        if ndim > 4:
            raise ValueError(
                f"X has {ndim} dimensions, shape {X.shape}. Images have 3 or 4: (n, h, w), "
                "(n, h, w, c) or (n, c, h, w); tabular data has 2."
            )
        if ndim > 2:
            if ndim == 3:
                check_one_image(X, request)
            X = checked(X, request)
            if 0 in X.shape:
                raise ValueError(f"X has shape {X.shape}: its images have no pixels.")
            shape, axis = X.shape[1:], axis_like(X.shape[1:], self.channels, seen)
        elif self.shape is None:
            raise ValueError(
                f"X is tabular data, of shape {tuple(X.shape)}, but input=Images(...) describes "
                "images. If X is one image, give a list, [image]; if its rows are flattened "
                "images, set input=Images(shape=(height, width))."
            )
        else:
            X, spec = checked_rows(X, request)
            shape, axis = flattened(X, tuple(self.shape), self.channels)
            names = spec.names
        source = ArraySource(X, shape, axis)
        return replace(source, spec=replace(source.spec, names=names))

    def _as_in_fit(self, source, request):
        """Return the source; raise if its images have another shape or scale than those in fit."""
        seen, shape = request.seen, source.spec.shape_of_one
        if seen.kind != self.kind:
            raise fitted_on_others(request)
        expected = seen.shape_of_one
        if shape != expected and not (request.needs_color and shape == (*expected[:2], 1)):
            stored = {"first": expected, "last": (expected[2], *expected[:2])}
            turned = stored.get(self.channels) == source.sample_shape
            remedy = (
                f'Their layout does not match input=Images(channels="{self.channels}").'
                if turned
                else "Resize them, or fit again."
            )
            raise ValueError(
                f"X holds images of (height, width, channels) = {shape}, but {request.name} was "
                f"fitted on {expected}. {remedy}"
            )
        request.preprocessing.check(source, request.name)
        return source

    def _are_resized(self, source, request):
        """Return whether the images of an array are read one by one, as those of files."""
        seen, scaling = request.seen, request.preprocessing
        if is_auto(self.size) and not (seen is not None and seen.listed):
            return False
        size = (self.size, self.size)
        if seen is not None:
            size = seen.shape[1:] if seen.kind == self.kind else (0, 0)
        plain = source.array.dtype == np.uint8
        plain = plain and (scaling is None or 0 not in getattr(scaling, "ranges", ()))
        if source.shape[1:] == size and (plain or not (seen is not None and seen.listed)):
            return False
        if source.shape[0] not in (1, 3) or source.array.dtype.kind not in "buif":
            raise ValueError(
                "Only images of 1 or 3 channels can be resized (input=Images(size=...)). Those of "
                f"X have {source.shape[0]}, of dtype {source.array.dtype}. Resize them before."
            )
        if source.array.dtype.kind == "f" and any(
            np.isnan(source.array[part]).any() for part in source.parts()
        ):
            raise ValueError(
                "Input X contains NaN. Its images are resized and converted to bytes, which cannot "
                "be NaN. Impute missing values; inpaint takes a mask."
            )
        return True


@dataclass(frozen=True)
class ListedImages:
    """Images listed in X, which are decoded by ``read``."""

    described: Images
    images: object  # with __len__ and __getitem__
    request: Request
    channels: str  # of arrays
    spec: ImageSpec  # without the number of channels, which is known when images are read

    def content(self, by_content=False):
        """Return what identifies the images; None if they have to be decoded for that.

        Files are identified by path, size and modification time, or ``by_content``.
        """
        on_error = self.described.on_error
        warns = on_error == "warn"  # reading has to find the images to warn of
        parts = None if warns else content_keys(self.images, by_content)
        return parts if parts is None else [self.spec.shape[1:], on_error, parts]

    def read(self):
        """Decode the images, and return their source."""
        described, request, (_, height, width) = self.described, self.request, self.spec.shape
        seen = request.seen
        if seen is None and request.verbose:
            print(f"The images of X are resized to {height} x {width} pixels.")
        blocks, places, bad = read_images(
            self.images,
            height,
            width,
            channels=self.channels,
            n_jobs=described.n_jobs,
            folder=described.cache,
            verbose=request.verbose,
        )
        rows, n_images = np.flatnonzero(places["block"] >= 0), len(self.images)
        if not n_images:
            raise ValueError("X lists no images: it is empty.")
        # transform needs no readable ones
        needed = request.min_samples if request.min_samples > 1 else 0
        if bad and described.on_error == "raise":
            remedy = (
                'Fix or remove them, or set input=Images(on_error="skip") to continue without them.'
            )
            raise ValueError(f"{what_went_wrong(self.images, bad)}\n{remedy}")
        if n_images < needed and not bad:
            raise ValueError(
                f"X lists {n_images} images; at least {needed} are needed for training."
            )
        if len(rows) < needed:
            remedy = f"At least {needed} are needed for training, {len(rows)} are left."
            raise ValueError(f"{what_went_wrong(self.images, bad)}\n{remedy}")
        if bad and described.on_error == "warn":
            tell(what_went_wrong(self.images, bad))
        channels = int(places["shape"][rows, 2].max()) if seen is None else seen.shape[0]
        ranges = value_ranges(
            blocks, places[rows], described.value_range, request.preprocessing, request.name
        )
        stored = StoredImages(blocks, places[rows], (height, width, channels), ranges=ranges)
        spec = replace(self.spec, shape=(channels, height, width))
        return ImagesSource(stored, stored.shape_of_one, 2, spec, rows=rows, n_rows=n_images)


def check_one_image(X, request):
    """Raise if an array (a, b, c) is one image, which would be treated as gray images (n, h, w)."""
    shape, seen = tuple(X.shape), None
    if request.seen is not None and request.seen.kind == Images.kind:
        seen = request.seen.shape_of_one
    # Three gray images may be shown, but are too few for training.
    in_fit = request.min_samples > 1
    one = is_shape_of_one(shape) and (shape[0] > 3 or in_fit or seen is not None)
    if seen is not None:
        if shape[1:] == seen[:2] and (seen[2] == 1 or request.needs_color):
            return
        one |= shape in (seen, (seen[2], *seen[:2]))
    if one:
        raise ValueError(
            f"X has shape {shape}, the shape of one image. Give a list of images, [image], or an "
            "array (n, height, width, channels), with one channel for gray images."
        )


def axis_like(shape, channels, seen):
    """Return the channel axis of images, inferred from the spec ``seen`` in fit if given."""
    if channels == "auto" and seen is not None and seen.kind == Images.kind and len(shape) == 3:
        last, first = tuple(shape) == seen.shape_of_one, tuple(shape) == seen.shape
        if last != first:
            return 2 if last else 0
    return channel_axis(shape, channels)


def shape_of_fit(request):
    """Return the shape (h, w, c) of the images in fit; raise if these were not read as bytes."""
    if request.seen.kind != Images.kind:
        raise fitted_on_others(request)
    scaling = request.preprocessing
    if not scaling.is_bytes:
        low, high = np.min(scaling.offset), np.max(scaling.offset + 1 / scaling.scale)
        raise ValueError(
            f"Listed or resized images are read as bytes, from 0 to 255, but {request.name} was "
            f"fitted on values from {low:g} to {high:g}. Fit it on such images, or on an array of "
            "bytes."
        )
    return request.seen.shape_of_one


def fitted_on_others(request):
    """Return the error of estimators fitted on another kind of input if X contains images."""
    return ValueError(
        f"X holds images, but {request.name} was fitted on {request.seen.described()}. Fit it on "
        "images first."
    )


def flattened(X, shape, channels):
    """Return shape and channel axis of the images that are flattened in a two-dimensional X."""
    if len(shape) not in (2, 3) or not all(
        isinstance(side, Integral) and side > 0 for side in shape
    ):
        raise ValueError(
            "shape of Images must be two or three positive ints, (height, width), (height, width, "
            f"channels) or (channels, height, width). Got {shape} instead."
        )
    if math.prod(shape) != X.shape[1]:
        raise ValueError(
            f"input=Images(shape={shape}) needs {math.prod(shape)} columns, X has {X.shape[1]}."
            " Set shape to that of the flattened images."
        )
    try:
        axis = channel_axis(shape, channels)
    except AmbiguousLayout:
        axis = 2  # the default order of shape
    return tuple(int(side) for side in shape), axis


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
