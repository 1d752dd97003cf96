"""Embedding by an untrained or pretrained encoder."""

import math
from collections.abc import Callable

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from torch import nn

from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl._runtime.sklearn_private import _fit_context
from sklearn_ssl.base import all_or_nothing, rebuilt
from sklearn_ssl.data import Described
from sklearn_ssl.inference.batches import embedding_batch
from sklearn_ssl.inference.device import Device
from sklearn_ssl.inference.embedder import Embedder
from sklearn_ssl.networks.encoder import count_features, encoder_at, make_encoder
from sklearn_ssl.parameters import Auto, FilePath, RandomState, Verbose, parameters


@parameters
class EncoderTransformer(Embedder, BaseEstimator):
    """Embed samples with an untrained (random) or pretrained encoder, without training.

    Use it as a baseline for self-supervised methods, as features of random networks are often
    better than pixels; or, with ``weights``, to extract features with a pretrained network.

    Parameters
    ----------
    backbone : str, callable or torch.nn.Module, default="auto"
        Network, as in :class:`~sklearn_ssl.SimCLRTransformer`, including "auto".

    weights : str or path, default=None
        Weights of the backbone: a file, or the name of pretrained weights of torchvision, such as
        "DEFAULT", which are downloaded at first use; see :class:`~sklearn_ssl.SimCLRTransformer`
        for supported files. With weights of torchvision models, images are normalized with their
        constants; see ``normalization`` of :class:`~sklearn_ssl.Images`. None is random
        initialization, with statistics of batch norms computed from the samples in fit, or the
        module itself if ``backbone`` is one.

    layer : str, default=None
        Name of the layer of the backbone whose output is the embedding. None is the last layer
        before the classifier.

    flip_tta : bool, default=False
        Whether ``transform`` uses horizontal-flip test-time augmentation: the embedding of an
        image is the mean of the features of the image and of its mirror image.

    input : Images, Table or "auto", default="auto"
        How X is interpreted; see :class:`~sklearn_ssl.Images` and :class:`~sklearn_ssl.Table`.

    device : str, torch.device or Device, default="auto"
        Device to compute on: "cpu", "cuda" or "cuda:1". "auto" is the GPU if one is available.
        :class:`~sklearn_ssl.Device` also sets the precision.

    random_state : int, RandomState instance or None, default=None
        Seed of weight initialization. Pass an int for reproducible results.

    verbose : int, default=0
        1 reports the size that images of files are resized to.

    Attributes
    ----------
    encoder_ : torch.nn.Module
        The encoder, on the CPU and in evaluation mode. Its ``mean`` and ``std`` are the constants
        used to normalize images with values in [0, 1].

    backbone_ : object
        Backbone, with "auto" resolved.

    image_shape_ : tuple of int
        Height, width and channels of the images. Only defined for images.

    n_features_in_ : int
        Number of features in X; for an array of images, the number of values per image, and 1 for a
        list or column of images.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during fit. Defined only if X is a DataFrame whose column names are
        all strings.

    References
    ----------
    `Saxe et al. "On random weights and unsupervised feature learning", ICML 2011
    <https://mlanthology.org/icml/2011/saxe2011icml-random/>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import EncoderTransformer
    >>> images = load_digits().images[:200]
    >>> EncoderTransformer(random_state=0).fit_transform(images).shape
    (200, 256)
    """

    backbone: str | Callable = "auto"
    weights: FilePath | None = None
    layer: str | None = None
    flip_tta: bool = False
    input: Auto | Described = "auto"
    device: str | torch.device | Device = "auto"
    random_state: RandomState = None
    verbose: Verbose = 0

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Build the encoder for samples of the shape of X.

        Parameters
        ----------
        X : array-like, tensor, DataFrame or data set
            At least two samples, in any form supported by :meth:`SimCLRTransformer.fit`.

        y : Ignored
            Not used, present for API consistency by convention.

        Returns
        -------
        self : object
            Fitted estimator. If fit raises, it is unchanged.
        """
        device = resolve_device(self.device)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        source = self._find(X, reset=True, min_samples=2).read()
        self._set_spec(source.spec)
        self._scaling = self._learn_scaling(source)
        self.backbone_ = self._resolve_backbone(source.spec, device)
        scaling = self._scaling.mean, self._scaling.std
        with isolated(device):
            with torch.device("cpu"):
                seed_torch(device, seed)
                encoder = make_encoder(
                    self.backbone_,
                    source.shape,
                    *scaling,
                    weights=self.weights,
                    normalization=getattr(self.input, "normalization", "auto"),
                )
                count_features(encoder, source.spec.samples())
                self._published = encoder.published
                self.encoder_ = encoder_at(encoder, self.layer).eval()
                self._n_features_out = count_features(self.encoder_, source.spec.samples())
            if self.weights is None and not isinstance(self.backbone, nn.Module):
                self._measure(source, device)
        return self

    def _measure(self, source, device):
        """Compute the statistics of batch norms from the samples."""
        encoder = self.encoder_
        norms = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        encoder.to(device)
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.train().momentum = None  # the mean over batches
        scale, n_batches = self._scaling.on(device), len(source) / embedding_batch(source, device)
        with torch.inference_mode():
            for part in np.array_split(np.arange(len(source)), math.ceil(n_batches)):
                encoder(scale(source.batch(part, device)))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.encoder_ = encoder.cpu().eval()

    def _weights(self):
        """Return the state of the encoder."""
        return self.encoder_.state_dict() if hasattr(self, "encoder_") else None

    def _rebuild(self, weights):
        """Rebuild the encoder of a restored fit, with these weights."""
        self.encoder_ = rebuilt(self._new_encoder, weights, self)

    def _new_encoder(self, published):
        """Return the encoder of fit, or of the fine-tuned method, with other weights."""
        if hasattr(self, "_pretrained"):
            encoder = self._pretrained._new_encoder(published)
            return encoder.to(memory_format=torch.channels_last)  # as after training
        constants, shape = (self._scaling.mean, self._scaling.std), self._spec.shape
        encoder = make_encoder(self.backbone_, shape, *constants, published=published)
        count_features(encoder, self._spec.samples())
        return encoder_at(encoder, self.layer)
