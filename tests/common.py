"""Data and small settings that the tests share."""

import functools
import importlib
import inspect
import math
import os
import random
import re
import signal
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ssl.data import Table
from sklearn_ssl.data.modality import Given, Request
from sklearn_ssl.data.sources import ArraySource
from sklearn_ssl.data.spec import TableSpec
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.methods._patches import TakesPatches

ALL_METHODS = list(all_methods().values())
TEXT_METHODS = list(all_methods("text").values())
# Methods for arrays of numbers.
METHODS = [m for m in ALL_METHODS if {"image", "table"} & set(m.default_views)]
IMAGE_METHODS = list(all_methods("image").values())
# What engine and base do is the same for all methods: it is seen quickly with those that use all
# hooks, teachers, targets of an epoch, what follows training, and slowly with the others.
QUICK = "DINOTransformer", "DeepClusterEstimator", "SimCLRTransformer"
# These stand for the others where all that is tested is shared: each has hooks, networks, fitted
# attributes or input of its own. The others' own code has tests of its own.
STANDING = *QUICK, "BERTTransformer", "ColorizationTransformer", "EMPSSLTransformer"
STANDING += "ExemplarTransformer", "InpaintingTransformer", "JigsawTransformer", "MAETransformer"
STANDING += ("VIMETransformer",)
REPRESENTED = [m.__name__ for m in ALL_METHODS if m.__name__ not in STANDING]
# Of each way to learn one, whose tests of its own code are quick.
QUICK_OWN = *QUICK, "BERTTransformer", "InpaintingTransformer", "MAETransformer", "MoCoTransformer"
QUICK_OWN += "SCANEstimator", "VIMETransformer"


def slowly(value):
    """Return a value of a parametrized test that runs with the slow tests only."""
    return pytest.param(value, marks=pytest.mark.slow)


def exhaustively(value):
    """Return a value of a parametrized test that runs with the exhaustive tests only."""
    return pytest.param(value, marks=pytest.mark.exhaustive)


def each_of(methods):
    """Return the mark that runs a test of shared code for each of these methods."""
    marked = [m if m.__name__ in QUICK else rarely(m) for m in methods]
    return pytest.mark.parametrize("method", marked)


def each_of_long(methods):
    """Return the mark of a test of shared code that takes seconds for each of these methods."""
    marks = {QUICK[-1]: lambda method: method} | dict.fromkeys(QUICK[:-1], slowly)
    marked = [marks.get(m.__name__, exhaustively)(m) for m in methods]
    return pytest.mark.parametrize("method", marked)


def rarely(method):
    """Return a method of a parametrized test of shared code that is slow, or exhaustive."""
    return exhaustively(method) if method.__name__ in REPRESENTED else slowly(method)


def quick_or_slow(methods):
    """Return methods of a parametrized test of their own code; most run with the slow tests."""
    return [m if m.__name__ in QUICK_OWN else slowly(m) for m in methods]


def quick_or_rare(methods):
    """Return methods of a parametrized test; those that others stand for run exhaustively."""
    return [m if m.__name__ in QUICK_OWN else rarely(m) for m in methods]


each_method, each_image_method = each_of(METHODS), each_of(IMAGE_METHODS)
# For tests that take seconds a method.
each_method_long = each_of_long(METHODS)
each_image_method_long = each_of_long(IMAGE_METHODS)
# For tests of what is each method's own.
each_method_slowly = pytest.mark.parametrize(
    "method", [m if m.__name__ == QUICK[-1] else rarely(m) for m in METHODS]
)


# For programs that run beside other tests: threads that wait for each other's turn waste it.
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def shrunk(method, **parameters):
    """Return an estimator of a method that trains in a moment: one epoch, narrow heads."""
    small = {field.name: 16 for field in fields(method) if field.name.endswith("_dim")}
    return taking_gray(method)(**({"max_epochs": 1, "random_state": 0} | small | parameters))


def takes(method, kind, **parameters):
    """Report whether a method takes "image" or "table"; check its error where it does not."""
    if kind in method.default_views:
        return True
    X, needed = digits()[0][:200], "tabular data"
    if kind == "table":
        X, needed = X.reshape(200, -1), "images"
    with pytest.raises(ValueError, match=f"needs {needed}"):
        shrunk(method, **parameters).fit(X)
    return False


def takes_network(method, backbone):
    """Report whether a method takes a network for images; check its error, if not."""
    if not issubclass(method, TakesPatches) or backbone == "small_vit":
        return True
    with pytest.raises(ValueError, match="needs a vision transformer"):
        shrunk(method, backbone=backbone).fit(suited(method, digits()[0][:20]))
    return False


def digits():
    """Handwritten digits that ship with scikit-learn: images (1797, 8, 8) and labels."""
    data = load_digits()
    return data.images, data.target


def photo_patches(n=128, side=32):
    """Patches of the two color photographs that ship with scikit-learn, (n, side, side, 3)."""
    patches = [
        extract_patches_2d(photo, (side, side), max_patches=n // 2, random_state=0)
        for photo in load_sample_images().images
    ]
    return np.concatenate(patches)


MODULES = "numpy", "scipy.signal", "scipy.stats", "sklearn.metrics", "torch.nn"


@functools.cache
def sentences(n=140):
    """Paragraphs of the docstrings of modules, and the index of the module, n of each."""
    texts, labels = [], []
    for label, name in enumerate(MODULES):
        found = set()
        for key, value in vars(importlib.import_module(name)).items():
            text = "" if key.startswith("_") else inspect.getdoc(value) or ""
            parts = (" ".join(part.split()) for part in text.split("\n\n"))
            found |= {part for part in parts if re.fullmatch(r"[A-Z][^>|]{30,300}\.", part)}
        texts += np.random.default_rng(0).permutation(sorted(found))[:n].tolist()
        labels += [label] * n
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order], np.array(labels)[order]


