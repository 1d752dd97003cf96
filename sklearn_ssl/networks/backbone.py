"""Backbones from a name, a function or a module, with or without weights."""

import copy
import difflib
import inspect
import math

from torch import nn

from sklearn_ssl.networks.bert import OF_TEXTS
from sklearn_ssl.networks.checkpoints import find_checkpoint
from sklearn_ssl.networks.small import SMALL, mlp_backbone
from sklearn_ssl.networks.torchvision import torchvision_model

# Names of first parameters of functions that build a network from something else than a shape.
NOT_SHAPES = {"weights", "pretrained", "progress", "num_classes", "n_classes", "classes", "name"}
NOT_SHAPES |= {"model_name", "model", "channels", "in_channels", "in_chans", "checkpoint", "config"}


def make_backbone(backbone, in_shape, *, weights=None, published=False):
    """Build the backbone for samples of shape (c, h, w), (n_features,) or (length, n_tokens).

    ``backbone`` is a name, a factory ``callable(in_shape)``, or a module, which is copied.
    ``published`` builds torchvision's networks with the published stem, also for small images.
    """
    return built_backbone(backbone, in_shape, weights, published)[0]


def built_backbone(backbone, in_shape, weights, published):
    """Return a backbone, normalization constants of its weights, and whether its stem is published.

    The constants (mean, std) are None if unknown.
    """
    backbone = named(backbone)
    if isinstance(backbone, nn.Module):
        model = copy.deepcopy(backbone).float()
    elif not isinstance(backbone, str):
        model = _from_factory(backbone, in_shape)
    elif len(in_shape) == 2:
        model = _of_texts(backbone)(*in_shape)
    elif backbone == "mlp":
        model = nn.Sequential(nn.Flatten(), *mlp_backbone(math.prod(in_shape)))
    else:
        _check_name(backbone, in_shape)
        if backbone not in SMALL:
            return torchvision_model(backbone, in_shape, weights, published)
        model = SMALL[backbone](*in_shape)
    if weights is None:
        return model, None, published
    match = find_checkpoint(weights).match(model)
    match.load()
    return model, match.constants(), published


def named(backbone):
    """Return the name of a torchvision model for the function that builds it, else the argument.

    The first parameter of these functions is ``weights``, not the shape of a sample.
    """
    name = getattr(backbone, "__name__", None)
    if isinstance(backbone, str | nn.Module) or not isinstance(name, str):
        return backbone
    from torchvision import models

    known = name in models.list_models(module=models)
    return name if known and models.get_model_builder(name) is backbone else backbone


def _from_factory(factory, in_shape):
    """Return the module that a factory builds for the shape of a sample."""
    name = getattr(factory, "__name__", repr(factory))
    if not _takes_shape(factory):
        is_class = isinstance(factory, type) and issubclass(factory, nn.Module)
        raise TypeError(
            (
                f"backbone={name} is a class. Pass an instance, backbone={name}()"
                if is_class
                else f"backbone={name} is a function that does not take the shape of a sample as "
                "its only argument. Pass the module that it returns"
            )
            + ", or a function of the shape, (channels, height, width), (n_features,) or "
            "(max_length, n_tokens): "
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
    """Return whether the signature of a callable accepts the shape of a sample."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # no signature
        return True
    given = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty and "VAR" not in p.kind.name]
    if not given or not set(needed) <= {given[0]}:
        return False
    if "shape" in given[0].name:
        return True
    return bool(needed) and given[0].name not in NOT_SHAPES and not isinstance(factory, type)


def _of_texts(name):
    """Return the class of a backbone for texts; raise if the name is not that of one."""
    if name not in OF_TEXTS:
        raise ValueError(
            f"backbone={name!r} is not for texts. Choose {', '.join(OF_TEXTS)}, or a function of "
            "(max_length, n_tokens), the shape of a text, that returns a module of token ids."
        )
    return OF_TEXTS[name]


def _check_name(name, in_shape):
    """Raise if a backbone name is unknown or does not support samples of a shape."""
    from torchvision import models

    if name in OF_TEXTS:
        raise ValueError(
            f"backbone={name!r} is for texts, but samples of X have the shape {in_shape}. Pass "
            'texts, or set backbone="auto".'
        )
    known = [*models.list_models(module=models), *SMALL]
    if name not in known:
        near = difflib.get_close_matches(name.lower(), [*known, "mlp", "auto"], n=4, cutoff=0.4)
        raise ValueError(
            f"backbone={name!r} is unknown."
            + (f" Similar names: {', '.join(near)}." if near else "")
            + f' Choose "auto", one of {", ".join(SMALL)}, mlp, or the name of a torchvision model.'
        )
    if len(in_shape) == 1:
        raise ValueError(
            f"backbone={name!r} requires images, but X has shape (n_samples, {in_shape[0]}). Set "
            'input=Images(shape=...) for flattened images, or backbone="mlp" for tabular data.'
        )
    if "vit" in name and in_shape[1] != in_shape[2]:
        raise ValueError(
            f"backbone={name!r} requires square images, but X has images of {in_shape[1]} x "
            f"{in_shape[2]} pixels. Crop them, or choose a convolutional backbone."
        )
