"""Base class of estimators with an encoder: reading samples, and transform."""

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
from sklearn_ssl.data.inputs import MODALITIES, described_as, find_samples
from sklearn_ssl.data.modality import Request
from sklearn_ssl.inference.batches import embedding_batch, in_batches, moved, shared_if_large
from sklearn_ssl.inference.device import Device, device_of
from sklearn_ssl.networks.backbone import named
from sklearn_ssl.networks.defaults import default_for
from sklearn_ssl.networks.encoder import shared_with_map
from sklearn_ssl.networks.flip_tta import FlipTTA
from sklearn_ssl.networks.fuse_batchnorm import folded
from sklearn_ssl.parameters import TakesRecipes, is_auto
from sklearn_ssl.persistence.file_format import Saved

# Folding batch norms does not pay off for fewer batches.
FOLDING_BATCHES = 4


class Reader(TakesRecipes):
    """Mixin of estimators that read samples as their parameter ``input`` describes them."""

    _recipes = {"input": MODALITIES}
    # Whether fit requires color images; transform also accepts gray ones.
    needs_color = False

    def _find(self, X, *, reset, min_samples=1):
        """Check X, in fit if ``reset``; return its source, or an object that ``read()`` reads."""
        request = Request(
            name=type(self).__name__,
            device_type=resolve_device(self.device).type,
            min_samples=min_samples,
            verbose=self.verbose,
            needs_color=self.needs_color,
            seen=None if reset else self._spec,
            preprocessing=None if reset else self._scaling,
        )
        return find_samples(X, self.input, request)

    def _learn_scaling(self, source):
        """Return the scaling of the samples of a source, learned in fit."""
        return described_as(self.input, source.spec).learn(source)

    def _set_spec(self, spec):
        """Set the spec of the samples in fit, and the fitted attributes that describe X."""
        for name in self._spec.attributes() if hasattr(self, "_spec") else ():
            vars(self).pop(name, None)
        self._spec = spec
        vars(self).update(spec.attributes())


class Embedder(Reader, Saved, TransformerMixin):
    """Base class of estimators whose ``transform`` embeds samples with an ``encoder_``."""

    _recipes = Reader._recipes | {"device": (Device,)}

    def _find_again(self, X):
        """Check X after fit; return the result of ``_find``, and the device."""
        check_is_fitted(self)
        return self._find(X, reset=False), resolve_device(self.device)

    def _read_again(self, X):
        """Check X after fit; return the source of its samples, and the device."""
        found, device = self._find_again(X)
        return found.read(), device

    def _resolve_backbone(self, spec, device):
        """Return the backbone, with "auto" resolved for the samples and the device."""
        if not is_auto(self.backbone):
            return named(self.backbone)
        given_views = not is_auto(getattr(self, "views", "auto"))
        whole = given_views or getattr(self, "whole_views", False)
        return default_for(spec, device, whole).backbone

    def _resolve_precision(self, device):
        """Return the precision on a device, with "auto" resolved."""
        precision = device_of(self).precision
        if not is_auto(precision):
            return precision
        bfloat16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if bfloat16 else "float32"

    def transform(self, X):
        """Embed samples: features of the encoder, without augmentation and projection head.

        Parameters
        ----------
        X : array-like or tensor
            Samples of the same shape as in fit, in any layout supported by fit. Listed images, such
            as files, are resized to the shape of those in fit, and converted to gray if all of
            those were gray.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_features_out), float32
            Embedding. It is computed for each sample independently, up to rounding error.
        """
        return self._embedding_of(*self._find_again(X))

    def transform_map(self, X):
        """Embed the positions of images: the map of the encoder, before it is pooled to features.

        Use it to segment images or to locate objects in them. Networks return the map that the
        embedding is computed from, or the last one; vision transformers the tokens of their
        patches. With ``layer`` it is that of the layer.

        Parameters
        ----------
        X : array-like or tensor
            Images, as in ``transform``.

        Returns
        -------
        maps : ndarray of shape (n_samples, height, width, n_features), float32
            Features of each position of a grid that covers the image, with features last, like the
            channels of images; ``maps.reshape(-1, maps.shape[3])`` are samples for other
            estimators. NaN for unreadable images. With ``flip_tta`` it is the mean of the maps of
            the image and of its mirror image, mirrored back.

        Raises
        ------
        ValueError
            If X is tabular data, or the backbone has no map.
        """
        found, device = self._find_again(X)
        if not self._spec.has_maps:
            raise ValueError(
                f"transform_map requires images, but {type(self).__name__} was fitted on "
                f"{self._spec.described()}, without positions. Use transform, or set "
                "input=Images(shape=...) before fit if X holds flattened images."
            )
        encoder = shared_with_map(self.encoder_)
        encoder = moved(FlipTTA(encoder) if self.flip_tta else encoder, device)
        precision = self._resolve_precision(device) if device.type == "cuda" else "float32"
        source, copies = found.read(), getattr(encoder, "copies", 1)

        def maps(images):
            return encoder.features(images).map.permute(0, 2, 3, 1).float()

        scale = self._scaling.on(device)
        return source.aligned(in_batches(maps, source, scale, device, precision, copies=copies))

    def _embedding_of(self, found, device):
        """Return the embedding of checked samples."""
        return self._embedding(found.read(), device)

    def _embedding(self, source, device):
        """Return the embedding of the samples of a source."""
        encoder, scale = self._network(), self._scaling.on(device)
        if len(source) > FOLDING_BATCHES * embedding_batch(source, device):
            few = source.batch(slice(2))
            with torch_defaults(few.device):
                encoder = folded(encoder, self._scaling.on(few.device)(few))
        encoder, precise = moved(encoder, device), self.backbone_ == "mlp" and device.type == "cpu"
        if precise:
            # In float32, the rounding error of a sample depends on its position in the batch.
            encoder = copy.deepcopy(encoder).double()
        precision = self._resolve_precision(device) if device.type == "cuda" else "float32"
        copies = getattr(encoder, "copies", 1)

        def embed(samples):
            return encoder(samples.double() if precise else samples).float()

        with shared_if_large(source, encoder, device):
            embedding = in_batches(embed, source, scale, device, precision, copies=copies)
        return source.aligned(embedding)

    def _network(self):
        """Return the encoder, with test-time augmentation if set."""
        mirrored = self.flip_tta and self._spec.has_mirror_images
        return FlipTTA(self.encoder_) if mirrored else self.encoder_

    def _map(self, X, module, function=lambda module, samples: module(samples), finish=None):
        """Return the results of ``function(module, samples)`` for X; ``module`` is its name.

        ``finish``, if given, is applied to the results of all samples.
        """
        source, results = self._results(X, module, function)
        return source.aligned(results if finish is None else finish(results))

    def _results(self, X, module, function):
        """Return the source of X, and the results of the function for readable samples."""
        source, device = self._read_again(X)
        function = functools.partial(function, moved(attrgetter(module)(self), device))
        return source, in_batches(function, source, self._scaling.on(device), device)

    def get_feature_names_out(self, input_features=None):
        """Get output feature names for transformation: simclr0, simclr1, ...

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only used to validate feature names with the names seen in fit.

        Returns
        -------
        names : ndarray of shape (n_features_out,) of str objects
            Lowercase name of the method, and a number.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        prefix = type(self).__name__.removesuffix("Transformer").removesuffix("Estimator").lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._n_features_out)], dtype=object)

    def __sklearn_is_fitted__(self):
        """Return whether the estimator is fitted."""
        return hasattr(self, "encoder_")

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: tabular data or images as input, float32 as output."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
