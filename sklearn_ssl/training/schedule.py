"""The settings of a training, resolved: batches, learning rate, number of epochs."""

import math
from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Training:
    """How to train: the settings of a fit, all resolved."""

    max_epochs: int  # those planned; less or more where time is the limit
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
    anneal: bool = True  # follow the schedule to a learning rate of 0 in max_epochs
    final_lr: float = 0.0  # what the cosine falls to, as a share of lr
    final_weight_decay: float | None = None  # reached by half a cosine; None keeps it as it is

    @property
    def n_steps(self):
        """Number of steps in max_epochs passes over all samples."""
        return self.max_epochs * len(split(np.arange(self.n_samples), self.batch_size))


def split(order, batch_size):
    """Cut the order of an epoch's samples into batches, shape (n_batches, size).

    All batches have one size, at most ``batch_size`` and at least 2 samples where there are as
    many; what does not fill up the last one, fewer samples than there are batches, is left out.
    """
    n_batches = max(1, min(math.ceil(len(order) / batch_size), len(order) // 2))
    size = len(order) // n_batches
    return order[: n_batches * size].reshape(n_batches, size)


def learning_rate_factor(epochs_done, warmup_epochs, max_epochs, final=0.0):
    """Linear warm-up, then half a cosine in max_epochs; constant when that is None."""
    if warmup_epochs and epochs_done <= warmup_epochs:
        return epochs_done / warmup_epochs
    if max_epochs is None:
        return 1.0
    progress = (epochs_done - warmup_epochs) / (max_epochs - warmup_epochs)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
