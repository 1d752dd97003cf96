"""Encoders: normalization, backbone, and pooling to one feature vector per sample."""

import contextlib
import dataclasses
import difflib
import math
import threading
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from sklearn_ssl.networks.backbone import built_backbone

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of the channels
# Entries of dicts and similar outputs that are used as features, in this order. Poolers are last,
# since many networks have an untrained one.
OUTPUTS = "last_hidden_state", "features", "pooler_output"
MUST_RETURN = (
    "The backbone must return a vector, a map or tokens per sample: a floating-point tensor "
    "of shape (n, d), (n, d, height, width) or (n, tokens, d)."
)
# Threads may share a fitted encoder and the attribute that stores its map.
_one_at_a_time = threading.RLock()


class Encoder(nn.Module):
    """Normalize samples, apply the backbone, and pool its output to one vector per sample.

    The input is images of shape (n, c, h, w) with values in [0, 1], or standardized tabular data of
    shape (n, n_features); the output is a float tensor of shape (n, n_features_out).
    """

    def __init__(self, backbone, mean, std, in_shape=None):
        super().__init__()
        self.backbone = backbone
        self.in_shape = in_shape  # shape of a sample
        self.published = None  # whether a torchvision model has its published stem
        self.seen_as = None  # function applied to samples before normalization
        self.map_hook = None  # stores the map of the layer found by ``find_map``
        self.reads_map = False  # whether features are the map's mean, set by ``find_map``
        shape = (-1, 1, 1) if len(mean) else (0,)
        # On the CPU, independent of the default device.
        for name, value in {"mean": mean, "std": std}.items():
            value = torch.as_tensor(value, dtype=torch.float32, device="cpu")
            self.register_buffer(name, value.reshape(shape))

    @property
    def patch_size(self):
        """Side of the patches that ``keep`` indexes; None if the backbone has no ``tokens``."""
        return self.backbone.patch_size if hasattr(self.backbone, "tokens") else None

    def forward(self, samples, dense=False, keep=None):
        """Return the features of a batch; if ``dense``, also the map that they are pooled from.

        With ``keep``, indices (n, k) of visible patches, return the tokens, those of patches last.
        """
        if self.seen_as is not None:
            samples = self.seen_as(samples)
        if self.mean.numel():
            # One pass with constants of an image's shape and memory format takes less than half
            # the time of broadcasting those of the channels.
            image = torch.zeros_like(samples[:1])
            samples = torch.addcmul(image - self.mean / self.std, samples, image + 1 / self.std)
        if keep is not None:
            return self.backbone.tokens(samples, keep)
        if not dense and not self.reads_map:
            return _pooled(self._output(samples))
        # All layers run: those after the map update their statistics.
        with contextlib.nullcontext() if self.training else _one_at_a_time:
            self.map_hook.wanted = True
            try:
                features = self._output(samples)
            finally:
                maps, self.map_hook.wanted, self.map_hook.result = self.map_hook.result, False, None
        features = _pooled(maps if self.reads_map else features)
        return (features, as_map(maps)) if dense else features

    def _output(self, samples):
        """Return the tensor that the backbone returns for normalized samples."""
        features = output_of(self.backbone(samples))
        if features.dtype != samples.dtype:
            narrow = torch.is_autocast_enabled(features.device.type)
            if not narrow or features.dtype is torch.float64:
                features = features.to(samples.dtype)
        return features

    def find_map(self):
        """Find the last map, or tokens, of the backbone; return its shape, (d, h, w).

        Features become the map's mean if they would not be trained by a decoder of the map: if
        layers with weights follow it, or for tokens, of which only one may be used.
        """
        images, found, hooks = torch.zeros(2, *self.in_shape, device="cpu"), {}, []
        self.reads_map = False
        for name, module in self.backbone.named_modules():

            def keep(module, given, result, name=name):
                found.pop(name, None)  # ordered by the last call
                found[name] = result

            hooks.append(module.register_forward_hook(keep))
        with torch.enable_grad():
            features = self.eval()(images)
        for hook in hooks:
            hook.remove()
        pools = nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d
        layers = {name: self.backbone.get_submodule(name) for name in found}
        maps = {
            name: result
            for name, result in found.items()
            if is_map(result, self.in_shape[-1]) and not isinstance(layers[name], pools)
        }
        if not maps:
            raise ValueError(
                "This method needs a backbone that makes a map, such as "
                '"small_convnet" or "resnet18", or with tokens, such as "small_vit". No layer of '
                "this one returns either."
            )
        name, map_ = maps.popitem()
        weights = [weight for weight in self.backbone.parameters() if weight.requires_grad]
        follow = _reached(features, weights) - _reached(map_, weights)
        self.reads_map = map_.ndim == 3 or bool(follow)
        if self.map_hook is None:  # else it is a copy of an encoder that has one
            self.map_hook = OutputHook(name)
            layers[name].register_forward_hook(self.map_hook)
        return as_map(map_).shape[1:]


