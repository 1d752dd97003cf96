"""Outputs of the layers of a network, found by torch.fx."""

import copy
import difflib
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from sklearn_ssl.networks.features import as_precise, features_of, grid_of, output_of

NEEDS_MAP = (
    'This needs a backbone that makes a map of several positions, such as "small_convnet" or '
    '"resnet18", or tokens of a square grid of patches, such as "small_vit". '
)
N_LAST = 100  # operations among which the last map is searched
POOLS = nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d
POOLING = functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d


def up_to(network, layer):
    """Return the part of a network up to a layer, with shared weights."""
    from torchvision.models import SwinTransformer
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    try:
        _, nodes = get_graph_node_names(network)
    except Exception as error:
        raise ValueError(
            f"layer={layer!r} needs a backbone that torch.fx can trace, but this one "
            "branches on values in its forward. Pass a backbone that ends at the layer."
        ) from error
    names = sorted({node.rsplit(".", i)[0] for node in nodes for i in range(node.count(".") + 1)})
    if layer not in names:
        near = difflib.get_close_matches(layer.lower(), names, n=5, cutoff=0.4)
        outer = [name for name, _ in network.named_children() if name in names]
        raise ValueError(
            f"layer={layer!r} is not a layer of the backbone."
            + (f" Similar names: {', '.join(near)}." if near else "")
            + f" Its outer layers are {', '.join(outer)}."
        )
    channels_last = isinstance(network, SwinTransformer) and layer.startswith(("features", "norm"))
    return Cut(create_feature_extractor(network, {layer: "features"}), channels_last)


class Cut(nn.Module):
    """Traced model up to a layer; returns the layer's output, maps as (n, d, h, w)."""

    def __init__(self, model, channels_last):
        super().__init__()
        self.model, self.channels_last = model, channels_last

    def forward(self, samples):
        """Return the output of the layer."""
        features = self.model(samples)["features"]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


@dataclass(frozen=True)
class LastMap:
    """Function that reads the features of a network with the output of its last map or tokens.

    The network is not changed: it is applied by its graph, of evaluation or of training mode.
    Graphs cannot be pickled, and are None in a pickle, from which the encoder makes them again. If
    ``layer``, the name of the last map, is not None, features are the map's mean instead of the
    network's output, which is not computed. ``constants`` are tensors that the forward made while
    it was traced.
    """

    graphs: tuple | None
    layer: str | None
    constants: dict

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return LastMap, (None, self.layer, {})

    def __call__(self, network, samples):
        """Return the features of a batch."""
        ended, graph = _Ended(network), self.graphs[network.training]
        vars(ended).update({k: v.to(samples.device) for k, v in self.constants.items()})
        found = torch.fx.Interpreter(ended, graph=graph).run(samples)
        features = features_of(found["map"], samples)
        if "end" in found:
            features = features._replace(pooled=as_precise(output_of(found["end"]), samples))
        return features


class _Ended(nn.Module):
    """Network whose output has a name in its graph."""

    def __init__(self, network):
        super().__init__()
        self.network, self.end = network, nn.Identity()

    def forward(self, samples):
        return self.end(self.network(samples))


def find_map(network, samples):
    """Return :class:`LastMap` of a network; raise if it has neither a map nor tokens.

    Features become the mean if they would not be trained by a decoder of the map: if layers with
    weights follow the map, or for tokens, of which only one may be used.
    """
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    # A copy, since tracing changes the mode of modules.
    ended, how = sharing(_Ended(network)), {"suppress_diff_warning": True}
    try:
        _, names = get_graph_node_names(ended, **how)
        extractor = create_feature_extractor(ended, None, ["end"], names[-N_LAST:], **how).eval()
    except Exception as error:
        raise ValueError(
            f"{NEEDS_MAP}This one returns a vector, and torch.fx cannot trace its forward, which "
            "may branch on values. Return the map (n, d, height, width), or the tokens (n, tokens, "
            "d), from the module instead; the features are their mean."
        ) from error
    nodes = extractor.eval_graph.output_node().args[0]
    with torch.enable_grad():
        found = extractor(samples)
        maps = [n for n in nodes if _is_map(found[n], samples, nodes[n], ended)]
        if not maps:
            raise ValueError(f"{NEEDS_MAP}No layer of this one returns either.")
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        end, last = output_of(found["end"]), found[maps[-1]]
        follow = _reached(end, weights) - _reached(last, weights)
    is_mean = last.ndim == 3 or bool(follow)
    parts = {maps[-1]: "map"} | ({} if is_mean else {"end": "end"})
    extractor = create_feature_extractor(ended, parts, **how)
    # Copies do not refer to modules.
    graphs = tuple(map(copy.deepcopy, (extractor.eval_graph, extractor.train_graph)))
    read = {n.target for graph in graphs for n in graph.nodes if n.op == "get_attr"}
    constants = {name: getattr(ended, name) for name in read if "." not in name}
    return LastMap(graphs, maps[-1].removeprefix("network.") if is_mean else None, constants)


def sharing(module):
    """Return a copy of a module with the same weights, and modes and hooks of its own."""
    tensors = (*module.parameters(), *module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def _is_map(result, samples, node, ended):
    """Return whether the output of a node is maps of several positions, or tokens of a square grid.

    A last dimension larger than the image's side is taken for channels.
    """
    if not isinstance(result, torch.Tensor) or len(result) != len(samples):
        return False
    is_layer = node.op == "call_module"
    layer = ended.get_submodule(node.target) if is_layer else node.target
    if isinstance(layer, POOLS) or layer in POOLING or not node.op.startswith("call"):
        return False
    if result.ndim == 4:
        return math.prod(result.shape[2:]) > 1 and result.shape[3] <= samples.shape[-1]
    return is_layer and result.ndim == 3 and grid_of(result) is not None


def _reached(result, weights):
    """Return the indices of the weights that a result depends on."""
    if not result.requires_grad:
        return set()
    found = torch.autograd.grad(result.sum(), weights, retain_graph=True, allow_unused=True)
    return {i for i, gradient in enumerate(found) if gradient is not None}
