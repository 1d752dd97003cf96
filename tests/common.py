"""Data and small settings that the tests share."""

from dataclasses import fields

import numpy as np
from sklearn.datasets import load_digits, load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ssl.discovery import all_methods

METHODS = list(all_methods().values())


def shrunk(method, **parameters):
    """Return an estimator of a method that trains in a moment: one epoch, narrow heads."""
    small = {field.name: 16 for field in fields(method) if field.name.endswith("_dim")}
    return method(**({"max_epochs": 1, "random_state": 0} | small | parameters))


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