class OutputHook:
    """Forward hook that stores the output of a layer while ``wanted``."""

    changes_nothing = True  # read by ``folded``

    def __init__(self, layer):
        self.layer, self.wanted, self.result = layer, False, None

    def __call__(self, module, given, result):
        """Store the output."""
        if self.wanted:
            self.result = result


def _reached(result, weights):
    """Return the indices of the weights that a result depends on."""
    if not result.requires_grad:
        return set()
    found = torch.autograd.grad(result.sum(), weights, retain_graph=True, allow_unused=True)
    return {i for i, gradient in enumerate(found) if gradient is not None}


def is_map(tensor, side):
    """Return whether a tensor is maps of more than one position, or tokens of a square grid.

    A last dimension larger than the image's side is taken for channels.
    """
    if not isinstance(tensor, torch.Tensor) or tensor.ndim not in (3, 4):
        return False
    if tensor.ndim == 4:
        return tensor.shape[2] * tensor.shape[3] > 1 and tensor.shape[3] <= side
    return tensor.shape[1] > 2 and math.isqrt(n_patches(tensor)) ** 2 == n_patches(tensor)


def n_patches(tokens):
    """Return the number of patches among tokens (n, t, d), of which one may be the class token."""
    t = tokens.shape[1]
    return t - 1 if math.isqrt(t - 1) ** 2 == t - 1 else t


def as_map(features):
    """Return maps unchanged, and tokens (n, t, d) as a map (n, d, h, w) without class token."""
    if features.ndim == 4:
        return features
    n = n_patches(features)
    return features[:, -n:].transpose(1, 2).unflatten(2, (math.isqrt(n), -1))


class UnfitOutput(ValueError):  # noqa: N818
    """Raised if the output of a backbone cannot be used as features."""


def output_of(result):
    """Return the features in the output of a backbone.

    They are the first entry of a tuple or list; of a dict, dataclass or ModelOutput the first of
    ``OUTPUTS``, or the only tensor.
    """
    got = result
    if isinstance(result, tuple) and hasattr(result, "_asdict"):
        result = result._asdict() if set(OUTPUTS) & set(result._fields) else result[0]
    elif isinstance(result, tuple | list) and result:
        result = result[0]
    elif dataclasses.is_dataclass(result) and not isinstance(result, Mapping):
        result = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        tensors = {k: v for k, v in result.items() if isinstance(v, torch.Tensor)}
        names = [name for name in (*OUTPUTS, *tensors) if name in tensors]
        if not names or (names[0] not in OUTPUTS and len(tensors) > 1):
            raise UnfitOutput(
                f"{MUST_RETURN} It returned a {type(got).__name__} with the entries "
                f"{', '.join(map(repr, result))}, but none of {' or '.join(OUTPUTS)}. Wrap it "
                "in a module that returns one of them."
            )
        result = tensors[names[0]]
    if not isinstance(result, torch.Tensor):
        what = f"a {type(got).__name__}" + ("" if got is result else f" of {type(result).__name__}")
        raise UnfitOutput(f"{MUST_RETURN} It returned {what}.")
    if result.is_nested or result.layout is not torch.strided:
        raise UnfitOutput(f"{MUST_RETURN} It returned a nested or sparse tensor.")
    if not result.is_floating_point():
        raise UnfitOutput(f"{MUST_RETURN} It returned a tensor of {result.dtype}.")
    return result


