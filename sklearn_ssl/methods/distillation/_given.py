"""Given teachers: transformers, fitted or to be fitted on X, whose features are targets."""

import functools
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_ssl._runtime.sklearn_private import HasMethods
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.data.labels import read_mask
from sklearn_ssl.inference.batches import transformed
from sklearn_ssl.methods.baselines.encoder import EncoderTransformer
from sklearn_ssl.parameters import Auto, is_auto
from sklearn_ssl.persistence.save_load import restored


class StudentTransformer(SSLTransformer):
    """Base of the methods whose teacher is given.

    Parameters
    ----------
    teacher : transformer or "auto", default="auto"
        Estimator with ``transform`` for the same X: a method of this package, an
        :class:`~sklearn_ssl.EncoderTransformer` with ``weights``, a
        :class:`~sklearn_ssl.PatchKMeansTransformer`, or one of scikit-learn, such as a pipeline.
        If it is not fitted, a copy is fitted on X. Clones of this estimator have a fitted teacher
        in a :class:`~sklearn.frozen.FrozenEstimator`. "auto" is an untrained EncoderTransformer,
        the weakest sensible teacher.
    """

    doc_name = "student"

    teacher: Auto | Annotated[object, HasMethods(["fit", "transform"])] = "auto"

    def _student(self, encoder, n_features, targets):
        """Return the objective of a student, for the teacher's features of the samples."""
        raise NotImplementedError

    def _targets(self, X, ids, source, seed=None):
        if seed is not None:
            auto = EncoderTransformer(input=self.input, device=self.device, random_state=seed)
            self._teacher = fitted(auto if is_auto(self.teacher) else self.teacher, X)
        if not hasattr(self, "_teacher"):
            raise ValueError(
                "The teacher is needed, which is no estimator of sklearn_ssl and therefore not in "
                "the file that was loaded. Fit again, or save a pickle."
            )
        return features_by(self._teacher, X, source)

    def _training_recipe(self, data, groups, targets, *how):
        recipe = super()._training_recipe(data, groups, targets, *how)
        make = functools.partial(self._make_objective, targets=targets)
        return replace(recipe, make_objective=make)

    def _make_objective(self, encoder, n_features, training, targets=None):
        if targets is None:  # weights, and the scale of targets, are then loaded
            targets = torch.zeros(1, self._n_targets)
        objective = self._student(encoder, n_features, targets)
        objective.n_targets = targets.shape[1]
        return objective

    def _fitted(self, objective, source):
        return {"_teacher": self._teacher, "_n_targets": objective.n_targets}

    def _take_over(self, cached, spec, resume):
        teacher = self._teacher if resume else self.teacher
        super()._take_over(cached, spec, resume)
        given = {"device": self.device, "views": None}
        given["backbone"] = getattr(teacher, "backbone", None)
        known = not is_auto(teacher) and is_fitted(teacher)
        self._teacher = teacher if known else restored(self._teacher, "The cached fit", given)

    def __sklearn_clone__(self):
        copied = super().__sklearn_clone__()
        if not is_auto(self.teacher) and get_tags(self.teacher).requires_fit:
            frozen = isinstance(self.teacher, FrozenEstimator)
            if is_fitted(self.teacher) and not frozen:  # which a clone of it is not
                copied.teacher = FrozenEstimator(self.teacher)
        return copied


def is_fitted(teacher):
    """Return whether a teacher is fitted, or does not have to be."""
    try:
        check_is_fitted(teacher)
    except NotFittedError:
        return False
    return True


def fitted(teacher, X):
    """Return the teacher itself if it is fitted, else a copy that is fitted on X."""
    return teacher if is_fitted(teacher) else clone(teacher).fit(X)


def features_by(teacher, X, source):
    """Return a teacher's features of X, without images that its source could not read, (n, d)."""
    name, is_read, features = type(teacher).__name__, read_mask(source), transformed(teacher, X)
    if len(features) != len(is_read):
        raise ValueError(
            f"transform of the teacher {name} returned {len(features)} of {len(is_read)} rows."
        )
    features = features[is_read].astype(np.float32)
    if not np.isfinite(features).all():
        raise ValueError(f"The features of the teacher {name} for X contain NaN or infinity.")
    return torch.from_numpy(features)
