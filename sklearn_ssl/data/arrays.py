"""Arrays, tensors, data frames and lists of numbers as X: conversion and checks."""

from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Real

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils import _safe_indexing, check_array

from sklearn_ssl.data.image_decoding import is_missing, is_pillow
from sklearn_ssl.data.image_lists import stacked_items
from sklearn_ssl.data.on_disk import OnDisk
from sklearn_ssl.data.recognition import is_path_of_image, recognized


def taken(X, indices):
    """Return the samples at these indices, for every type of X."""
    X = recognized(X)
    return X[indices] if isinstance(X, torch.Tensor | OnDisk) else _safe_indexing(X, indices)


def as_array(X):
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
        X = [as_array(x) if isinstance(x, torch.Tensor) else x for x in X]
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
        raise column_error(np.array(given, dtype=object))  # NumPy converted its numbers to text
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


def checked(X, request):
    """Return an array of numbers with enough samples, validated by scikit-learn if in memory."""
    if isinstance(X, OnDisk) or X.dtype.kind in "mM":
        if X.dtype.kind not in "buif":
            raise ValueError(f"X has dtype {X.dtype}. Give real numbers.")
        if len(X) < request.min_samples:
            raise ValueError(
                f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of "
                f"{request.min_samples} is required by {request.name}."
            )
        return X
    return check_array(
        X,
        allow_nd=True,
        estimator=request.name,
        input_name="X",
        ensure_all_finite=False,  # checked later, with the index of the sample in the error
        ensure_min_samples=request.min_samples,
    )


def is_temporal(dtype):
    """Return whether a dtype of pandas or polars is one of dates or times."""
    is_temporal = getattr(dtype, "is_temporal", None)
    return is_temporal() if is_temporal else getattr(dtype, "kind", None) in ("m", "M")


def column_error(X, error=None):
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


def check_finite(source, names=None):
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
