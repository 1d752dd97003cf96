"""Batch-norm folding: merge batch norms of a trained network into preceding convolutions."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d
NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


def folded(network, samples):
    """Return a copy with folded batch norms, or the network itself if that is not possible.

    In evaluation mode a batch norm is an affine map, which can be merged into the weights of the
    convolution before it. ``samples`` are a few typical inputs: a forward pass finds which norm
    follows which convolution, and the outputs of both networks must match.
    """
    if any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()):
        return network  # hooks need the original modules
    try:
        with torch.inference_mode(False), torch.no_grad():
            samples = samples.clone()  # inference tensors have no version counter
            # Copies of traced modules, from ``layer``, are in training mode.
            expected, other = network(samples), copy.deepcopy(network).eval()
            pairs = _pairs(other, samples)
            for convolution, norm in pairs:
                modules = {module: name for name, module in other.named_modules()}
                other.set_submodule(modules[convolution], fuse_conv_bn_eval(convolution, norm))
                other.set_submodule(modules[norm], nn.Identity())
            given = other(samples)
            agree = torch.allclose(expected, given, 1e-3, 1e-4 * expected.abs().max().item())
    except Exception:  # folding is optional, and networks are arbitrary code
        return network
    return other if pairs and agree else network


def _pairs(network, samples):
    """Return pairs of a convolution and the batch norm that directly follows it."""
    made, taken = {}, {}

    def watch(module, given, result):
        if type(module) in CONVOLUTIONS:
            made.setdefault(module, []).append((result, result._version))
        else:
            taken.setdefault(module, []).append((given[0], given[0]._version))

    plain = [m for m in network.modules() if type(m) in CONVOLUTIONS + NORMS]
    hooks = [module.register_forward_hook(watch) for module in plain]
    network(samples)
    for hook in hooks:
        hook.remove()
    # Tensors are compared with their version, since they may have been changed in place.
    makers = {(id(calls[0][0]), calls[0][1]): m for m, calls in made.items() if len(calls) == 1}
    return [
        (makers[id(calls[0][0]), calls[0][1]], norm)
        for norm, calls in taken.items()
        if len(calls) == 1
        and norm.running_mean is not None
        and (id(calls[0][0]), calls[0][1]) in makers
    ]
