"""Encoders by name, by factory or as given: the network that turns a sample into features."""

import contextlib
import copy
import dataclasses
import difflib
import functools
import inspect
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from sklearn_ssl.checkpoints import Checkpoint, read_checkpoint

# Images with a shorter side up to this get a stem that keeps their resolution.
SMALL_SIDE = 64
IMAGENET_CLASSES = 1000
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of the channels
INCEPTIONS = "googlenet", "inception_v3"
# Entries of dicts and of outputs like them that are taken as the output of a backbone. Poolers come
# last: many networks have one that was never trained.
OUTPUTS = "last_hidden_state", "features", "pooler_output"
MUST_RETURN = (
    "The backbone must return a vector, a map or tokens for each sample: a floating-point tensor "
    "of shape (n, d), (n, d, height, width) or (n, tokens, d)."
)
# First parameters of functions that build a network, but not from the shape of its samples.
NOT_SHAPES = {"weights", "pretrained", "progress", "num_classes", "n_classes", "classes", "name"}
NOT_SHAPES |= {"model_name", "model", "channels", "in_channels", "in_chans", "checkpoint", "config"}
# Threads may share a fitted encoder, and the place where it keeps its map.
_one_at_a_time = threading.RLock()


class Encoder(nn.Module):
    """Normalise samples, run the backbone, pool what it returns to one vector a sample.

    Takes images of shape (n, c, h, w) with values in [0, 1], or standardised rows of shape
    (n, n_features); gives float tensors of shape (n, n_features_out).
    """

    def __init__(self, backbone, mean, std, in_shape=None):
        super().__init__()
        self.backbone = backbone
        self.in_shape = in_shape  # that of the samples that it was made for
        self.published = None  # whether the stem of torchvision's model is as published
        self.seen_as = None  # a function of samples, whose result is normalised in their place
        self.kept = None  # the map, of whose layer ``find_map`` learns the name
        self.reads_map = False  # whether features are the map's mean, which ``find_map`` decides
        shape = (-1, 1, 1) if len(mean) else (0,)
        # On the CPU, whatever the process's default device is.
        for name, value in {"mean": mean, "std": std}.items():
            value = torch.as_tensor(value, dtype=torch.float32, device="cpu")
            self.register_buffer(name, value.reshape(shape))

    @property
    def patch_size(self):
        """Side of the patches that ``keep`` counts; None if the backbone has no ``tokens``."""
        return self.backbone.patch_size if hasattr(self.backbone, "tokens") else None

    def forward(self, samples, dense=False, keep=None):
        """Return the features of a batch; if ``dense``, also the map that they are made of.

        With ``keep``, the numbers (n, k) of the patches that the network sees, return its tokens,
        those of the patches last.
        """
        if self.seen_as is not None:
            samples = self.seen_as(samples)
        if self.mean.numel():
            # In one pass, with constants as large as an image and in its order in memory: to
            # repeat those of the channels for each pixel takes more than twice as long.
            image = torch.zeros_like(samples[:1])
            samples = torch.addcmul(image - self.mean / self.std, samples, image + 1 / self.std)
        if keep is not None:
            return self.backbone.tokens(samples, keep)
        if not dense and not self.reads_map:
            return _pooled(self._output(samples))
        # All of it runs, not the part up to the map: what follows learns its statistics.
        with contextlib.nullcontext() if self.training else _one_at_a_time:
            self.kept.wanted = True
            try:
                features = self._output(samples)
            finally:
                maps, self.kept.wanted, self.kept.result = self.kept.result, False, None
        features = _pooled(maps if self.reads_map else features)
        return (features, as_map(maps)) if dense else features

    def _output(self, samples):
        """Return the tensor that the backbone gives for normalised samples."""
        features = output_of(self.backbone(samples))
        if features.dtype != samples.dtype:
            narrow = torch.is_autocast_enabled(features.device.type)
            if not narrow or features.dtype is torch.float64:
                features = features.to(samples.dtype)
        return features

    def find_map(self):
        """Find the last map, or tokens, that the backbone makes; return its shape, (d, h, w).

        Features are the map's mean then if a decoder of it would leave them as they are: where
        layers with weights follow, and of tokens, of which one may be all that is read.
        """
        images, found, hooks = torch.zeros(2, *self.in_shape, device="cpu"), {}, []
        self.reads_map = False
        for name, module in self.backbone.named_modules():

            def keep(module, given, result, name=name):
                found.pop(name, None)  # the last one last
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
                "This method needs a backbone that makes a map of an image, such as "
                '"small_convnet" or "resnet18", or tokens, such as "small_vit". No layer of this '
                "one gives any."
            )
        name, map_ = maps.popitem()
        weights = [weight for weight in self.backbone.parameters() if weight.requires_grad]
        follow = _reached(features, weights) - _reached(map_, weights)
        self.reads_map = map_.ndim == 3 or bool(follow)
        if self.kept is None:  # else it goes on from an encoder that had found it
            self.kept = Kept(name)
            layers[name].register_forward_hook(self.kept)
        return as_map(map_).shape[1:]


