"""Data and small settings that the tests share."""

import math
from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ssl.discovery import all_methods
from sklearn_ssl.sources import ArraySource

METHODS = list(all_methods().values())
# What engine and base do is the same for all methods: it is seen quickly with those that use all
# hooks, teachers, targets of an epoch, what follows training, and slowly with the others.
QUICK = "DINOTransformer", "DeepClusterEstimator", "SimCLRTransformer"
EACH_METHOD = [
    method if method.__name__ in QUICK else pytest.param(method, marks=pytest.mark.slow)
    for method in METHODS
]
each_method = pytest.mark.parametrize("method", EACH_METHOD)


def shrunk(method, **parameters):
    """Return an estimator of a method that trains in a moment: one epoch, narrow heads."""
    small = {field.name: 16 for field in fields(method) if field.name.endswith("_dim")}
    return method(**({"max_epochs": 1, "random_state": 0} | small | parameters))


def takes(method, kind, **parameters):
    """Tell whether a method takes "image" or "rows"; see that it says so where it does not."""
    if kind in method.default_views:
        return True
    with pytest.raises(ValueError, match="needs images"):
        shrunk(method, **parameters).fit(digits()[0][:200].reshape(200, -1))
    return False


def digits():
    """Handwritten digits that ship with scikit-learn: images (1797, 8, 8) and labels."""
    data = load_digits()
    return data.images, data.target


def photo_patches(n=128, side=32):
    """Patches of the two colour photographs that ship with scikit-learn, (n, side, side, 3)."""
    patches = [
        extract_patches_2d(photo, (side, side), max_patches=n // 2, random_state=0)
        for photo in load_sample_images().images
    ]
    return np.concatenate(patches)


@dataclass(frozen=True)
class RowsAsImages(ArraySource):
    """Rows whose features, over and over again, are the pixels of square gray images."""

    is_image = True

    @property
    def shape(self):
        side = max(8, math.ceil(math.sqrt(self.sample_shape[0])))
        return (1, side, side)

    def _as_seen(self, samples):
        rows = samples.flatten(1)
        pixel = torch.arange(math.prod(self.shape)) % rows.shape[1]
        return rows[:, pixel].reshape(len(rows), *self.shape)


def taking_rows(method):
    """The method itself if it takes rows, else one that makes images of them."""
    if "rows" in getattr(method, "default_views", ()):
        return method

    def find(self, X, **check):
        source = method._find(self, X, **check)
        return RowsAsImages(source.array, source.sample_shape)

    adapted = type(method.__name__, (method,), {"_find": find, "__module__": __name__})
    globals()[method.__name__] = adapted  # where a pickle looks for it
    return adapted
