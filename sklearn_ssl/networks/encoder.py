"""Encoders: normalization, backbone, and pooling to one feature vector per sample."""

import threading
import weakref

import numpy as np
import torch
from torch import nn

from sklearn_ssl.data.batch import shape_of
from sklearn_ssl.networks.backbone import built_backbone
from sklearn_ssl.networks.features import (
    MUST_RETURN,
    HasFeatures,
    MeanOfTokens,
    UnfitOutput,
    read_features,
)
from sklearn_ssl.networks.layers import LastMap, find_map, up_to

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of the channels

_tracing = threading.RLock()
_with_maps = weakref.WeakKeyDictionary()  # results of ``with_map``


class Encoder(nn.Module):
    """Normalize samples, apply the backbone, and pool its output to one vector per sample.

    The input is images of shape (n, c, h, w) with values in [0, 1], standardized tabular data of
    shape (n, n_features), or token ids of texts of shape (n, length); the output is a float tensor
    of shape (n, n_features_out).

    ``preprocess`` is a module applied to samples before normalization, ``read`` a function of the
    backbone and normalized samples that returns their features, and ``published`` whether a
    torchvision model has its published stem.
    """

    def __init__(
        self,
        backbone,
        mean,
        std,
        in_shape=None,
        *,
        preprocess=None,
        read=read_features,
        published=None,
    ):
        super().__init__()
        self.backbone, self.preprocess, self.read = backbone, preprocess, read
        self.in_shape, self.published = in_shape, published  # in_shape is that of a sample
        shape = (-1, 1, 1) if len(mean) else (0,)
        # On the CPU, independent of the default device.
        for name, value in {"mean": mean, "std": std}.items():
            value = torch.as_tensor(value, dtype=torch.float32, device="cpu")
            self.register_buffer(name, value.reshape(shape))

    def __setstate__(self, state):
        """Restore a pickle."""
        super().__setstate__(state)
        if isinstance(self.read, LastMap) and self.read.graphs is None:
            images = torch.zeros(2, *self.in_shape, device=self.mean.device)
            self.read = find_map(self.backbone, self.normalized(images))

    def changed(self, **parts):
        """Return an encoder with other parts, named as those of the constructor."""
        names = "backbone", "mean", "std", "in_shape", "preprocess", "read", "published"
        return Encoder(**{name: getattr(self, name) for name in names} | parts)

    @property
    def patch_size(self):
        """Side of the patches that ``visible`` indexes; None if the backbone has none."""
        ours = isinstance(self.backbone, HasFeatures)
        return getattr(self.backbone, "patch_size", None) if ours else None

    def forward(self, samples):
        """Return the pooled features of a batch."""
        if self.read is read_features and isinstance(self.backbone, HasFeatures):
            return self.backbone(self.normalized(samples))  # a call: hooks of users run
        return self.features(samples).pooled

    def features(self, samples, **how):
        """Return the :class:`~sklearn_ssl.networks.features.Features` of a batch.

        ``visible``, indices (n, k) of patches, removes all other patches from the input of a vision
        transformer.
        """
        return self.read(self.backbone, self.normalized(samples), **how)

    def normalized(self, samples):
        """Return the input of the backbone."""
        if self.preprocess is not None:
            samples = self.preprocess(samples)
        if not self.mean.numel():
            return samples
        # One pass with constants of an image's shape and memory format takes less than half the
        # time of broadcasting those of the channels.
        image = torch.zeros_like(samples[:1])
        return torch.addcmul(image - self.mean / self.std, samples, image + 1 / self.std)


def with_map(encoder):
    """Return an encoder whose features include a map, and the map's shape, (d, h, w).

    Weights are shared. Features become the mean of the map or tokens if a decoder of the map would
    not train them: if layers with weights follow it, or if they are those of one token.
    """
    images = torch.zeros(2, *encoder.in_shape, device="cpu")
    with torch.no_grad():
        encoder = encoder.eval()
        features = encoder.features(images)
        if isinstance(encoder.backbone, HasFeatures) and features.tokens is not None:
            encoder = encoder.changed(read=MeanOfTokens(encoder.backbone.token_layer))
        if features.map is None:
            read = find_map(encoder.backbone, encoder.normalized(images))
            encoder = encoder.changed(read=read).eval()
            features = encoder.features(images)
    return encoder, features.map.shape[1:]


def shared_with_map(encoder):
    """Return ``with_map(encoder)[0]``, found once for an encoder that threads may share."""
    with _tracing:  # torch.fx changes what calling modules does
        if encoder not in _with_maps:
            found, _ = with_map(encoder)
            if found is encoder:  # a value would keep its own key
                return encoder
            _with_maps[encoder] = found
        return _with_maps[encoder]


def make_encoder(
    backbone, in_shape, mean, std, *, weights=None, published=False, normalization="auto"
):
    """Build an encoder for samples of a shape (c, h, w), (n_features,) or (length, n_tokens).

    ``mean`` and ``std`` are those of the samples; ``normalization``, as in ``Images``, replaces
    them.
    """
    model, constants, published = built_backbone(backbone, in_shape, weights, published)
    if not isinstance(normalization, str):
        constants = normalization
    elif normalization != "auto":
        constants = IMAGENET if normalization == "imagenet" else None
    if constants is not None and len(in_shape) == 3:
        given = not isinstance(normalization, str)
        mean, std = (_for_channels(values, in_shape[0], given) for values in constants)
    return Encoder(model, mean, std, in_shape, published=published).float().cpu()


def _for_channels(values, n_channels, given):
    """Return one constant per channel, their mean for another number of channels.

    So an image of equal channels has the features of gray in RGB. Constants of the user must match.
    """
    values = np.atleast_1d(np.asarray(values, np.float64))
    if given and len(values) not in (1, n_channels):
        raise ValueError(
            f"normalization of Images has values for {len(values)} channels, but the images of X "
            f"have {n_channels}."
        )
    return values if len(values) == n_channels else np.full(n_channels, values.mean())


def count_features(encoder, samples, of="X or its views"):
    """Return the number of features for a batch of two samples; raise if the encoder fails.

    ``of`` names the data of their shape in the error.
    """
    shape = shape_of(samples)
    try:
        with torch.no_grad():
            features = encoder.eval()(samples)
    except UnfitOutput:
        raise
    except Exception as error:
        raise ValueError(
            f"The backbone fails on samples of shape {shape}, (channels, height, width), "
            f"(features,) or (length,), such as {of} have. Choose one that supports this "
            "shape, or resize the images."
        ) from error
    if features.ndim != 2 or len(features) != 2:
        raise UnfitOutput(
            f"{MUST_RETURN} For 2 samples of shape {shape} it returned "
            f"{tuple(features.shape)} after pooling."
        )
    if not features.isfinite().all():
        raise UnfitOutput(
            f"The backbone returns NaN or infinite values for samples of shape {shape} "
            "with values in [0, 1]. Check its weights, and divisions in its forward."
        )
    return features.shape[1]


def encoder_at(encoder, layer):
    """Return the encoder up to a layer, with shared weights; the encoder itself for None."""
    if layer is None:
        return encoder
    if hasattr(encoder.backbone, "up_to"):  # a network of several encoders
        return encoder.changed(backbone=encoder.backbone.up_to(layer))
    return encoder.changed(backbone=up_to(encoder.backbone, layer), read=read_features)
