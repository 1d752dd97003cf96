"""Objective of a method: the interface between losses and the training loop."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from sklearn_ssl.data.batch import concatenated, shape_of


@dataclass
class Epoch:
    """What an objective sets before an epoch."""

    order: np.ndarray | None = None  # indices of the samples to train on; None is all, shuffled
    targets: torch.Tensor | None = None  # one per sample of X, the second argument of forward
    renewed: tuple = ()  # reinitialized parameters, whose optimizer state is reset
    figures: dict = field(default_factory=dict)  # diagnostics, recorded in the history


class Objective(nn.Module):
    """Encoder, heads and loss of a method in one module.

    ``encoder`` embeds samples after training. ``forward`` takes the list of views of a batch, and
    its targets if ``plan_epoch`` returned any, and returns a dict of tensors, the terms of the
    step: ``"loss"`` is minimized, other scalars are recorded in the history. ``"embedding"``,
    (n, d), is monitored for collapse. All others are passed to ``after_update``.
    """

    near_chance = 0.9  # fit warns if the loss is above this share of its chance level

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, views):
        """Return a dict of scalars, including ``"loss"``."""
        raise NotImplementedError

    def before_training(self, samples):
        """Compute statistics of all samples before the first training.

        ``samples`` yields batches, scaled as for views.
        """

    def plan_epoch(self, embed, rng):
        """Return the next :class:`Epoch`.

        ``embed()`` returns the encoder's features of all samples in order, (n, d) float32, without
        augmentation; ``rng`` is a NumPy generator that depends on seed and epoch.
        """
        return Epoch()

    def scoring_targets(self, embed):
        """Return the targets of samples for ``score``, or None; ``embed`` as in ``plan_epoch``.

        It is called on a copy, which is discarded.
        """

    def optimizer_groups(self):
        """Return the parameters to train, as a list of dicts.

        ``"params"`` are parameters, ``"loss"`` is the name of the term that they minimize, by
        default ``"loss"``, and ``"final_weight_decay"``, if not None, the weight decay at the end
        of a cosine schedule. With ``"constant_lr"`` the learning rate does not decay after warm-up;
        the first group, whose rate is recorded, has none.
        """
        return [{"params": list(self.parameters())}]

    def chance_loss(self, n):
        """Return the loss at chance level for a batch of n samples, or None if undefined."""

    def diagnose(self, row):
        """Return problems specific to the method in the record of an epoch: causes and messages.

        Messages name the parameters to change.
        """
        return {}

    def before_update(self, progress):
        """Modify gradients before the optimizer step.

        Progress is from 0 to 1, and larger if training continues after its planned end.
        """

    def after_update(self, terms, progress):
        """Update state after a step, such as momentum teachers; ``terms`` are those of ``forward``.

        They are detached from the graph.
        """

    def after_training(self, embed, rng, unfinished):
        """Finish with the trained encoder, for example by a last clustering.

        ``unfinished`` is whether the last epoch was stopped early, and is not in the history.
        """


def wide(tensor):
    """Return a tensor in at least float32, to compute a loss."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def joined(views):
    """Concatenate views to one batch; raise if their sizes differ."""
    shapes = [shape_of(view) for view in views]
    if any(shape != shapes[0] for shape in shapes):
        if isinstance(views[0], torch.Tensor):
            shapes = [" x ".join(map(str, shape[1:] or shape)) for shape in shapes]
        raise ValueError(
            "This method concatenates views to one batch, so all must have the same size. Got "
            f"{' and '.join(dict.fromkeys(map(str, shapes)))}."
        )
    return concatenated(views)
