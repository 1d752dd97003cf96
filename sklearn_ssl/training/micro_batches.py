"""Micro-batches: training steps in less memory, with the same result."""

import contextlib
import traceback

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sklearn_ssl._runtime.device import gpu_emptied, may_run_out
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl._runtime.world import world
from sklearn_ssl.data.batch import n_samples, parts_of

# Smaller micro-batches are slow and save little memory.
SMALLEST_MICRO_BATCH = 8


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
        if n_samples(samples) <= size:
            return forward(samples, **how)
        # Tensors with an entry per sample are split like the samples.
        splits = {k: v.split(size) for k, v in how.items() if isinstance(v, torch.Tensor)}
        given = []
        for i, part in enumerate(parts_of(samples, size)):
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


class MicroBatches:
    """Computes steps in micro-batches of ``size`` samples; None is whole batches.

    If a GPU runs out of memory, the step is repeated with smaller ones, and so are those after it.
    """

    def __init__(self, size):
        self.size = size

    def run(self, function, objective, device, n):
        """Return ``function(in_parts)``, the forward and backward pass of a batch."""
        go_back = _way_back(objective, device) if may_run_out(device) else None
        while True:
            try:
                with micro_batches(objective, self.size):
                    return function(self.size is not None)
            except torch.OutOfMemoryError as error:
                traceback.clear_frames(error.__traceback__)  # they hold tensors
                self._shrink(objective, device, n, error)
            gpu_emptied(device)
            go_back()

    def _shrink(self, objective, device, n, error):
        """Choose a smaller size; warn the first time."""
        size, whole = self.size, needs_whole_batches(objective)
        if world().size > 1:
            raise MemoryError(
                f"The memory of {device} is not enough for {n} samples, the share of a "
                "batch of each process. Set micro_batch_size of Device, or lower batch_size."
            ) from error
        if size is not None and (whole or size <= SMALLEST_MICRO_BATCH):
            raise MemoryError(
                f"The memory of {device} is not enough for batches of {n} "
                "samples, even in micro-batches. Lower batch_size or the size of the images, or "
                "choose a smaller backbone."
            ) from error
        self.size = max(SMALLEST_MICRO_BATCH, (size or n) // 2)
        if size is None:
            how = "in micro-batches"
            if whole:
                how = "with activations moved to CPU memory, as the backbone has batch norms"
            tell(
                f"The memory of {device} is not enough for batches of {n} "
                f"samples. Steps are computed {how}, with the same result, which takes longer. Set "
                "micro_batch_size of Device to do so from the start."
            )


def _way_back(objective, device):
    """Return a function that restores buffers and random states from before a step."""
    buffers = list(objective.buffers())
    # One operation per data type is faster than one per buffer.
    groups = [[b for b in buffers if b.dtype == dtype] for dtype in {b.dtype for b in buffers}]
    copies = [[torch.empty_like(buffer) for buffer in group] for group in groups]
    for copied, group in zip(copies, groups, strict=True):
        torch._foreach_copy_(copied, group)
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    states = [torch.get_rng_state(), *cuda]

    def go_back():
        for copied, group in zip(copies, groups, strict=True):
            torch._foreach_copy_(group, copied)
        torch.set_rng_state(states[0])
        for state in states[1:]:
            torch.cuda.set_rng_state(state, device)

    return go_back
