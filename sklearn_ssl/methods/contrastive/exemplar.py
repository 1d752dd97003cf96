"""Exemplar: make each sample a class of its own, and tell it by its random views."""

import math
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.parameters import Auto, Count, Positive, at_least, between
from sklearn_ssl.training.objective import Epoch, Objective, wide
from sklearn_ssl.views import ImageViews, RowViews

MOST_LEARNED = 8000  # classes; with more the paper's features became worse


class ExemplarObjective(Objective):
    """Cross entropy of views with the samples that they are of, by cosine to a vector of each."""

    def __init__(self, encoder, n_features, n_exemplars, projection_dim, temperature, momentum):
        super().__init__(encoder)
        self.project = nn.Linear(n_features, projection_dim)
        self.n_exemplars, self.temperature, self.momentum = n_exemplars, temperature, momentum
        if momentum is None:  # the vectors are learned, as weights are
            self.learned = nn.Parameter(torch.randn(n_exemplars, projection_dim))
        # While training goes on: number of samples, those that are classes, remembered vectors.
        self.n_samples = self.exemplars = self.memory = None
        self.trained = False  # whether there was a training before
        self.news = None  # of a step: projections, and their classes
        self.judged = None  # the vectors of samples that are judged, and not learned from

    def forward(self, views, classes):
        """Return the loss of a batch of views, and of the classes of their samples."""
        z = self.project(torch.cat([self.encoder(view) for view in views]))
        with full_precision(z.device):
            z = normalize(wide(z))
            scores = z @ self.vectors().to(z).T / self.temperature
            loss = cross_entropy(scores, classes.repeat(len(views)))
        if self.training:  # remembered after the step: going back needs the vectors as they were
            self.news = z.detach().unflatten(0, (len(views), -1)).mean(dim=0), classes
        return {"loss": loss, "embedding": z[: len(classes)]}

    def vectors(self):
        """Return a vector of length one for each class."""
        if not self.training:
            return self.judged
        if self.memory is not None:
            return self.memory
        return normalize(self.learned[: len(self.exemplars)])

    @torch.no_grad()
    def after_step(self, progress):
        """Move the remembered vectors of the batch's classes towards their projections."""
        if self.memory is not None:
            z, classes = self.news
            same = (classes[:, None] == classes).to(z)  # of few classes, one may come several times
            z = same @ z / same.sum(dim=1, keepdim=True)
            mean = self.momentum * self.memory[classes] + (1 - self.momentum) * z.to(self.memory)
            self.memory[classes] = normalize(mean)

    def before_epoch(self, embed, rng):
        """Choose the classes of a training that begins; judge samples beside each other."""
        device = self.project.weight.device
        if not self.training:
            self.judged = self.projected(embed())
            return Epoch(targets=torch.arange(len(self.judged), device=device))
        renewed = ()
        if self.exemplars is None:
            features = self.projected(embed())
            self.n_samples = len(features)
            self.exemplars = rng.permutation(self.n_samples)[: self.n_exemplars]
            features = features[torch.from_numpy(self.exemplars).to(device)]
            if self.momentum is not None:
                self.memory = features
            elif self.trained:  # for other samples; of an untrained encoder it would learn slower
                self.learned.data[: len(features)] = features
                renewed = (self.learned,)
        n, n_classes = self.n_samples, len(self.exemplars)
        classes = np.zeros(n, np.int64)
        classes[self.exemplars] = np.arange(n_classes)
        # As many views as X has samples, several of each exemplar where these are fewer.
        order = np.concatenate([rng.permutation(self.exemplars) for _ in range(-(-n // n_classes))])
        targets = torch.from_numpy(classes).to(device)
        return Epoch(order=order[:n], targets=targets, renewed=renewed)

    @torch.no_grad()
    def projected(self, features):
        """Return what features, an array of all samples', are projected to, of length one."""
        weight = self.project.weight
        features = torch.from_numpy(features).to(weight)
        return normalize(self.project(features).float())

    def chance_loss(self, n):
        """Return the loss of one to whom all classes are alike."""
        return math.log(len(self.exemplars))

    def after_training(self, embed, rng, unfinished):
        """Forget the classes, as other samples may come."""
        self.n_samples = self.exemplars = self.memory = self.news = None
        self.trained = True

    def get_extra_state(self):
        """Return the classes, which go into the state dict."""
        memory = None if self.memory is None else self.memory.cpu().numpy()
        names = "n_samples", "exemplars", "trained"
        return {name: getattr(self, name) for name in names} | {"memory": memory}

    def set_extra_state(self, state):
        """Take over the classes."""
        vars(self).update(state)
        memory, device = state["memory"], self.project.weight.device
        self.memory = None if memory is None else torch.from_numpy(memory.copy()).to(device)


class ExemplarTransformer(SSLTransformer):
    """Learn features by telling each sample from all others, by random views of it.

    Use it as SimCLR: what the views change is what the features learn not to notice. Each sample
    is a class, with a vector of its own that its views are compared with, so that it needs no
    large batches, and one view of a sample is enough.

    Parameters
    ----------
    n_exemplars : int or "auto", default="auto"
        Number of samples that are classes, at least 2, drawn at random; all where X has fewer.
        "auto" is all where classes are remembered, else at most 8,000.

    classes : {"remembered", "learned"}, default="remembered"
        What the vector of a class is. "remembered" is a running mean of what its views were
        projected to (instance discrimination), for any number of samples. "learned" are weights,
        as of a classifier (exemplar networks).

    momentum : float, default=0.5
        What remains of a remembered vector when a view of its sample comes, in [0, 1).

    temperature : float, default=0.2
        Divides the cosines, above 0.

    projection_dim : int, default=128
        Width of the projection in which views are compared with classes, in training alone.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    The classes of the paper are patches of photographs, drawn where the gradients are large; here
    they are samples as they are. Both ways compare by cosines, as instance discrimination does.
    Remembered vectors begin with the projections that the untrained encoder gives, and not at
    random. Where training goes on, by ``partial_fit`` or ``warm_start``, classes are drawn anew and
    learned vectors begin with projections as well, as the samples may be others.

    A step compares its views with all classes, and not with a few that are drawn, as by Wu et al.:
    time and memory grow with their number. ``score`` compares the samples that it is given with
    each other, as many as they are. The papers' temperatures are .07 and .1; on digits, with 5
    labels a class, .1 gave .906 with a linear model and .882 with the nearest neighbour, and .2
    gave .929 and .918.

    References
    ----------
    `Dosovitskiy et al. "Discriminative unsupervised feature learning with convolutional neural
    networks", NeurIPS 2014 <https://arxiv.org/abs/1406.6909>`_

    `Wu et al. "Unsupervised feature learning via non-parametric instance discrimination",
    CVPR 2018 <https://arxiv.org/abs/1805.01978>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import ExemplarTransformer
    >>> images = load_digits().images[:200]
    >>> exemplar = ExemplarTransformer(max_epochs=1, random_state=0).fit(images)
    >>> exemplar.transform(images).shape
    (200, 256)
    """

    n_exemplars: Auto | at_least(2) = "auto"
    classes: Literal["remembered", "learned"] = "remembered"
    momentum: between(0, 1, "left") = 0.5
    temperature: Positive = 0.2
    projection_dim: Count = 128

    default_views = {"image": ImageViews(n_views=1), "rows": RowViews(keep_first=False, n_views=1)}

    def _make_objective(self, encoder, n_features, training):
        learned, n = self.classes == "learned", self.n_exemplars
        if n == "auto":
            n = MOST_LEARNED if learned else training.n_samples
        momentum = None if learned else self.momentum
        return ExemplarObjective(
            encoder, n_features, n, self.projection_dim, self.temperature, momentum
        )
