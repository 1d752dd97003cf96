"""Pretext classification: what methods share that predict how an image was transformed."""

import functools
import inspect
import math
import textwrap
import types

import torch
from torch.nn.functional import cross_entropy

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer, mean_of
from sklearn_ssl.training.objective import Objective, wide


class PretextObjective(Objective):
    """Cross entropy of labels that are made together with the inputs, such as a rotation."""

    def __init__(self, encoder, n_classes):
        super().__init__(encoder)
        self.n_classes = n_classes

    def task(self, views):
        """Return features, one of each sample first, and the logits and labels to compare."""
        raise NotImplementedError

    def predict(self, images):
        """Return the predicted labels of images, (n,), or of their parts, (n, n_parts)."""
        raise NotImplementedError

    def accuracy(self, images):
        """Return the accuracy on each image, (n,); by default of labels 0, 1, ... of its parts."""
        predicted = self.predict(images)
        labels = torch.arange(self.n_classes, device=predicted.device)
        return (predicted == labels).float().mean(dim=1)

    def forward(self, views):
        """Return the loss of a batch of views."""
        features, logits, labels = self.task(views)
        with full_precision(logits.device):
            loss = cross_entropy(wide(logits), labels)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        embedding = features[: len(views[0])]
        return {"loss": loss, "pretext_accuracy": accuracy, "embedding": embedding}

    def chance_loss(self, n):
        """Return the loss at chance level, where all labels are equally likely."""
        return math.log(self.n_classes)


class PretextTask(SSLTransformer):
    """Base of methods whose objective is a :class:`PretextObjective`.

    What differs in the docstrings of ``predict_pretext`` and ``score_pretext``, a method states in
    ``pretext_doc``: "images", "returns" (name and type), "labels" and "score".
    """

    pretext_doc = {"images": "Images as in fit, of the same shape."}

    def __init_subclass__(cls, **kwargs):
        """Fill in the docstrings of the pretext task."""
        super().__init_subclass__(**kwargs)
        if "pretext_doc" in vars(cls):
            words = PretextTask.pretext_doc | cls.pretext_doc
            cls.predict_pretext = _documented(PretextTask.predict_pretext, words)
            cls.score_pretext = _documented(PretextTask.score_pretext, words)

    def predict_pretext(self, X):
        """Predict the label of the pretext task for each image of X.

        Parameters
        ----------
        X : array-like or tensor
            {images}

        Returns
        -------
        {returns}
            {labels}
            Images that cannot be read have -1.
        """
        return self._map(X, "objective_", lambda objective, images: objective.predict(images))

    def score_pretext(self, X, y=None):
        """Return the accuracy of the pretext task on X.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape, not transformed.

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        accuracy : float
            {score}
            Images that cannot be read are left out.
        """
        return mean_of(self._of_read(X, lambda objective, images: objective.accuracy(images)))


def _documented(function, words):
    """Return a copy of a function with words filled into its docstring."""
    copy = types.FunctionType(function.__code__, function.__globals__, None, function.__defaults__)
    functools.update_wrapper(copy, function)
    wrapped = {key: textwrap.fill(words[key], 88, subsequent_indent=4 * " ") for key in words}
    copy.__doc__ = inspect.getdoc(function).format(**wrapped)
    return copy