def _pooled(features):
    """Return the output of a backbone as one vector per sample."""
    if features.ndim == 4:  # a map (n, d, h, w)
        return features.mean(dim=(2, 3))
    return features.mean(dim=1) if features.ndim == 3 else features  # tokens (n, t, d)


def make_encoder(
    backbone, in_shape, mean, std, *, weights=None, published=False, normalization="auto"
):
    """Build an encoder for samples of a shape (c, h, w) or (n_features,).

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
    encoder = Encoder(model, mean, std, in_shape).float().cpu()
    encoder.published = published
    return encoder


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


def count_features(encoder, in_shape, of="X or its views"):
    """Return the number of features for samples of a shape; raise if the encoder fails.

    ``of`` names the data of this shape in the error.
    """
    shape = (2, *in_shape)
    samples = torch.linspace(0, 1, math.prod(shape), device="cpu").reshape(shape)
    try:
        with torch.no_grad():
            features = encoder.eval()(samples)
    except UnfitOutput:
        raise
    except Exception as error:
        raise ValueError(
            f"The backbone fails on samples of shape {tuple(in_shape)}, (channels, height, width) "
            f"or (features,), such as {of} have. Choose one that supports this shape, or resize "
            "the images."
        ) from error
    if features.ndim != 2 or len(features) != 2:
        raise UnfitOutput(
            f"{MUST_RETURN} For 2 samples of shape {tuple(in_shape)} it returned "
            f"{tuple(features.shape)} after pooling."
        )
    if not features.isfinite().all():
        raise UnfitOutput(
            f"The backbone returns NaN or infinite values for samples of shape {tuple(in_shape)} "
            "with values in [0, 1]. Check its weights, and divisions in its forward."
        )
    return features.shape[1]


def encoder_at(encoder, layer):
    """Return the encoder up to a layer, with shared weights; the encoder itself for None."""
    if layer is None:
        return encoder
    cut = Encoder(_cut(encoder.backbone, layer), encoder.mean, encoder.std)
    cut.seen_as = encoder.seen_as
    return cut


def _cut(model, layer):
    """Return the part of a model up to a layer."""
    from torchvision.models import SwinTransformer
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    try:
        _, nodes = get_graph_node_names(model)
    except Exception as error:
        raise ValueError(
            f"layer={layer!r} needs a backbone that torch.fx can trace, but this one "
            "branches on values in its forward. Pass a backbone that ends at the layer."
        ) from error
    names = sorted({node.rsplit(".", i)[0] for node in nodes for i in range(node.count(".") + 1)})
    if layer not in names:
        near = difflib.get_close_matches(layer.lower(), names, n=5, cutoff=0.4)
        outer = [name for name, _ in model.named_children() if name in names]
        raise ValueError(
            f"layer={layer!r} is not a layer of the backbone."
            + (f" Similar names: {', '.join(near)}." if near else "")
            + f" Its outer layers are {', '.join(outer)}."
        )
    channels_last = isinstance(model, SwinTransformer) and layer.startswith(("features", "norm"))
    return Cut(create_feature_extractor(model, {layer: "features"}), channels_last)


class Cut(nn.Module):
    """Traced model up to a layer; returns the layer's output, maps as (n, d, h, w)."""

    def __init__(self, model, channels_last):
        super().__init__()
        self.model, self.channels_last = model, channels_last

    def forward(self, samples):
        """Return the output of the layer."""
        features = self.model(samples)["features"]
        return features.permute(0, 3, 1, 2) if self.channels_last else features
