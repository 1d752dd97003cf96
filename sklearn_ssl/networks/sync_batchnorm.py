"""Batch norms with the statistics of the batches of all processes."""

import contextlib

from torch import nn

from sklearn_ssl._runtime.world import world

KINDS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


class SyncBatchNorm(nn.SyncBatchNorm):
    """Batch norm of the processes of the current fit."""

    @property
    def process_group(self):
        """The processes."""
        return world().group


@contextlib.contextmanager
def synchronized_batch_norms(module):
    """Context in which batch norms of a module on a GPU have the statistics of all processes."""
    several = world().size > 1 and next(module.parameters()).is_cuda
    norms = [m for m in module.modules() if type(m) in KINDS] if several else []
    kinds = [type(norm) for norm in norms]
    for norm in norms:  # of the same state; but SyncBatchNorm is not folded or exported
        norm.__class__ = SyncBatchNorm
    try:
        yield
    finally:
        for norm, kind in zip(norms, kinds, strict=True):
            norm.__class__ = kind
