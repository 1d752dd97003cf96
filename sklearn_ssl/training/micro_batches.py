"""Micro-batches: training steps in less memory, with the same result."""

import contextlib

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def encoders_of(objective):
    """Return the encoders of an objective, such as student and teacher."""
    return [m for m in objective.modules() if isinstance(m, type(objective.encoder))]


def needs_whole_batches(objective):
    """Return whether features depend on the other samples of the batch (batch norm)."""
    modules = (m for encoder in encoders_of(objective) for m in encoder.modules())
    return any(isinstance(m, _BatchNorm) for m in modules)


@contextlib.contextmanager
def micro_batches(objective, size):
    """Context for a step whose encoders process at most ``size`` samples at once; None is all.

    With gradient checkpointing, all micro-batches are embedded without storing activations, the
    loss is computed from the whole batch, and each micro-batch is embedded again in the backward
    pass. Batch norms need the whole batch, so with them activations are moved to CPU memory.
    """
    if size is None:
        yield
        return
    if needs_whole_batches(objective):
        cuda = next(objective.parameters()).is_cuda
        with torch.autograd.graph.save_on_cpu(pin_memory=cuda):
            yield
        return
    encoders = encoders_of(objective)
    for encoder in encoders:
        encoder.forward = _in_parts(encoder.forward, size)
        encoder.features = _in_parts(encoder.features, size)
    try:
        yield
    finally:
        for encoder in encoders:
            del encoder.forward, encoder.features  # restores the methods of the class


def _in_parts(forward, size):
    """Return a forward function that splits its samples into micro-batches."""

    def embed(samples, **how):
        if len(samples) <= size:
            return forward(samples, **how)
        # Tensors with an entry per sample are split like the samples.
        splits = {k: v.split(size) for k, v in how.items() if isinstance(v, torch.Tensor)}
        given = []
        for i, part in enumerate(samples.split(size)):
            settings = how | {name: parts[i] for name, parts in splits.items()}
            given.append(
                checkpoint(forward, part, use_reentrant=False, **settings)
                if torch.is_grad_enabled()
                else forward(part, **settings)
            )
        if isinstance(given[0], torch.Tensor):
            return torch.cat(given)
        parts = zip(*given, strict=True)  # of Features
        return type(given[0])(*(None if part[0] is None else torch.cat(part) for part in parts))

    return embed
