"""Detection of single samples and other invalid types of X, and their error messages."""

import os
from collections.abc import Iterable, Mapping
from numbers import Number
from os import PathLike

import numpy as np
import torch
from scipy.sparse import issparse

from sklearn_ssl.data.folders import SUFFIXES
from sklearn_ssl.data.image_decoding import is_image, is_pillow
from sklearn_ssl.data.on_disk import OnDisk

LONGEST_PATH = 4096  # strings that are longer are no paths
# Keys of an image in a dict, and keys of a column of samples.
IMAGE_KEYS = "image", "img", "bytes", "path"
COLUMN_KEYS = (*IMAGE_KEYS, "images", "pixel_values", "data", "X", "x")


def recognized(X):
    """Return X, with arrays on disk wrapped; raise if it is not a collection of samples.

    Collections are arrays, tensors, data frames and their columns, lists, tuples, datasets with
    ``__len__`` and ``__getitem__``, and sparse matrices, which scikit-learn refuses later.
    """
    if issparse(X) or isinstance(X, OnDisk):
        return X
    for applies, text in NO_SAMPLES:
        if applies(X):
            keys = list(X)[:5] if "{keys}" in text else ()
            column = next((key for key in COLUMN_KEYS if key in keys), keys[0] if keys else None)
            fields = {"value": f"{X!r:.100}", "kind": type(X).__name__}
            raise ValueError(f"X is {text.format(**fields, keys=keys, column=column)}")
    shape, kind = getattr(X, "shape", ()), getattr(getattr(X, "dtype", None), "kind", None)
    in_memory = isinstance(X, np.ndarray | torch.Tensor) or hasattr(X, "columns")
    if in_memory or not _is_indexed(X) or kind is None or kind not in "buifcmM":
        return X
    if isinstance(shape, tuple) and len(shape) > 1:
        return OnDisk(X)
    return X


def is_path_of_image(value):
    """Return whether a value is a path with the file extension of an image."""
    return isinstance(value, PathLike) or (
        isinstance(value, str) and value.lower().endswith(SUFFIXES)
    )


def is_path(text):
    """Return whether a string is the path of a file or folder that exists."""
    possible = 0 < len(text) <= LONGEST_PATH and "\0" not in text
    return possible and (os.path.isfile(text) or os.path.isdir(text))


def is_shape_of_one(shape):
    """Return whether a shape (a, b, c) is that of one image, rather than gray images (n, h, w)."""
    last = min(shape[:2]) > 4 >= shape[2]  # gray images of such a small width are unlikely
    return last or (shape[0] == 3 and min(shape[1:]) > 4)


def _may_be_path(text):
    """Return whether a string looks like the path of an image or a folder."""
    known = is_path_of_image(text) or is_path(text)
    return known or (os.sep in text and not any(map(str.isspace, text)))


def _is_scalar(X):
    return X is None or isinstance(X, Number | type) or getattr(X, "shape", None) == ()


def _is_image(X):
    encoded = isinstance(X, bytes | bytearray | memoryview)
    return encoded or is_pillow(X) or (hasattr(X, "seek") and hasattr(X, "read"))


def _is_array(X, n_dims=(1, 2, 3, 4)):
    return isinstance(X, np.ndarray | torch.Tensor) and X.ndim in n_dims


def _is_pair(X):
    """Return whether X is (image, label)."""
    if not isinstance(X, tuple) or len(X) != 2 or not is_image(X[0]):
        return False
    is_word = isinstance(X[1], str) and not is_path_of_image(X[1])
    return _is_scalar(X[1]) or (is_word and is_path_of_image(X[0]))


def _is_list_of(X, applies):
    return isinstance(X, list | tuple) and len(X) > 0 and applies(X[0])


def _is_paths(X):
    """Return whether X is a list or array of paths of images."""
    listed = isinstance(X, list | tuple | np.ndarray) and getattr(X, "ndim", 1) == 1
    return listed and len(X) > 1 and is_path_of_image(X[0])


def _is_with_labels(X):
    """Return whether X is (samples, labels), such as the output of image_paths or a batch."""
    if not isinstance(X, list | tuple) or len(X) != 2 or not all(hasattr(x, "__len__") for x in X):
        return False
    samples, labels = X
    of_samples = _is_array(samples, (2, 3, 4)) or _is_paths(samples)
    of_labels = _is_array(labels, (1,)) or isinstance(labels, list | tuple)
    return of_samples and of_labels and not _is_paths(labels) and len(samples) == len(labels)


def _is_nested(X):
    """Return whether X is a list of lists of paths."""
    return _is_list_of(X, lambda item: _is_paths(item) and is_path_of_image(item[1]))


