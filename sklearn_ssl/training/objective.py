"""What a method trains: the contract between its losses and the training loop."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn


@dataclass
class Epoch:
    """What an objective decides about an epoch before it begins."""

    order: np.ndarray | None = None  # indices of the samples to train on; None is all, shuffled
    targets: torch.Tensor | None = None  # one for each sample of X, the second argument of forward
    renewed: tuple = ()  # parameters that were set anew, of which the optimizer shall know nothing
    figures: dict = field(
        default_factory=dict
    )  # numbers about it, which are recorded in the history


class Objective(nn.Module):
    """What a method trains: encoder, heads and loss in one module.

    ``encoder`` is what embeds samples once training has ended. ``forward`` takes the list of
    views of a batch, and its targets if ``before_epoch`` gave any, and returns a dict of scalar
    tensors with ``"loss"``, which is minimised; the others are recorded in the history. What is
    called ``"embedding"``, (n, d), is watched: it has to differ between samples.
    """

    near_chance = 0.9  # above this share of the loss of one who guesses, nothing was learned

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, views):
        """Return a dict of scalars, ``"loss"`` among them."""
        raise NotImplementedError

    def before_training(self, samples):
        """Learn what a first training needs to know of all samples.

        ``samples`` yields them in parts, as views get them.
        """

    def before_epoch(self, embed, rng):
        """Return the :class:`Epoch` to come, in evaluation mode one that judges and learns nothing.

        ``embed()`` gives the encoder's features of all samples in their order, (n, d) float32,
        without views; ``rng`` is a NumPy generator, a function of seed and epoch.
        """
        return Epoch()

    def chance_loss(self, n):
        """Return the loss of one who guesses, in a batch of n samples; None if there is no such."""

    def symptoms(self, row):
        """Return what is wrong by an epoch's history that other methods do not know: cause, text.

        The text names the parameters to change.
        """
        return {}

    def before_step(self, progress):
        """Change gradients before the optimizer uses them.

        Progress runs from 0 to 1, and beyond where training goes on after its planned end.
        """

    def after_step(self, progress):
        """Move what moves after each step, as teachers do."""

    def after_training(self, embed, rng, unfinished):
        """Do what the trained encoder is needed for, as a last clustering.

        ``unfinished`` tells whether the last epoch was stopped before its end; then it is in no
        history.
        """


def wide(tensor):
    """Return a tensor in float32, or float64 if it is that, for a loss to compute with."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def joined(views):
    """Return views in one batch, those of the first view first; raise where sizes differ."""
    if any(view.shape[-2:] != views[0].shape[-2:] for view in views):
        sizes = (" x ".join(map(str, view.shape[2:] or view.shape[1:])) for view in views)
        raise ValueError(
            "This method joins views to one batch, so all must have one size; the view recipe gave "
            f"{' and '.join(dict.fromkeys(sizes))}."
        )
    return torch.cat(views)
