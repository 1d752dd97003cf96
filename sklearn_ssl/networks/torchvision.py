"""Torchvision backbones without classifier, for any image size and number of channels."""

import torch
from torch import nn

from sklearn_ssl.networks.checkpoints import Checkpoint, find_checkpoint

# Up to this shorter side, the stem does not reduce the resolution.
SMALL_SIDE = 64
IMAGENET_CLASSES = 1000
INCEPTIONS = "googlenet", "inception_v3"


def torchvision_model(name, in_shape, weights, published=False):
    """Return what ``built_backbone`` returns, for a torchvision model without classifier."""
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
                f"{error}. Download the file elsewhere and set weights to its path."
            ) from error
    else:
        chosen, checkpoint = pretrained.DEFAULT, find_checkpoint(weights, pretrained.__members__)
        stem_as_published = checkpoint.saved.get("fitted", {}).get("_published")
        if (small or in_shape[0] != 3) and not stem_as_published:
            own = _headless(_published(name, in_shape, small), in_shape[0])
            match = checkpoint.match(own)
            if match.is_exact:  # saved by this package, with its stem and channels
                match.load()
                return own, match.constants(), not small
    model = _published(name, in_shape, small=False)
    whole = checkpoint.match(model, _classifier(model))
    if match is not None and not whole.fits and (match.fits or match.n_fit > whole.n_fit):
        match.load()
        return own, match.constants(), not small
    whole.load()
    transforms = chosen.transforms()
    # With pretrained weights, torchvision's Inception networks use these constants.
    halves = ([0.5] * 3, [0.5] * 3) if name in INCEPTIONS else None
    constants = whole.constants() or halves or (transforms.mean, transforms.std)
    return _headless(model, in_shape[0]), constants, True


def _published(name, in_shape, small):
    """Build torchvision's model as published, or with a stem for small images."""
    from torchvision import models

    side, settings = in_shape[1], {}
    if name.startswith("vit_") and not small:
        patch = int(name.rsplit("_", 1)[1])
        if side % patch:
            raise ValueError(
                f"backbone={name!r} needs sides that are multiples of {patch} pixels, but X has "
                f"images of {side}. Resize them to {side // patch * patch or patch}."
            )
        settings["image_size"] = side
    if name in INCEPTIONS:
        settings.update(aux_logits=False, init_weights=True)
    # A small vision transformer is rebuilt with the settings of the large one.
    with torch.device("meta" if name.startswith("vit_") and small else "cpu"):
        model = models.get_model(name, weights=None, **settings)
    if name.startswith("vit_"):
        from sklearn_ssl.networks.vit import AnySizeVisionTransformer

        model.__class__ = AnySizeVisionTransformer  # only methods differ
    return _small_stem(model, side) if small else model


def _headless(model, channels):
    """Remove the classifier, and accept any number of channels."""
    model.set_submodule(_classifier(model), nn.Identity())
    set_in_channels(model, channels)
    return model


def _small_stem(model, side):
    """Replace the stem by one that keeps the resolution of small images."""
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
    """Return the name of the classifier layer."""
    return [
        name
        for name, module in model.named_modules()
        if getattr(module, "out_features", getattr(module, "out_channels", 0)) == IMAGENET_CLASSES
    ][-1]


def set_in_channels(model, channels):
    """Adapt the first convolution to a number of channels, averaging its weights."""
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
        # The mean over colors: an image of equal channels has the output of gray in RGB.
        mean = first.weight.mean(dim=1, keepdim=True) * (first.in_channels / channels)
        new.weight.copy_(mean.expand_as(new.weight))
        if first.bias is not None:
            new.bias.copy_(first.bias)
    model.set_submodule(name, new)
