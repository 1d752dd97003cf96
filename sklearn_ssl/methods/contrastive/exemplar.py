"""Exemplar learning and instance discrimination: each sample is a class of its views."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl._runtime.world import world
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.methods.contrastive._instances import InstanceObjective
from sklearn_ssl.parameters import Auto, Count, Positive, at_least, between
from sklearn_ssl.training.objective import wide
from sklearn_ssl.views import ImageViews, TableViews

MOST_LEARNED = 8000  # class vectors; with more, the features of the paper became worse


class ExemplarObjective(InstanceObjective):
    """Cross entropy of the cosine similarities between views and a vector of each class."""

    def __init__(self, encoder, n_features, n_exemplars, projection_dim, temperature, momentum):
        super().__init__(encoder, nn.Linear(n_features, projection_dim), temperature, n_exemplars)
        self.momentum = momentum
        if momentum is None:  # without a memory bank
            self.class_vectors = nn.Parameter(torch.randn(n_exemplars, projection_dim))

    def begin(self, z):
        """Let class vectors start from projections, unless the encoder is untrained."""
        if self.momentum is not None:
            self.bank = z
        elif self.trained:  # without, random vectors learn faster
            self.class_vectors.data[: len(z)] = z
            return (self.class_vectors,)
        return ()

    def vectors(self):
        """Return the vector of each class, of length one."""
        if self.scored is not None:
            return self.scored
        if self.bank is not None:
            return self.bank
        return normalize(self.class_vectors[: len(self.exemplars)])

    def forward(self, views, labels):
        """Return the loss of a batch of views and of the classes of their samples."""
        z, labels = torch.cat(self.projections(views)), world().gather(labels)
        with full_precision(z.device):
            z = normalize(wide(z))
            logits = z @ self.vectors().to(z).T / self.temperature
            loss = cross_entropy(logits, labels.repeat(len(views)))
        # Backward needs the bank unchanged: it is updated after the step.
        means = z.detach().unflatten(0, (len(views), -1)).mean(dim=0)
        return {"loss": loss, "embedding": z[: len(labels)], "means": means, "labels": labels}

    @torch.no_grad()
    def after_update(self, terms, progress):
        """Update the memory bank with the projections of the batch."""
        if self.bank is not None:
            z, labels = terms["means"], terms["labels"]
            same = (labels[:, None] == labels).to(z)  # a batch may have several of a class
            z = same @ z / same.sum(dim=1, keepdim=True)
            mean = self.momentum * self.bank[labels] + (1 - self.momentum) * z.to(self.bank)
            self.bank[labels] = normalize(mean)


class ExemplarTransformer(SSLTransformer):
    """Learn features by instance discrimination: each sample is a class, recognized by its views.

    Use it as SimCLR: the features become invariant to the augmentations of ``views``. Views are
    compared with a vector of each class instead of the batch, so small batches are enough.

    Parameters
    ----------
    n_exemplars : int or "auto", default="auto"
        Number of samples that are classes, at least 2, drawn at random; all if X has fewer. "auto"
        is all with a memory bank, else at most 8,000.

    memory_bank : bool, default=True
        Whether the vectors of classes are a memory bank of moving averages of projections
        (instance discrimination), for any number of samples. Else they are learned, as the weights
        of a classifier (exemplar networks).

    momentum : float, default=0.5
        Momentum of the moving averages in the memory bank, in [0, 1).

    temperature : float, default=0.2
        Temperature of the softmax over cosine similarities, above 0.

    projection_dim : int, default=128
        Width of the projection in which views are compared, used during training only.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Exemplars are whole samples, not patches with large gradients, and are compared by cosine
    similarity also without a memory bank. The bank starts from projections, not at random. The
    softmax is over all classes, without noise-contrastive estimation: time and memory grow with
    their number. Training that continues has new classes, whose vectors start from projections.
    ``score`` compares the samples of its X with each other.

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
    memory_bank: bool = True
    momentum: between(0, 1, "left") = 0.5
    temperature: Positive = 0.2
    projection_dim: Count = 128

    default_views = {
        "image": ImageViews(n_views=1),
        "table": TableViews(keep_first=False, n_views=1),
    }

    def _make_objective(self, encoder, n_features, training):
        n = training.n_samples if self.memory_bank else MOST_LEARNED
        n = n if self.n_exemplars == "auto" else self.n_exemplars
        momentum = self.momentum if self.memory_bank else None
        settings = self.projection_dim, self.temperature, momentum
        return ExemplarObjective(encoder, n_features, n, *settings)