def _is_label_first(X):
    """Return whether X is a list of pairs (label, image)."""

    def applies(item):
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        label, image = item
        is_word = isinstance(label, str) and not (is_path_of_image(label) or os.path.exists(label))
        return (is_word or _is_scalar(label)) and (
            is_path_of_image(image) or (is_image(image) and not isinstance(image, str))
        )

    return _is_list_of(X, applies)


def _is_lines(X):
    """Return whether X is a list of the pixel rows of one image, such as list(image)."""

    def applies(item):
        return _is_array(item, (2,)) and is_shape_of_one((len(X), *item.shape)) and len(X) > 3

    return _is_list_of(X, applies) and len({getattr(item, "shape", None) for item in X}) == 1


def _is_dict(X):
    array = hasattr(X, "dtypes") or hasattr(X, "columns") or hasattr(X, "shape")
    group = callable(getattr(X, "keys", None)) and hasattr(X, "__contains__")  # of zarr
    return isinstance(X, Mapping) or (group and not array)


def _is_sample(X):
    """Return whether X is a dict with one image, such as an item of a Hugging Face dataset."""
    if not _is_dict(X):
        return False
    images = [X[key] for key in X if key in IMAGE_KEYS or _is_image(X[key])]
    return any(
        is_image(value)
        and not (
            _is_array(value, (3,)) and 1 not in value.shape and not is_shape_of_one(value.shape)
        )
        for value in images
    )


def _is_columns(X):
    return _is_dict(X) and any(
        (hasattr(X[key], "__len__") or hasattr(X[key], "shape")) and not isinstance(X[key], str)
        for key in X
    )


def _is_loader(X):
    batches = hasattr(X, "dataset") and hasattr(X, "batch_size")
    return batches or isinstance(X, torch.utils.data.dataloader._BaseDataLoaderIter)


def _is_lazy(X):
    return hasattr(type(X), "columns") and (hasattr(X, "collect") or hasattr(X, "compute"))


def _is_closed(X):
    """Return whether X is an h5py array in a closed file."""
    return type(X).__module__.startswith("h5py") and not X


def _is_indexed(X):
    return hasattr(X, "__len__") and hasattr(X, "__getitem__")


def _is_readable(X):
    """Return whether X can be indexed or converted to an array."""
    return _is_indexed(X) or any(
        hasattr(X, name) for name in ("__array__", "__array_namespace__", "__dlpack__", "columns")
    )


def _is_iterator(X):
    return isinstance(X, Iterable) and not _is_readable(X)


LIST = "Give a list, an array, a data frame or a dataset of samples"
# Tests for invalid types of X, and the message that follows "X is". The first match is used.
NO_SAMPLES = (
    (_is_lazy, "a lazy data frame. Give X.collect() or X.compute()."),
    (_is_closed, "an array in a closed file. Keep the file open while X is used."),
    (
        lambda X: isinstance(X, PathLike) or (isinstance(X, str) and _may_be_path(X)),
        "one path, {value}. Give a list of paths: sklearn_ssl.image_paths lists those of a folder.",
    ),
    (lambda X: isinstance(X, str), "one text, {value}. Give a list of texts: [text]."),
    (_is_image, "one image. Give a list of images: [image]."),
    (_is_scalar, f"{{value}}, of type {{kind}}. {LIST}."),
    (_is_lines, "a list of the pixel rows of one image. Give a list of images: [image]."),
    (_is_pair, "one pair (image, label). Give a list of pairs: [(image, label)]."),
    (_is_with_labels, "a pair of samples and labels. Give them as two arguments: X, y = X."),
    (_is_nested, "a list of lists of paths. Give one list of paths."),
    (_is_label_first, "a list of pairs with the label first. Give (image, label)."),
    (_is_sample, "one sample, a dict. Give a list of samples: [sample]."),
    (_is_columns, "a dict with the keys {keys}. Give the column with the samples: X[{column!r}]."),
    (_is_dict, f"a dict with the keys {{keys}}. {LIST}, such as list(X) or list(X.values())."),
    (_is_loader, "a DataLoader, which yields batches. Give its dataset: X.dataset."),
    (
        lambda X: isinstance(X, torch.utils.data.IterableDataset),
        "an iterable dataset. Give one with __len__ and __getitem__, or list(X).",
    ),
    (_is_iterator, "of type {kind}, which cannot be indexed. Give a list: list(X)."),
    (lambda X: not _is_readable(X), f"of type {{kind}}. {LIST}, with __len__ and __getitem__."),
)