def suited(method, X):
    """Return gray images, or what they are in colors if a method needs these."""
    if not method.needs_color:
        return X
    return tinted(torch.from_numpy(X)[:, None]).permute(0, 2, 3, 1).numpy()


def tinted(gray):
    """Return gray images (n, 1, h, w) in colors that say where most of the ink is."""
    sides = (torch.linspace(-1, 1, side, device=gray.device) for side in gray.shape[2:])
    x, y = (gray.float() * torch.stack(torch.meshgrid(*sides, indexing="ij"))).mean((2, 3)).T
    angle = torch.atan2(y, x)[:, None] + torch.arange(3, device=gray.device) * (2 * math.pi / 3)
    shares = (1 + angle.cos()) / (1 + angle.cos()).amax(dim=1, keepdim=True)
    return (gray * shares[:, :, None, None]).to(gray.dtype)


@dataclass(frozen=True)
class Tinted(ArraySource):
    """Gray images of an array, in colors."""

    @property
    def shape(self):
        return (3, *super().shape[1:])

    def _as_seen(self, samples):
        return tinted(super()._as_seen(samples))


def narrow_network():
    """A network that the CPU computes quickly in half precision, for digits."""
    torch.manual_seed(0)
    layers = torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU()
    return torch.nn.Sequential(*layers)


def taking_gray(method):
    """The method itself, or one that learns from gray images in colors if it needs these.

    What transform takes is as it was.
    """
    if not getattr(method, "needs_color", False):
        return method

    def colored(source):
        if type(source) is not ArraySource or source.shape[0] != 1 or not source.is_image:
            return source
        colors = Tinted(source.array, source.sample_shape, source.channel_axis)
        return replace(colors, spec=replace(colors.spec, names=source.spec.names))

    def find(self, X, **check):
        source = method._find(self, X, **check)
        return colored(source) if "min_samples" in check else source  # in fit

    def read_again(self, X):
        source, device = method._read_again(self, X)
        return colored(source), device

    return _adapted(method, _find=find, _read_again=read_again)


def _adapted(method, **functions):
    """Return a subclass of the same name, which is left where a pickle looks for it."""
    place = "".join([method.__qualname__, *functions])
    where = {"__module__": __name__, "__qualname__": place}
    return globals().setdefault(place, type(method.__name__, (method,), functions | where))


@dataclass(frozen=True)
class RowsAsImages(ArraySource):
    """Rows whose features, over and over again, are the pixels of square images."""

    is_image = True
    in_color: bool = False

    @property
    def shape(self):
        side = max(8, math.ceil(math.sqrt(self.sample_shape[0])))
        return (3 if self.in_color else 1, side, side)

    def _as_seen(self, samples):
        rows = samples.flatten(1)
        pixel = torch.arange(math.prod(self.shape[1:])) % rows.shape[1]
        gray = rows[:, pixel].reshape(len(rows), 1, *self.shape[1:])
        return tinted(gray) if self.in_color else gray


def text_of(row):
    """A text with a word for each feature: its place, and where its value lies among five."""
    bins = np.digitize(row, [-1.0, 0.0, 1.0, 10.0])
    return " ".join(f"{'abcdefghijklmnopqrstuvwxyz'[i % 26]}{b}" for i, b in enumerate(bins))


def taking_rows(method):
    """The method itself if it takes rows, else one that makes images, or texts, of them."""
    kinds = getattr(method, "default_views", ())
    if "table" in kinds:
        return method
    if kinds and "image" not in kinds:
        return taking_rows_as_texts(method)

    def find(self, X, **check):
        fitted = getattr(self, "_spec", None)
        if fitted is not None:  # tabular data, as that in fit
            self._spec = TableSpec((fitted.n_features,), fitted.n_features, fitted.names)
        try:
            source = method._find(self, X, **check)
        finally:
            if fitted is not None:
                self._spec = fitted
        in_color = getattr(method, "needs_color", False)
        images = RowsAsImages(source.array, source.sample_shape, in_color=in_color)
        return replace(images, spec=images.spec.named(source.spec))

    return _adapted(method, _find=find)


def taking_rows_as_texts(method):
    """A method for texts that makes texts of the rows of a table."""

    def find(self, X, *, reset, min_samples=1):
        spec = getattr(self, "_spec", None)
        seen = None if reset else TableSpec((spec.n_features,), spec.n_features, spec.names)
        request = Request(type(self).__name__, "cpu", min_samples, seen=seen)
        rows = Table().find(Given(X, seen), request)
        texts = [text_of(row) for row in rows.array]
        found = method._find(self, texts, reset=reset, min_samples=min_samples)
        return replace(found, spec=found.spec.named(rows.spec))

    return _adapted(method, _find=find)


def training_of(estimator, n_samples):
    """Return the settings of training on so many rows."""
    spec = TableSpec((4,), n_features=4)
    return estimator._resolve_training(spec, n_samples, torch.device("cpu"), 0, 0, True)


def check_inputs():
    """The pairs A, B for which the values of the losses are known, shape (6, 4) each."""
    i = torch.arange(6, dtype=torch.float64)[:, None]
    j = torch.arange(4, dtype=torch.float64)
    a = torch.sin(0.7 * i + 1.3 * j + 0.1 * i * j)
    return a, a + 0.3 * torch.cos(1.1 * i - 0.5 * j)


def process_state():
    return (
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        signal.getsignal(signal.SIGINT),
    )
