"""Validation of X, and the source of its samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Integral, Real

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import validate_data

from sklearn_ssl._runtime.sklearn_private import _check_feature_names
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.data import Images, Table, images_of, table_of
from sklearn_ssl.data.image_decoding import AmbiguousLayout, channel_axis, is_missing, is_pillow
from sklearn_ssl.data.image_lists import (
    StoredImages,
    content_keys,
    listed_images,
    read_images,
    stacked_items,
    typical_size,
    value_ranges,
    what_went_wrong,
)
from sklearn_ssl.data.on_disk import OnDisk
from sklearn_ssl.data.recognition import is_path_of_image, is_shape_of_one, recognized
from sklearn_ssl.data.sources import ArraySource, ImagesSource, learn_scaling


def find_samples(estimator, X, *, reset, min_samples=1, largest_size=64):
    """Validate X; return its source, or its listed images, whose ``read()`` is the source.

    With ``reset``, the format of X is learned, else it is compared with that of fit. Sets
    ``n_features_in_`` on the estimator and, for images, ``image_shape_`` (h, w, c), for listed
    images when they are read. ``largest_size`` is the limit of a ``size`` of "auto".
    """
    X, described = recognized(X), images_of(estimator)
    channels = described.channels
    # Whether pixels were and will be read as bytes, for every dtype.
    listed = not reset and getattr(estimator, "_listed", False)
    if listed and hasattr(X, "columns"):
        _check_feature_names(estimator, X, reset=False)
    images, n_features = listed_images(X, expected=listed), 1  # a column of images
    if images is not None and isinstance(estimator.input, Table):
        raise ValueError(
            f"X lists images, but input={estimator.input!r} is for tabular data. Give an array "
            "(n_samples, n_features), or input=Images(...)."
        )
    if images is None:
        source = _array_source(estimator, _as_array(X), reset, min_samples)
        if not _to_be_resized(estimator, source, reset, listed):
            _check_finite(source, getattr(estimator, "feature_names_in_", None))
            _check_shape(estimator, source, reset)
            if source.is_image and not reset:
                estimator._scaling.check(source, type(estimator).__name__)
            if reset:
                estimator._listed = False
            return source
        images = source.array
        if not isinstance(images, OnDisk):
            images = list(images.reshape(len(source), *source.sample_shape))
        channels = "last" if source.channel_axis == 2 else "first"
        n_features = math.prod(source.sample_shape)
    if reset:
        size = described.size
        if isinstance(size, str):
            size = typical_size(images, largest_size, channels)
        size = size, size
        _check_feature_names(estimator, X, reset=True)
        estimator.n_features_in_, estimator._listed = n_features, True
    else:
        size = _shape_of_fit(estimator)[:2]
    return ListedImages(estimator, images, size, reset, min_samples, channels)


@dataclass
class ListedImages:
    """Images listed in X, which are decoded by ``read``."""

    estimator: object
    images: object  # with __len__ and __getitem__
    size: tuple  # (height, width) after resizing
    reset: bool
    min_samples: int
    channels: str  # of arrays

    def content(self, by_content=False):
        """Return what identifies the images; None if they have to be decoded for that.

        Files are identified by path, size and modification time, or ``by_content``.
        """
        on_error = images_of(self.estimator).on_error
        warns = on_error == "warn"  # reading has to find the images to warn of
        parts = None if warns else content_keys(self.images, by_content)
        return parts if parts is None else [self.size, on_error, parts]

    def read(self):
        """Decode the images, and return their source."""
        estimator, (height, width) = self.estimator, self.size
        described = images_of(estimator)
        if self.reset and estimator.verbose:
            print(f"The images of X are resized to {height} x {width} pixels.")
        blocks, places, bad = read_images(
            self.images,
            height,
            width,
            channels=self.channels,
            n_jobs=described.n_jobs,
            folder=described.cache,
            verbose=estimator.verbose,
        )
        rows, n_images = np.flatnonzero(places["block"] >= 0), len(self.images)
        if not n_images:
            raise ValueError("X lists no images: it is empty.")
        needed = self.min_samples if self.min_samples > 1 else 0  # transform needs no readable ones
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
        channels = int(places["shape"][rows, 2].max()) if self.reset else estimator.image_shape_[2]
        ranges = value_ranges(
            blocks,
            places[rows],
            described.value_range,
            None if self.reset else estimator._scaling,
            type(estimator).__name__,
        )
        stored = StoredImages(blocks, places[rows], (height, width, channels), ranges=ranges)
        if self.reset:
            estimator.image_shape_ = stored.shape_of_one
        return ImagesSource(stored, stored.shape_of_one, 2, rows=rows, n_rows=n_images)


def scaling_of(estimator, source):
    """Learn the scaling of the samples of a source, as ``input`` of an estimator describes it."""
    described = images_of(estimator).value_range, table_of(estimator).standardize
    return learn_scaling(source, *described)


def identified(found, hash_files):
    """Return the result of ``find_samples``, read if necessary, and what identifies it."""
    content = found.content(hash_files)
    if content is None:
        found = found.read()
        content = found.content()
    return found, content


def taken(X, indices):
    """Return the samples at these indices, for every type of X."""
    X = recognized(X)
    return X[indices] if isinstance(X, torch.Tensor | OnDisk) else _safe_indexing(X, indices)


def needs_images(estimator, source):
    """Return the error of estimators for images if X is tabular data."""
    return ValueError(
        f"{type(estimator).__name__} needs images, X has shape {source.array.shape}. Pass an "
        "array (n, h, w) or (n, h, w, c), or input=Images(shape=...) for flattened images."
    )


def needs_table(estimator, source):
    """Return the error of estimators for tabular data if X holds images."""
    return ValueError(
        f"{type(estimator).__name__} needs tabular data, X holds images of shape {source.shape}. "
        "Choose a method for images, such as SimCLRTransformer or SimMIMTransformer."
    )


def needs_color(estimator, source):
    """Return the error of estimators that learn from color images only."""
    n = source.shape[0]
    return ValueError(
        f"{type(estimator).__name__} learns from color images of 3 channels (red, green, blue). "
        f"Those of X have {n}. Pass an array (n, h, w, 3), or files of color images. Gray images "
        "are accepted after fit only; to train on them, use another method, such as "
        "SimCLRTransformer."
    )


def _check_one_image(estimator, X, reset, min_samples):
    """Raise if an array (a, b, c) is one image, which would be treated as gray images (n, h, w)."""
    shape, seen = tuple(X.shape), None if reset else getattr(estimator, "image_shape_", None)
    # Three gray images may be shown, but are too few for training.
    one = is_shape_of_one(shape) and (shape[0] > 3 or min_samples > 1 or seen is not None)
    if seen is not None:
        if shape[1:] == seen[:2] and (seen[2] == 1 or getattr(estimator, "needs_color", False)):
            return
        one |= shape in (seen, (seen[2], *seen[:2]))
    if one:
        raise ValueError(
            f"X has shape {shape}, the shape of one image. Give a list of images, [image], or an "
            "array (n, height, width, channels), with one channel for gray images."
        )


def _array_source(estimator, X, reset, min_samples):
    """Validate an array, and return the source of its samples."""
    ndim, described = len(X.shape), images_of(estimator)
    channels, shape = described.channels, described.shape
    if ndim > 2 and isinstance(estimator.input, Table):
        raise ValueError(
            f"X has shape {tuple(X.shape)}, but input={estimator.input!r} is for tabular data, "
            "(n_samples, n_features). Give such an array, or input=Images(...)."
        )
    if ndim > 4:
        raise ValueError(
            f"X has {ndim} dimensions, shape {X.shape}. Images have 3 or 4: (n, h, w), "
            "(n, h, w, c) or (n, c, h, w); tabular data has 2."
        )
    if ndim == 1:
        _check_column(X)
    if ndim == 3:
        _check_one_image(estimator, X, reset, min_samples)
    if ndim > 2:
        X = _checked(estimator, X, min_samples)
        if 0 in X.shape:
            raise ValueError(f"X has shape {X.shape}: its images have no pixels.")
        if reset:
            _check_feature_names(estimator, X, reset=True)  # removes those of an earlier fit
        seen = None if reset else getattr(estimator, "image_shape_", None)
        return ArraySource(X, X.shape[1:], _axis_like(X.shape[1:], channels, seen))
    if not reset and getattr(estimator, "image_shape_", None) and shape is None:
        raise ValueError(
            f"X is tabular data, of shape {tuple(X.shape)}, but {type(estimator).__name__} was "
            f"fitted on images of (height, width, channels) = {estimator.image_shape_}. Pass "
            "images, or set input=Images(shape=...) for flattened ones. If X is one image, pass "
            "[image]."
        )
    if ndim == 2 and shape is None and isinstance(estimator.input, Images):
        raise ValueError(
            f"X is tabular data, of shape {tuple(X.shape)}, but input=Images(...) describes "
            "images. If X is one image, give a list, [image]; if its rows are flattened images, "
            "set input=Images(shape=(height, width))."
        )
    X = _checked_rows(estimator, X, reset, min_samples)
    if shape is not None:
        return _flattened_images(X, tuple(shape), channels)
    return ArraySource(X, X.shape[1:])


def _checked(estimator, X, min_samples):
    """Return an array of numbers with enough samples, validated by scikit-learn if in memory."""
    if isinstance(X, OnDisk) or X.dtype.kind in "mM":
        if X.dtype.kind not in "buif":
            raise ValueError(f"X has dtype {X.dtype}. Give real numbers.")
        if len(X) < min_samples:
            raise ValueError(
                f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of "
                f"{min_samples} is required by {type(estimator).__name__}."
            )
        return X
    return check_array(
        X,
        allow_nd=True,
        estimator=estimator,
        input_name="X",
        ensure_all_finite=False,  # checked later, with the index of the sample in the error
        ensure_min_samples=min_samples,
    )


def _checked_rows(estimator, X, reset, min_samples):
    """Return tabular data as validated by scikit-learn; errors contain the name of the column."""
    if isinstance(X, OnDisk):
        return validate_data(
            estimator, _checked(estimator, X, min_samples), reset=reset, skip_check_array=True
        )
    if hasattr(X, "columns"):
        if not len(X.columns):
            raise ValueError("X is a data frame without columns.")
        if any(_is_temporal(dtype) for dtype in X.dtypes):
            raise _column_error(X)  # dates would be converted to numbers together with others
    try:
        rows = validate_data(
            estimator,
            X,
            reset=reset,
            ensure_all_finite=False,
            ensure_min_samples=min_samples,
        )
        if rows.dtype.kind in "mM":
            raise _column_error(rows)
        return rows.astype(np.float64) if rows.dtype == object else rows
    except (TypeError, ValueError) as error:
        raise _column_error(X, error) from error


def _check_column(X):
    """Raise if an array (n,) has no samples, or contains arrays that have to be stacked."""
    if not len(X):
        raise ValueError("X is empty: it has no samples.")
    if getattr(X.dtype, "names", None):
        raise ValueError("X is a structured array. Give a data frame: pandas.DataFrame(X).")
    first = next((value for value in X if not is_missing(value)), None)
    if np.ndim(first) == 1 and not isinstance(first, str):
        raise ValueError("X is a column of arrays. Give one array, with numpy.stack(X).")


def _axis_like(shape, channels, seen):
    """Return the channel axis of images, inferred from the shape ``seen`` in fit if given."""
    if channels == "auto" and seen is not None and len(shape) == 3:
        last, first = tuple(shape) == tuple(seen), tuple(shape) == (seen[2], *seen[:2])
        if last != first:
            return 2 if last else 0
    return channel_axis(shape, channels)


def _is_temporal(dtype):
    """Return whether a dtype of pandas or polars is one of dates or times."""
    is_temporal = getattr(dtype, "is_temporal", None)
    return is_temporal() if is_temporal else getattr(dtype, "kind", None) in ("m", "M")


def _column_error(X, error=None):
    """Return the error that names the first column that is not numeric, or ``error``."""
    if issparse(X) or len(getattr(X, "shape", ())) != 2:
        return error
    names = X.columns if hasattr(X, "columns") else range(X.shape[1])
    missing = None
    for i, name in enumerate(names):
        column = np.asarray(_safe_indexing(X, i, axis=1))
        if column.dtype.kind in "buif":
            continue
        if column.dtype.kind in "mM":
            rows = np.flatnonzero(~np.isnat(column))
            row = rows[0] if len(rows) else 0
            return _value_error(name, row, column[row])
        for row, value in enumerate(column.tolist()):
            if is_missing(value):
                missing = missing or (row, name)
            elif not isinstance(value, Real | Decimal):
                return _value_error(name, row, value)
    if missing and error is not None:  # such as NA of pandas in an object column
        row, name = missing
        return ValueError(_not_finite("NaN", row, f", in column {name!r}"))
    return error


def _value_error(name, row, value):
    """Return the error for a column with a value that is not a number."""
    error, start, end = ValueError, "", ""
    dates = date, time, timedelta, np.datetime64, np.timedelta64
    if isinstance(value, dates) or type(value).__name__ == "Period":
        kind = "dates"
        remedy = "Encode them as numbers, such as days since the first date."
    elif is_path_of_image(value) or is_pillow(value):
        kind = "images" if is_pillow(value) else "paths of images"
        remedy = "Use a separate estimator for them: ColumnTransformer([('images', "
        end = f"SimCLRTransformer(), [{name!r}]), ('numbers', ..., [...])])."
    elif isinstance(value, str | bytes):
        kind, remedy = "text", "Encode categories as numbers, such as with OneHotEncoder."
    elif isinstance(value, complex):
        start, kind = "Complex data not supported: ", "complex numbers"
        remedy = "Give real and imaginary parts as columns."
    else:
        error, kind = TypeError, f"values of type {type(value).__name__}"
        remedy = "The argument must be a table of numbers, or of strings that are numbers."
    return error(
        f"{start}Column {name!r} of X holds {kind}, such as {value!r:.100} in sample {row}. "
        f"{remedy}{end}"
    )


def _to_be_resized(estimator, source, reset, listed):
    """Return whether the images of an array are read one by one, as those of files."""
    size = images_of(estimator).size
    if not source.is_image or (isinstance(size, str) and not listed):
        return False
    size = (size, size) if reset else getattr(estimator, "image_shape_", (0, 0))[:2]
    scaling = getattr(estimator, "_scaling", None)
    plain = source.array.dtype == np.uint8 and (reset or scaling is None or 0 not in scaling.ranges)
    if source.shape[1:] == size and (plain or not listed):
        return False
    if source.shape[0] not in (1, 3) or source.array.dtype.kind not in "buif":
        raise ValueError(
            "Only images of 1 or 3 channels can be resized (input=Images(size=...)). Those of X "
            f"have {source.shape[0]}, of dtype {source.array.dtype}. Resize them before."
        )
    if source.array.dtype.kind == "f" and any(
        np.isnan(source.array[part]).any() for part in source.parts()
    ):
        raise ValueError(
            "Input X contains NaN. Its images are resized and converted to bytes, which cannot be "
            "NaN. Impute missing values; inpaint takes a mask."
        )
    return True


def _shape_of_fit(estimator):
    """Return the shape of the images in fit; raise if these were not read as bytes."""
    if getattr(estimator, "image_shape_", None) is None:
        raise _fitted_on_rows(estimator)
    scaling = estimator._scaling
    if not scaling.is_bytes:
        low, high = np.min(scaling.offset), np.max(scaling.offset + 1 / scaling.scale)
        raise ValueError(
            f"Listed or resized images are read as bytes, from 0 to 255, but "
            f"{type(estimator).__name__} was fitted on values from {low:g} to {high:g}. Fit it on "
            "such images, or on an array of bytes."
        )
    return estimator.image_shape_


def _fitted_on_rows(estimator):
    """Return the error of estimators fitted on tabular data if X contains images."""
    return ValueError(
        f"X holds images, but {type(estimator).__name__} was fitted on tabular data with "
        f"{estimator.n_features_in_} features. Fit it on images first."
    )


def _flattened_images(X, image_shape, channels):
    """Return the source of images that are flattened in a two-dimensional X."""
    if len(image_shape) not in (2, 3) or not all(
        isinstance(side, Integral) and side > 0 for side in image_shape
    ):
        raise ValueError(
            "shape of Images must be two or three positive ints, (height, width), (height, width, "
            f"channels) or (channels, height, width). Got {image_shape} instead."
        )
    if math.prod(image_shape) != X.shape[1]:
        raise ValueError(
            f"input=Images(shape={image_shape}) needs {math.prod(image_shape)} columns, X has "
            f"{X.shape[1]}."
            " Set shape to that of the flattened images."
        )
    try:
        axis = channel_axis(image_shape, channels)
    except AmbiguousLayout:
        axis = 2  # the default order of shape
    return ArraySource(X, tuple(int(side) for side in image_shape), axis)


def _check_shape(estimator, source, reset):
    """Learn the shape of the samples in fit, else compare it with that in fit."""
    shape = None
    if source.is_image:
        channels, height, width = source.shape
        shape = (height, width, channels)
    if reset:
        vars(estimator).pop("image_shape_", None)
        if shape is not None:
            estimator.image_shape_ = shape
            estimator.n_features_in_ = math.prod(shape)
        return
    name, seen = type(estimator).__name__, getattr(estimator, "image_shape_", None)
    if seen is None and shape is not None:
        raise _fitted_on_rows(estimator)
    if seen is not None and shape is None:
        raise ValueError(
            f"X is tabular data, but {name} was fitted on images of (height, width, channels) = "
            f"{seen}. Pass images, or set input=Images(shape=...) for flattened ones."
        )
    takes_gray = seen != shape and getattr(estimator, "needs_color", False)
    if seen != shape and not (takes_gray and shape == (*seen[:2], 1)):
        stored, channels = source.sample_shape, images_of(estimator).channels
        turned = {"first": seen, "last": (seen[2], *seen[:2])}.get(channels) == stored
        remedy = (
            f'Their layout does not match input=Images(channels="{channels}").'
            if turned
            else "Resize them, or fit again."
        )
        raise ValueError(
            f"X holds images of (height, width, channels) = {shape}, but {name} was fitted on "
            f"{seen}. {remedy}"
        )


def _as_array(X):
    """Convert tensors and lists to arrays; raise if X is ragged or contains text."""
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        return (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    if issparse(X) or hasattr(X, "columns"):  # scikit-learn reads data frames and column names
        return X
    if isinstance(X, OnDisk):
        return X
    if hasattr(X, "__getitem__") and not hasattr(X, "__array__") and not isinstance(X, Sequence):
        return stacked_items(X)  # a dataset
    if isinstance(X, list | tuple):
        X = [_as_array(x) if isinstance(x, torch.Tensor) else x for x in X]
        _check_one_scale(X)
    if isinstance(X, np.ma.MaskedArray):
        if np.ma.is_masked(X):
            raise ValueError(
                f"X is a masked array with {np.ma.count_masked(X)} masked values. Fill them, such "
                "as with X.filled(0), or impute them."
            )
        X = X.data
    given = X
    try:
        X = np.asarray(X)
    except ValueError as error:
        shapes = list(dict.fromkeys(str(x.shape) for x in X if isinstance(x, np.ndarray)))
        raise ValueError(
            "X is a list of samples of different shapes"
            + (f", such as {' and '.join(shapes[:2])}" if shapes else "")
            + ". Give all samples the same shape, for example by resizing or cropping images."
        ) from error
    if X.dtype.kind in "USTV" and X.ndim == 2 and X.size:
        raise _column_error(np.array(given, dtype=object))  # NumPy converted its numbers to text
    if X.size and isinstance(X.flat[0], str | bytes) and X.ndim != 2:
        raise ValueError(
            f"X holds text, such as {str(X.flat[0])!r}, instead of numbers. Encode categories as "
            "numbers; give paths of images as a list or one column."
        )
    return X


def _check_one_scale(images):
    """Raise if arrays of a list have dtypes of different scales, such as bytes and floats."""
    arrays = [image for image in images if isinstance(image, np.ndarray)]
    if any(np.ma.is_masked(array) for array in arrays):
        raise ValueError("X lists masked arrays. Fill masked values, such as with .filled(0).")
    types = {}
    for i, array in enumerate(arrays):
        if array.ndim > 1:
            types.setdefault(array.dtype.name, i)
    if len(types) > 1 and not all(name.startswith("float") for name in types):
        found = ", ".join(f"{name} (such as image {i})" for name, i in types.items())
        raise ValueError(
            f"X lists images of different dtypes: {found}. Their values are on different scales. "
            "Convert all to one dtype and scale, such as bytes or floats from 0 to 1."
        )


def _check_finite(source, names=None):
    """Raise a ValueError that names the first sample with NaN or infinity."""
    if source.array.dtype.kind != "f" or get_config()["assume_finite"]:
        return
    for part in source.parts():
        chunk = source.array[part]
        finite = np.isfinite(chunk)
        if not finite.all():
            bad = np.flatnonzero(~finite.reshape(len(chunk), -1).all(axis=1))
            kind = "NaN" if np.isnan(chunk[bad[0]]).any() else "infinity"
            column = "" if source.is_image else _column_of(names, ~finite[bad[0]])
            raise ValueError(_not_finite(kind, part.start + bad[0], column))


def _not_finite(kind, row, column):
    """Return the message of errors for the first sample with NaN or infinity."""
    return (
        f"Input X contains {kind}: sample {row} is the first of them{column}. "
        "Impute or remove such samples."
    )


def _column_of(names, wrong):
    """Return the column of the first wrong value of a sample, as text."""
    i = int(wrong.argmax())
    return f", in column {i if names is None else repr(names[i])}"


def holds_nan(source):
    """Return whether samples, which were not checked, contain NaN; raise for infinity."""
    found = False
    for part in source.parts() if source.array.dtype.kind == "f" else ():
        chunk = source.array[part]
        if np.isinf(chunk).any():
            raise ValueError("Input X contains infinity. Use NaN for missing values.")
        found |= bool(np.isnan(chunk).any())
    return found