class Kept:
    """A hook that keeps what a layer gives, where it is wanted."""

    changes_nothing = True  # so that networks that have it are folded

    def __init__(self, layer):
        self.layer, self.wanted, self.result = layer, False, None

    def __call__(self, module, given, result):
        """Keep the result."""
        if self.wanted:
            self.result = result


def _reached(result, weights):
    """Return the indices of the weights that a result depends on."""
    if not result.requires_grad:
        return set()
    found = torch.autograd.grad(result.sum(), weights, retain_graph=True, allow_unused=True)
    return {i for i, gradient in enumerate(found) if gradient is not None}


def is_map(tensor, side):
    """Tell whether a tensor is maps of more than one place, or tokens of a square grid.

    Sides longer than the image's are channels that come last.
    """
    if not isinstance(tensor, torch.Tensor) or tensor.ndim not in (3, 4):
        return False
    if tensor.ndim == 4:
        return tensor.shape[2] * tensor.shape[3] > 1 and tensor.shape[3] <= side
    return tensor.shape[1] > 2 and math.isqrt(n_patches(tensor)) ** 2 == n_patches(tensor)


def n_patches(tokens):
    """Return how many of the tokens (n, t, d) are of patches, where one may be the class token."""
    t = tokens.shape[1]
    return t - 1 if math.isqrt(t - 1) ** 2 == t - 1 else t


def as_map(features):
    """Return maps as they are, and tokens (n, t, d) as a map (n, d, h, w), without class token."""
    if features.ndim == 4:
        return features
    n = n_patches(features)
    return features[:, -n:].transpose(1, 2).unflatten(2, (math.isqrt(n), -1))


class UnfitOutput(ValueError):  # noqa: N818
    """Raised for what a backbone returns that is no features."""


def output_of(result):
    """Return the tensor in what a backbone returns.

    That is the first entry of a tuple or list, and of a dict, dataclass or ModelOutput the one of
    ``OUTPUTS`` that it has first, or its only tensor.
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
                f"{', '.join(map(repr, result))}, of which none is {' or '.join(OUTPUTS)}. Wrap it "
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
    """Return what a backbone gives as one vector a sample."""
    if features.ndim == 4:  # a map (n, d, h, w)
        return features.mean(dim=(2, 3))
    return features.mean(dim=1) if features.ndim == 3 else features  # tokens (n, t, d)


def small_convnet(in_channels, height, width, widths=(64, 128, 256)):
    """Convolutions with batch norm and ReLU that stride early, for a processor's few cores."""
    layers = OrderedDict()
    strides = _strides(min(height, width), len(widths))
    for i, ((n_in, n_out), stride) in enumerate(
        zip(pairwise((in_channels, *widths)), strides, strict=True), start=1
    ):
        layers[f"stage{i}"] = _convolution(n_in, n_out, stride)
    return nn.Sequential(layers | {"pool": _standardised_pool(widths[-1])})


