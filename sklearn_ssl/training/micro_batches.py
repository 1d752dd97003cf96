"""Training steps in less memory, to the same result."""

import contextlib

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def encoders_of(objective):
    """Return the encoders in an objective, as student and teacher."""
    return [m for m in objective.modules() if isinstance(m, type(objective.encoder))]


def needs_whole_batches(objective):
    """Tell whether what its encoders give for a sample depends on the others in the batch."""
    modules = (m for encoder in encoders_of(objective) for m in encoder.modules())
    return any(isinstance(m, _BatchNorm) for m in modules)


@contextlib.contextmanager
def micro_batches(objective, size):
    """Context for a step whose encoders take at most so many samples at once; None is any number.

    The embeddings of all come first, and without what their gradients need; from them the loss of
    the whole batch; and going back each micro-batch is embedded again, for its gradients. Batch
    norms need the whole batch, so with them what gradients need waits in the processor's memory.
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
    try:
        yield
    finally:
        for encoder in encoders:
            del encoder.forward  # the class's own is there again


def _in_parts(forward, size):
    """Return a function that gives for all samples at once what a module gives for parts."""

    def embed(samples, **how):
        if len(samples) <= size:
            return forward(samples, **how)
        # What there is of each sample is split as the samples are.
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
        return tuple(torch.cat(parts) for parts in zip(*given, strict=True))  # features and maps

    return embed
