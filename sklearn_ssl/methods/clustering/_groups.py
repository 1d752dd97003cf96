"""Groups of samples, whose vectors follow each step with gradients."""

import torch
from torch.nn.functional import normalize


def assigned(z, groups):
    """Return the nearest group of each vector of length one."""
    return (z @ groups.to(z).T).argmax(dim=1)


def updated_groups(groups, z, momentum):
    """Return groups moved toward the mean of the vectors of which they are the nearest ones.

    They have length one, and pass gradients to the vectors. Groups of no vector do not move.
    """
    numbers = torch.arange(len(groups), device=z.device)
    members = (assigned(z, groups)[:, None] == numbers).to(z)  # (n, k)
    sizes = members.sum(dim=0)[:, None]
    moved = momentum * groups + (1 - momentum) * members.T @ z / sizes.clamp_min(1)
    return torch.where(sizes > 0, normalize(moved), groups)
