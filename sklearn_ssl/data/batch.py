"""Batches: a tensor with an entry per sample, or a tuple or dict of such tensors."""

import torch
from torch.utils import _pytree as pytree

structure, mapped, leaves = pytree.tree_structure, pytree.tree_map, pytree.tree_leaves


def n_samples(batch):
    """Return the number of samples of a batch."""
    return len(leaves(batch)[0])


def shape_of(batch):
    """Return the shape of a sample, in the structure of the batch."""
    return mapped(lambda part: tuple(part.shape[1:]), batch)


def concatenated(batches):
    """Return batches of the same structure as one."""
    return mapped(lambda *parts: torch.cat(parts), *batches)


def parts_of(batch, size):
    """Return the parts of a batch, each of at most ``size`` samples."""
    return [
        mapped(lambda part, start=start: part[start : start + size], batch)
        for start in range(0, n_samples(batch), size)
    ]