class SmallMultiscale(nn.Module):
    """Stages like those of ``small_convnet``, the last two of them read, in quarters of the image.

    What a linear model can use of a map is lost where it is averaged over the whole image
    (``benchmarks/README.md``, "How the defaults were chosen"). ``fine`` has maps of twice the
    sides, which is slower: it is for views of half the image's sides.
    """

    def __init__(self, in_channels, height, width, widths=(64, 128, 256), fine=False):
        super().__init__()
        first, second, third = _strides(min(height, width), 3)
        self.stage1 = _convolution(in_channels, widths[0], max(1, first // 2) if fine else first)
        self.stage2 = _convolution(widths[0], widths[1], second)
        self.stage3 = _convolution(widths[1], widths[2], third)
        self.pools = nn.ModuleList(_standardised_pool(n, grid=2) for n in widths[-2:])

    def forward(self, images):
        """Return the features, (n, 4 * sum(widths[-2:]))."""
        second = self.stage2(self.stage1(images))
        maps = second, self.stage3(second)
        return torch.cat([pool(m) for pool, m in zip(self.pools, maps, strict=True)], dim=1)


def small_resnet(in_channels, height, width, widths=(32, 64, 128), depth=1):
    """Residual network of basic blocks, narrow, with ``depth`` blocks in each stage."""
    from torchvision.models.resnet import BasicBlock, conv1x1

    stem_stride, *strides = _strides(min(height, width), len(widths))
    layers = OrderedDict(stem=_convolution(in_channels, widths[0], stem_stride))
    for i, ((n_in, n_out), stride) in enumerate(
        zip(pairwise((widths[0], *widths)), (1, *strides), strict=True), start=1
    ):
        shortcut = None
        if stride > 1 or n_in != n_out:
            shortcut = nn.Sequential(conv1x1(n_in, n_out, stride), nn.BatchNorm2d(n_out))
        first = BasicBlock(n_in, n_out, stride, shortcut)
        rest = [BasicBlock(n_out, n_out) for _ in range(depth - 1)]
        layers[f"stage{i}"] = nn.Sequential(first, *rest)
    return nn.Sequential(layers | {"pool": _standardised_pool(widths[-1])})


def small_vit(in_channels, height, width):
    """Vision transformer of four blocks, 128 wide, with about 8 patches along the image's side."""
    from sklearn_ssl.vision_transformers import AnySizeVisionTransformer

    patch = max(p for p in range(1, max(2, height // 8) + 1) if height % p == 0)
    model = AnySizeVisionTransformer(height, patch, 4, 4, 128, 256)
    model.heads = nn.Identity()
    _set_in_channels(model, in_channels)
    return model


def mlp(n_features, width=256, depth=4):
    """Fully connected layers with batch norm and ReLU, for rows."""
    layers = []
    for n_in, n_out in pairwise((n_features, *depth * [width])):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _strides(side, n_layers):
    """Strides that bring a side to 4 to 7 pixels: 2 in the last layers, the rest in the first.

    Sides below 16 end at 2 to 4 pixels: on digits of 8 pixels that was faster than ending at 4,
    with the same accuracy (``benchmarks/README.md``).
    """
    # An odd side is halved up: 28 pixels end at 4, as 32 do.
    shrink = 2 ** max(0, int(math.log2(side / (3.5 if side >= 16 else 1.75))))
    strides = [1] * n_layers
    for i in reversed(range(n_layers)):
        if shrink > 1:
            strides[i], shrink = 2, shrink // 2
    strides[0] *= shrink
    return strides


def _convolution(n_in, n_out, stride):
    """Convolution with batch norm and ReLU, its kernel large enough to miss no pixel."""
    kernel = max(3, 2 * stride - 1)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _standardised_pool(n_channels, grid=1):
    """Average over parts of the map, then standardise: after a ReLU, all cosines are alike.

    On Fashion-MNIST with 10 labels a class, 20 neighbours by cosine had .621 and, after the same
    features were standardised, .708 (``benchmarks/README.md``).
    """
    norm = nn.BatchNorm1d(n_channels * grid**2, affine=False)
    return nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), norm)


SMALL = {
    "small_convnet": small_convnet,
    "small_multiscale": SmallMultiscale,
    "small_multiscale_fine": functools.partial(SmallMultiscale, fine=True),
    "small_resnet": small_resnet,
    "small_resnet18": functools.partial(small_resnet, widths=(16, 32, 64, 128), depth=2),
    "small_vit": small_vit,
}


def make_backbone(backbone, in_shape, *, weights=None, published=False):
    """Build the backbone for samples of shape (c, h, w) or (n_features,).

    ``backbone`` is a name, a factory ``callable(in_shape)``, or a module, which is copied.
    ``published`` keeps torchvision's networks as pretrained weights need them, for small images
    too.
    """
    return _built(backbone, in_shape, weights, published)[0]


def make_encoder(
    backbone, in_shape, mean, std, *, weights=None, published=False, normalization="auto"
):
    """Build an encoder for samples of a shape (c, h, w) or (n_features,).

    ``mean`` and ``std`` are those of the samples, ``normalization`` says what to take instead, as
    in ``Images``.
    """
    model, constants, published = _built(backbone, in_shape, weights, published)
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
    """Return a constant for each channel; of other channels than published, the mean over colors.

    So an image of equal channels gives what gray in RGB gives. Raise where the user gave others.
    """
    values = np.atleast_1d(np.asarray(values, np.float64))
    if given and len(values) not in (1, n_channels):
        raise ValueError(
            f"normalization of Images has values for {len(values)} channels, but the images of X "
            f"have {n_channels}."
        )
    return values if len(values) == n_channels else np.full(n_channels, values.mean())


def _built(backbone, in_shape, weights, published):
    """Return a backbone, what its weights' images were normalized with, and its stem's kind.

    The constants (mean, std) are None where they are not known. The last is whether the stem is as
    published.
    """
    backbone = named(backbone)
    if isinstance(backbone, nn.Module):
        model = copy.deepcopy(backbone).float()
    elif not isinstance(backbone, str):
        model = _from_factory(backbone, in_shape)
    elif backbone == "mlp":
        model = nn.Sequential(nn.Flatten(), *mlp(math.prod(in_shape)))
    else:
        _check_name(backbone, in_shape)
        if backbone not in SMALL:
            return _torchvision_model(backbone, in_shape, weights, published)
        model = SMALL[backbone](*in_shape)
    if weights is None:
        return model, None, published
    match = _checkpoint(weights).match(model)
    match.load()
    return model, match.constants(), published


def named(backbone):
    """Return the name of a torchvision model for the function that builds it, else what is given.

    Called with the shape of a sample, these functions would take it for weights.
    """
    name = getattr(backbone, "__name__", None)
    if isinstance(backbone, str | nn.Module) or not isinstance(name, str):
        return backbone
    from torchvision import models

    known = name in models.list_models(module=models)
    return name if known and models.get_model_builder(name) is backbone else backbone


def _from_factory(factory, in_shape):
    """Call a factory with the shape of a sample; return the module that it makes."""
    name = getattr(factory, "__name__", repr(factory))
    if not _takes_shape(factory):
        is_class = isinstance(factory, type) and issubclass(factory, nn.Module)
        raise TypeError(
            (
                f"backbone={name} is a class. Give an object, backbone={name}()"
                if is_class
                else f"backbone={name} is a function that does not take the shape of a sample as "
                "its one argument. Give the module that it returns"
            )
            + ", or a function of the shape, (channels, height, width) or (n_features,): "
            f"backbone=lambda shape: {'...' if name == '<lambda>' else name + '(...)'}."
        )
    try:
        model = factory(in_shape)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"backbone={name} failed when it was called with the shape of a sample, {in_shape}: "
            f"{type(error).__name__}: {reason}"
        ) from error
    if not isinstance(model, nn.Module):
        raise TypeError(f"backbone={name} must return a torch.nn.Module. It returned {model!r}.")
    return model


def _takes_shape(factory):
    """Tell from its signature whether a callable takes the shape of a sample."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # not known
        return True
    given = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty and "VAR" not in p.kind.name]
    if not given or not set(needed) <= {given[0]}:
        return False
    if "shape" in given[0].name:
        return True
    return bool(needed) and given[0].name not in NOT_SHAPES and not isinstance(factory, type)


def _check_name(name, in_shape):
    """Raise where there is no backbone of a name, or it does not take samples of a shape."""
    from torchvision import models

    known = [*models.list_models(module=models), *SMALL]
    if name not in known:
        near = difflib.get_close_matches(name.lower(), [*known, "mlp", "auto"], n=4, cutoff=0.4)
        raise ValueError(
            f"backbone={name!r} is unknown."
            + (f" Near names: {', '.join(near)}." if near else "")
            + f' Give "auto", one of {", ".join(SMALL)}, mlp, or a torchvision model\'s name.'
        )
    if len(in_shape) == 1:
        raise ValueError(
            f"backbone={name!r} takes images, but X holds rows of {in_shape[0]} features. Set "
            'image_shape if they are flattened images, else use backbone="mlp".'
        )
    if "vit" in name and in_shape[1] != in_shape[2]:
        raise ValueError(
            f"backbone={name!r} needs square images, X holds images of {in_shape[1]} x "
            f"{in_shape[2]} pixels. Crop them, or choose a convolutional backbone."
        )


def count_features(encoder, in_shape, of="X or its views"):
    """Return how many features an encoder gives for samples of a shape; raise where it fails.

    The error says what has this shape.
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
            f"or (features,), such as {of} have. Choose one that takes this shape, or resize the "
            "images."
        ) from error
    if features.ndim != 2 or len(features) != 2:
        raise UnfitOutput(
            f"{MUST_RETURN} For 2 samples of shape {tuple(in_shape)} it gave "
            f"{tuple(features.shape)} after pooling."
        )
    if not features.isfinite().all():
        raise UnfitOutput(
            f"The backbone returns NaN or infinite values for samples of shape {tuple(in_shape)} "
            "with values from 0 to 1. Check its weights, and what its forward divides by."
        )
    return features.shape[1]


def encoder_at(encoder, layer):
    """Return the encoder up to a layer, whose weights it shares; the encoder itself for None."""
    if layer is None:
        return encoder
    cut = Encoder(_cut(encoder.backbone, layer), encoder.mean, encoder.std)
    cut.seen_as = encoder.seen_as
    return cut


def _torchvision_model(name, in_shape, weights, published=False):
    """Return what ``_built`` does, for a torchvision model without its classifier."""
    from torchvision import models

    small = min(in_shape[1:]) <= SMALL_SIDE and not published
    if weights is None:
        return _headless(_published(name, in_shape, small), in_shape[0]), None, not small
    pretrained, match = models.get_model_weights(name), None
    if weights in pretrained.__members__:
        chosen = pretrained[weights]
        try:
            checkpoint = Checkpoint(weights, chosen.get_state_dict(progress=True))
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"weights={weights!r} of {name} could not be downloaded from {chosen.url}: "
                f"{error}. Download the file elsewhere, and give its path."
            ) from error
    else:
        chosen, checkpoint = pretrained.DEFAULT, _checkpoint(weights, pretrained.__members__)
        stem_as_published = checkpoint.saved.get("fitted", {}).get("_published")
        if (small or in_shape[0] != 3) and not stem_as_published:
            own = _headless(_published(name, in_shape, small), in_shape[0])
            match = checkpoint.match(own)
            if match.is_exact:  # saved from a backbone of ours, with its stem and channels
                match.load()
                return own, match.constants(), not small
    model = _published(name, in_shape, small=False)
    whole = checkpoint.match(model, _classifier(model))
    if match is not None and not whole.fits and (match.fits or match.n_fit > whole.n_fit):
        match.load()
        return own, match.constants(), not small
    whole.load()
    transforms = chosen.transforms()
    # With weights, torchvision's Inception networks undo ImageNet's constants and apply these.
    halves = ([0.5] * 3, [0.5] * 3) if name in INCEPTIONS else None
    constants = whole.constants() or halves or (transforms.mean, transforms.std)
    return _headless(model, in_shape[0]), constants, True


