"""Resolved settings of training: batches, learning rate schedule, number of epochs."""

import math
from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Training:
    """Settings of training, with "auto" resolved."""

    max_epochs: int  # planned; fewer or more with a time limit
    batch_size: int
    optimizer: str
    lr: float
    weight_decay: float
    warmup_epochs: float
    device: torch.device
    precision: str
    compile: bool
    seed: int
    n_samples: int
    micro_batch_size: int | None = None
    first_epoch: int = 0
    anneal: bool = True  # decay the learning rate to final_lr in max_epochs
    final_lr: float = 0.0  # end of the cosine decay, as a share of lr

    @property
    def n_steps(self):
        """Number of steps in max_epochs passes over all samples."""
        return self.max_epochs * len(split(np.arange(self.n_samples), self.batch_size))


def split(order, batch_size, n_processes=1):
    """Split the order of samples into batches, (n_batches, size).

    All batches have the same size, at most ``batch_size`` and, if possible, at least 2. A remainder
    of fewer samples than there are batches is left out.
    """
    n_batches = math.ceil(len(order) / batch_size)
    n_batches = max(1, min(n_batches, len(order) // (2 * n_processes)))
    size = len(order) // n_batches
    size -= size % n_processes
    return order[: n_batches * size].reshape(n_batches, size)


def learning_rate_factor(epochs_done, warmup_epochs, max_epochs, final=0.0):
    """Linear warm-up, then cosine decay until max_epochs; constant if that is None."""
    if warmup_epochs and epochs_done <= warmup_epochs:
        return epochs_done / warmup_epochs
    if max_epochs is None:
        return 1.0
    progress = (epochs_done - warmup_epochs) / (max_epochs - warmup_epochs)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
