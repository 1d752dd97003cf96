"""What embeds samples with a network: reading them, and what estimators with an encoder share."""

import copy
import functools
from operator import attrgetter

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.isolation import torch_defaults
from sklearn_ssl._runtime.sklearn_private import _check_feature_names_in
from sklearn_ssl.data import Images, Table
from sklearn_ssl.data.inputs import find_samples
from sklearn_ssl.inference.batches import FlipTTA, embedding_batch, in_batches, moved
from sklearn_ssl.inference.device import Device, device_of
from sklearn_ssl.networks.backbone import named
from sklearn_ssl.networks.defaults import default_for
from sklearn_ssl.networks.fuse_batchnorm import folded
from sklearn_ssl.parameters import TakesRecipes
from sklearn_ssl.persistence.file_format import Saved

# What size="auto" of Images is at most: training on larger images takes hours on a CPU.
LARGEST_SIZE = {"cpu": 64, "cuda": 224}
# Folding takes longer than it saves in a few batches.
FOLDING_BATCHES = 4


class Embedder(TakesRecipes, Saved, TransformerMixin):
    """Base of the estimators that have an ``encoder_``, and ``transform`` samples with it."""

    _recipes = {"input": (Images, Table), "device": (Device,)}

    def _find(self, X, **check):
        """Check X and return its source, or the images that it lists, which ``read()`` decodes."""
        largest_size = LARGEST_SIZE[resolve_device(self.device).type]
        return find_samples(self, X, largest_size=largest_size, **check)

    def _find_again(self, X):
        """Check X beside that of fit; return what ``_find`` does, and the device."""
        check_is_fitted(self)
        return self._find(X, reset=False), resolve_device(self.device)

    def _read_again(self, X):
        """Check X beside that of fit; return the source of its samples, and the device."""
        found, device = self._find_again(X)
        return found.read(), device

    def _resolve_backbone(self, source, device):
        """Return the backbone, with "auto" resolved for the samples and the device."""
        if not is_auto(self.backbone):
            return named(self.backbone)
        if not source.is_image:
            return "mlp"
        given_views = not is_auto(getattr(self, "views", "auto"))
        whole = given_views or getattr(self, "whole_views", False)
        return default_for(source, device, whole).backbone

    def _resolve_precision(self, device):
        """Return the number type of a network's products on a device."""
        precision = device_of(self).precision
        if not is_auto(precision):
            return precision
        bfloat16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if bfloat16 else "float32"

    def _sample_shape(self):
        """Return the shape of a sample as networks see it."""
        if not hasattr(self, "image_shape_"):
            return (self.n_features_in_,)
        height, width, channels = self.image_shape_
        return (channels, height, width)

    def transform(self, X):
        """Embed samples: the encoder's features, without random views and without the head.

        Parameters
        ----------
        X : array-like or tensor
            Samples as in fit, of the same shape, in any layout that fit takes. Images that X lists,
            as files, get the shape of fit's, and become gray if all of those were.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_features_out), float32
            The embedding. That of a sample does not depend on the others in X, but for rounding.
        """
        return self._embedding_of(*self._find_again(X))

    def _embedding_of(self, found, device):
        """Return the embedding of samples that were found."""
        return self._embedding(found.read(), device)

    def _embedding(self, source, device):
        """Return the embedding of the samples of a source."""
        encoder, scale = self._network(), self._scaling.on(device)
        if len(source) > FOLDING_BATCHES * embedding_batch(source, device):
            few = source.batch(slice(2))
            with torch_defaults(few.device):
                encoder = folded(encoder, self._scaling.on(few.device)(few))
        encoder, dtype = moved(encoder, device), torch.float32
        if self.backbone_ == "mlp" and device.type == "cpu":
            # A product of float32 matrices rounds a row by where it stands in them.
            encoder, dtype = copy.deepcopy(encoder).double(), torch.float64
        precision = self._resolve_precision(device) if device.type == "cuda" else "float32"
        copies = getattr(encoder, "copies", 1)
        embedding = in_batches(
            lambda x: encoder(x.to(dtype)).float(), source, scale, device, precision, copies=copies
        )
        return source.aligned(embedding)

    def _network(self):
        """Return the module that embeds samples with the trained encoder."""
        is_image = len(self._sample_shape()) == 3
        return FlipTTA(self.encoder_) if self.flip_tta and is_image else self.encoder_

    def _map(self, X, module, function=lambda module, samples: module(samples), finish=None):
        """Return what a function of a fitted module, given by its name, and samples gives for X.

        ``finish``, if given, turns the results of all samples at once into what is returned.
        """
        source, results = self._results(X, module, function)
        return source.aligned(results if finish is None else finish(results))

    def _results(self, X, module, function):
        """Return the source of X, and what the function gives for those that can be read."""
        source, device = self._read_again(X)
        function = functools.partial(function, moved(attrgetter(module)(self), device))
        return source, in_batches(function, source, self._scaling.on(device), device)

    def _map_images(self, source, device, function, beside=None, copies=1):
        """Return the images that a function of the objective and images from 0 to 1 makes of them.

        They are like those of X: in layout, in range, and in number type if that is bytes. What is
        ``beside``, a tensor with a row for each of X, goes to the function as well. They have the
        pixels of so many ``copies`` of X.
        """
        objective, as_bytes = moved(self._objective, device), source.array.dtype == np.uint8
        beside = beside if beside is None else beside[getattr(source, "rows", slice(None))]

        def make(images, *more):  # bytes at once, as all images together are large
            return self._scaling.undone(function(objective, images, *more), as_bytes)

        scale = self._scaling.on(device)
        images = in_batches(make, source, scale, device, copies=copies, beside=beside)
        return source.aligned(source.laid_out(images))

    def get_feature_names_out(self, input_features=None):
        """Return the names of the embedding's features: simclr0, simclr1, ...

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only checked against ``feature_names_in_``.

        Returns
        -------
        names : ndarray of shape (n_features_out,) of str objects
            The method's name in lower case and a number.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        prefix = type(self).__name__.removesuffix("Transformer").removesuffix("Estimator").lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._n_features_out)], dtype=object)

    def __sklearn_is_fitted__(self):
        """Tell whether fit has ended at least once."""
        return hasattr(self, "encoder_")

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: rows as well as images in, float32 out."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def is_auto(value):
    """Tell whether a parameter is "auto"."""
    return isinstance(value, str) and value == "auto"
