"""What a training is given, and what it returns."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from sklearn_ssl.training.epoch import planned
from sklearn_ssl.training.objective import Objective
from sklearn_ssl.training.schedule import Training


@dataclass(frozen=True)
class Start:
    """The previous fit that training continues."""

    objective: Objective
    history: list  # records of its epochs
    optimizer_state: dict | None = None


@dataclass(frozen=True)
class TrainingRecipe:
    """All that a training depends on, besides the samples."""

    backbone: object  # its name, or what it is made from
    make_encoder: Callable  # make_encoder() returns the encoder before training
    make_objective: Callable  # of encoder, number of features and settings
    make_settings: Callable  # make_settings(planned) of the planned number of epochs, or None
    scaling: object  # of X, before views
    views: Callable  # of a batch
    n_epochs: float  # the most, which may be infinite
    device: torch.device
    seed: int
    layer: str | None = None  # of the encoder, which embeds samples
    start: Start | None = None
    targets: torch.Tensor | None = None  # of all samples, if the objective plans none
    groups: np.ndarray | None = None  # of all samples: two of a group are views of each other

    def plan(self, embed):
        """Return the function that plans an epoch; ``embed`` returns features of all samples."""
        return functools.partial(planned, embed=embed, targets=self.targets, groups=self.groups)

    @property
    def earlier(self):
        """Records of the epochs of previous fits."""
        return [] if self.start is None else self.start.history


@dataclass(frozen=True)
class Hooks:
    """What is called during training."""

    callbacks: tuple = ()  # of skorch
    epoch_task: object = None  # scikit-learn's context of the fit
    given: dict = field(default_factory=dict)  # what scikit-learn's callbacks are called with
    finished: Callable = None  # fitted attributes of a model
    write: Callable = None  # of a checkpoint
    checkpoint_seconds: float = float("inf")
    verbose: int = 0


@dataclass(frozen=True)
class Model:
    """The result of a training."""

    objective: Objective
    encoder: torch.nn.Module
    settings: Training
    n_features_out: int
    history: list  # records of all epochs, with those of previous fits
    optimizer_state: dict | None = None
    stopped_from_outside: bool = False
