"""An epoch: its plan, its batches and targets, and its state, from which it is resumed."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from sklearn_ssl._runtime.isolation import seed_torch
from sklearn_ssl._runtime.world import world
from sklearn_ssl.training.schedule import split


@dataclass
class RunningEpoch:
    """An epoch in progress."""

    number: int
    batches: np.ndarray  # indices of the samples of each batch, (n_batches, size)
    n_planned: int  # batches, without repetitions
    targets: torch.Tensor | None
    partners: np.ndarray | None  # of each sample: the index of that which has its other views
    figures: dict
    rng: dict  # state of the generator after planning
    steps: dict = field(default_factory=dict)  # outputs before the epoch was resumed
    n_steps: int = 0  # steps taken
    taken: list = field(default_factory=list)  # outputs of each step since
    embedding: torch.Tensor | None = None  # of the last step

    def read(self, data, settings, extends=lambda: False):
        """Yield the samples of each batch, their targets, and their partners; None without any.

        Each of several processes reads its share of each batch.
        While ``extends()``, the batches are repeated in another order.
        """
        first, device = self.n_steps, settings.device
        rng = np.random.default_rng((settings.seed, self.number))
        rng.bit_generator.state = self.rng
        while True:
            batches = self.batches
            mine = batches[first:, world().share(batches.shape[1])]
            nothing, targets, partners = [None] * len(mine), None, None
            if self.targets is not None:
                # All at once: indexing by an array synchronizes with the GPU.
                targets = self.targets.to(device)[mine]
            if self.partners is not None:
                partners = data.batches(self.partners[mine], device, rng)
            parts = data.batches(mine, device, rng), targets, partners
            yield from zip(*(nothing if p is None else p for p in parts), strict=True)
            first = len(batches)
            if not extends():
                return
            again = rng.permutation(batches[: self.n_planned].ravel())
            self.batches = np.concatenate([batches, again.reshape(-1, batches.shape[1])])

    def add(self, terms):
        """Add the outputs of a step; return its scalars."""
        self.embedding = terms.get("embedding")
        scalars = {name: value for name, value in terms.items() if not value.ndim}
        self.taken.append(scalars)
        self.n_steps += 1
        return scalars

    def values(self):
        """Return the outputs of all steps, a tensor (n_steps,) for each name."""
        names = self.taken[0]
        values = {name: torch.stack([s[name] for s in self.taken]).float() for name in names}
        if not self.steps:
            return values
        return {name: torch.cat([self.steps[name].to(v.device), v]) for name, v in values.items()}

    def state(self):
        """Return the arguments to resume it with."""
        names = "batches", "n_planned", "targets", "partners", "figures", "rng", "n_steps"
        return {name: getattr(self, name) for name in names} | {"steps": self.values()}


def planned(objective, settings, number, n_samples, *, embed, targets=None, groups=None):
    """Return an epoch, the parameters that its plan reset, and the seconds that planning took.

    ``targets`` of all samples are used if the objective plans none. If there are ``groups``, an
    integer per sample, a partner is drawn for each sample from the others of its group.
    """
    start = time.perf_counter()
    rng = np.random.default_rng((settings.seed, number))
    seed_torch(settings.device, settings.seed, number)
    plan = objective.plan_epoch(embed, rng)
    order = rng.permutation(n_samples) if plan.order is None else plan.order
    batches = split(order, settings.batch_size, world().size)
    partners = None if groups is None else drawn_partners(groups, rng)
    targets = targets if plan.targets is None else plan.targets
    state = rng.bit_generator.state
    about = targets, partners, plan.figures, state
    epoch = RunningEpoch(number, batches, len(batches), *about)
    return epoch, plan.renewed, time.perf_counter() - start


def drawn_partners(groups, rng):
    """Return the index of another sample of its group for each sample; its own if it is alone."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    starts, sizes = starts.repeat(sizes), sizes.repeat(sizes)
    places = np.arange(len(groups)) - starts
    steps = np.where(sizes > 1, 1 + rng.integers(0, np.maximum(1, sizes - 1)), 0)
    partners = np.empty(len(groups), np.int64)
    partners[order] = order[starts + (places + steps) % sizes]
    return partners
