"""Instance discrimination: which samples are the classes of a training, and their memory bank."""

import math

import numpy as np
import torch
from torch.nn.functional import normalize

from sklearn_ssl.methods.contrastive._base import ContrastiveObjective
from sklearn_ssl.training.objective import Epoch


class InstanceObjective(ContrastiveObjective):
    """Objective whose classes are samples, at most ``n_exemplars`` of them, drawn at random."""

    fewest_views, most_views = 1, math.inf

    def __init__(self, encoder, projector, temperature, n_exemplars):
        super().__init__(encoder, projector, temperature)
        self.n_exemplars = n_exemplars
        # Of one training: the number of samples, the indices of the classes, and vectors of these.
        self.n_samples = self.exemplars = self.bank = None
        self.trained = False  # before, with classes of its own
        self.scored = None  # vectors of the samples of ``score``

    def begin(self, z):
        """Begin with classes of these projections, (n, d); return parameters that were reset."""
        raise NotImplementedError

    def plan_epoch(self, embed, rng):
        """Draw the classes in the first epoch."""
        device, renewed = self.project.weight.device, ()
        if self.exemplars is None:
            z = self.projected(embed())
            self.n_samples = len(z)
            self.exemplars = rng.permutation(self.n_samples)[: self.n_exemplars]
            renewed = self.begin(z[torch.from_numpy(self.exemplars).to(device)])
        n, n_classes = self.n_samples, len(self.exemplars)
        labels = np.zeros(n, np.int64)
        labels[self.exemplars] = np.arange(n_classes)
        # As many views as X has samples: several of each exemplar if there are fewer.
        order = np.concatenate([rng.permutation(self.exemplars) for _ in range(-(-n // n_classes))])
        targets = torch.from_numpy(labels).to(device)
        return Epoch(order=order[:n], targets=targets, renewed=renewed)

    def scoring_targets(self, embed):
        """Make all samples classes."""
        self.scored = self.projected(embed())
        return torch.arange(len(self.scored), device=self.scored.device)

    @torch.no_grad()
    def projected(self, features):
        """Return the projections of an array of features, of length one."""
        features = torch.from_numpy(features).to(self.project.weight)
        return normalize(self.project(features).float())

    def chance_loss(self, n):
        """Return the loss at chance level, where all classes are equally likely."""
        return math.log(len(self.exemplars))

    def after_training(self, embed, rng, unfinished):
        """Forget the classes, as another training may have other samples."""
        self.n_samples = self.exemplars = self.bank = None
        self.trained = True

    def get_extra_state(self):
        """Return the classes, as a part of the state dict."""
        bank = None if self.bank is None else self.bank.cpu().numpy()
        names = "n_samples", "exemplars", "trained"
        return {name: getattr(self, name) for name in names} | {"bank": bank}

    def set_extra_state(self, state):
        """Set the classes."""
        vars(self).update(state)
        bank, device = state["bank"], self.project.weight.device
        self.bank = None if bank is None else torch.from_numpy(bank.copy()).to(device)