def _published(name, in_shape, small):
    """Build torchvision's model as published, but for the stem, which small images need."""
    from torchvision import models

    side, settings = in_shape[1], {}
    if name.startswith("vit_") and not small:
        patch = int(name.rsplit("_", 1)[1])
        if side % patch:
            raise ValueError(
                f"backbone={name!r} cuts images into patches of {patch} pixels, and X holds "
                f"images of {side}. Resize them to {side // patch * patch or patch}."
            )
        settings["image_size"] = side
    if name in INCEPTIONS:
        settings.update(aux_logits=False, init_weights=True)
    # A small vision transformer is built anew from the settings of the large one.
    with torch.device("meta" if name.startswith("vit_") and small else "cpu"):
        model = models.get_model(name, weights=None, **settings)
    if name.startswith("vit_"):
        from sklearn_ssl.vision_transformers import AnySizeVisionTransformer

        model.__class__ = AnySizeVisionTransformer  # the same but for its forward
    return _small_stem(model, side) if small else model


def _headless(model, channels):
    """Let the features through, and any number of channels in."""
    model.set_submodule(_classifier(model), nn.Identity())
    _set_in_channels(model, channels)
    return model


def _small_stem(model, side):
    """Let the first layers keep the resolution of small images."""
    from torchvision.models import DenseNet, ResNet, VisionTransformer

    if isinstance(model, VisionTransformer):
        patch = 4 if side % 4 == 0 else next(p for p in (3, 2, 5, 7, 1) if side % p == 0)
        block = model.encoder.layers[0]
        return type(model)(
            side,
            patch,
            len(model.encoder.layers),
            block.num_heads,
            model.hidden_dim,
            model.mlp_dim,
        )
    if isinstance(model, ResNet):
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
        return model
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    if first.stride == (2, 2):
        first.stride = (1, 1)
    if isinstance(model, DenseNet):
        model.features.pool0 = nn.Identity()
    return model


