"""Features: what networks return for a batch, pooled to one vector per sample."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from sklearn_ssl.data.batch import leaves
from sklearn_ssl.data.spec import PADDING

# Entries of dicts and similar outputs that are used as features, in this order. Poolers are last,
# since many networks have an untrained one.
OUTPUTS = "last_hidden_state", "features", "pooler_output"
MUST_RETURN = (
    "The backbone must return a vector, a map or tokens per sample: a floating-point tensor "
    "of shape (n, d), (n, d, height, width) or (n, tokens, d)."
)


class Features(NamedTuple):
    """Features of a batch; None for what a network does not have."""

    pooled: torch.Tensor  # (n, d)
    map: torch.Tensor | None = None  # (n, d, h, w), of more than one position
    tokens: torch.Tensor | None = None  # (n, t, d), the class token first
    mask: torch.Tensor | None = None  # (n, t), False for tokens that are padding


class HasFeatures(nn.Module):
    """Network whose method ``features`` returns :class:`Features`, of which it pools itself."""

    token_layer = None  # name of the layer whose output are the tokens

    def features(self, samples):
        """Return the features of a batch."""
        raise NotImplementedError

    def forward(self, samples):
        """Return the pooled features, (n, d)."""
        return self.features(samples).pooled


def read_features(network, samples, **how):
    """Return the features that a network returns for samples; others than ours return a tensor."""
    if isinstance(network, HasFeatures):
        return network.features(samples, **how)
    return features_of(network(samples), samples)


@dataclasses.dataclass(frozen=True)
class MeanOfTokens:
    """Function that reads the features of a network as the mean of its tokens."""

    layer: str  # whose output they are

    def __call__(self, network, samples, **how):
        """Return the features of a batch."""
        features = read_features(network, samples, **how)
        return features._replace(pooled=features.tokens.mean(dim=1))


def features_of(result, samples):
    """Return the output of a network for samples as features: means of maps and tokens."""
    samples = leaves(samples)[0]
    result = as_precise(output_of(result), samples)
    if result.ndim == 4:  # a map, or pooled to one position
        return Features(result.mean(dim=(2, 3)), result if result[0, 0].numel() > 1 else None)
    if result.ndim == 3 and not samples.is_floating_point():  # of token ids
        return features_of_tokens(result, samples != PADDING)
    if result.ndim == 3:
        return Features(result.mean(dim=1), grid_of(result), result)
    return Features(result)


def features_of_tokens(tokens, mask):
    """Return features of texts: the mean over tokens that are not padding, 0 without any."""
    total = (tokens * mask[:, :, None]).sum(dim=1)
    return Features(total / mask.sum(dim=1, keepdim=True).clamp(min=1), None, tokens, mask)


def grid_of(tokens):
    """Return tokens (n, t, d) as a map (n, d, h, w) without class token.

    It is None unless the patches are those of a square grid.
    """
    t = tokens.shape[1]
    n_patches = t - 1 if math.isqrt(t - 1) ** 2 == t - 1 else t
    side = math.isqrt(n_patches)
    if side < 2 or side**2 != n_patches:
        return None
    return tokens[:, -n_patches:].transpose(1, 2).unflatten(2, (side, side))


def as_precise(features, samples):
    """Return features in the data type of samples, except for those of autocast and of ids."""
    if features.dtype != samples.dtype and samples.is_floating_point():
        narrow = torch.is_autocast_enabled(features.device.type)
        if not narrow or features.dtype is torch.float64:
            return features.to(samples.dtype)
    return features


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