def _classifier(model):
    """Return the name of the layer that gives the class scores."""
    return [
        name
        for name, module in model.named_modules()
        if getattr(module, "out_features", getattr(module, "out_channels", 0)) == IMAGENET_CLASSES
    ][-1]


def _set_in_channels(model, channels):
    """Let the first convolution take any number of channels, its weights spread over them."""
    name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if first.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,
        first.stride,
        first.padding,
        bias=first.bias is not None,
    )
    with torch.no_grad():
        # The mean over colours, so that an image of equal channels gives what gray in RGB gave.
        mean = first.weight.mean(dim=1, keepdim=True) * (first.in_channels / channels)
        new.weight.copy_(mean.expand_as(new.weight))
        if first.bias is not None:
            new.bias.copy_(first.bias)
    model.set_submodule(name, new)


def _checkpoint(weights, names=()):
    """Read weights from a file; ``names`` are those of the backbone's pretrained weights."""
    if not os.path.exists(weights):
        have = f"of this backbone, {', '.join(map(repr, names))}" if names else ""
        raise ValueError(
            f"weights={os.fspath(weights)!r} is neither a file nor the name of pretrained weights "
            + (have or "of this backbone. Only torchvision's models have such names")
            + "."
        )
    return read_checkpoint(weights)


def _cut(model, layer):
    """Keep the part of the model up to a layer, and return what that layer gives."""
    from torchvision.models import SwinTransformer
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    try:
        _, nodes = get_graph_node_names(model)
    except Exception as error:
        raise ValueError(
            f"layer={layer!r} needs a backbone that torch.fx can trace, and this one cannot be: "
            "its forward branches on values. Give a backbone that ends at the layer."
        ) from error
    names = sorted({node.rsplit(".", i)[0] for node in nodes for i in range(node.count(".") + 1)})
    if layer not in names:
        near = difflib.get_close_matches(layer.lower(), names, n=5, cutoff=0.4)
        outer = [name for name, _ in model.named_children() if name in names]
        raise ValueError(
            f"layer={layer!r} is no layer of the backbone."
            + (f" Near names: {', '.join(near)}." if near else "")
            + f" Its outer layers are {', '.join(outer)}."
        )
    channels_last = isinstance(model, SwinTransformer) and layer.startswith(("features", "norm"))
    return Cut(create_feature_extractor(model, {layer: "features"}), channels_last)


class Cut(nn.Module):
    """A traced model up to a layer; gives that layer's output, maps as (n, d, h, w)."""

    def __init__(self, model, channels_last):
        super().__init__()
        self.model, self.channels_last = model, channels_last

    def forward(self, samples):
        """Return what the layer gives."""
        features = self.model(samples)["features"]
        return features.permute(0, 3, 1, 2) if self.channels_last else features
