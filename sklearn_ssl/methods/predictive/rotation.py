"""Rotation: tell by which quarter turns an image was rotated."""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_ssl._runtime.device import full_precision
from sklearn_ssl.base import SSLTransformer, share_right
from sklearn_ssl.training.objective import Objective, wide
from sklearn_ssl.views import ImageViews

# Each transformation: quarter turns to the left, and whether the image is mirrored before.
TRANSFORMATIONS = {
    "rotations": [(turns, False) for turns in range(4)],
    "half_turn": [(0, False), (2, False)],
    "rotations_and_flips": [(turns, flip) for flip in (False, True) for turns in range(4)],
}


class RotationObjective(Objective):
    """Cross entropy of a linear classifier of the transformations of each view."""

    def __init__(self, encoder, n_features, transformations):
        super().__init__(encoder)
        self.transformations = TRANSFORMATIONS[transformations]
        self.classify = nn.Linear(n_features, len(self.transformations))

    def forward(self, views):
        """Return the loss of a batch of views, each in all transformations at once."""
        features = torch.cat([self.encoder(self.transformed(view)) for view in views])
        scores, n = self.classify(features), len(views[0])
        applied = torch.arange(len(self.transformations), device=scores.device)
        applied = applied.repeat_interleave(n).repeat(len(views))
        with full_precision(scores.device):
            loss = cross_entropy(wide(scores), applied)
        accuracy = (scores.argmax(dim=1) == applied).float().mean()
        return {"loss": loss, "pretext_accuracy": accuracy, "embedding": features[:n]}

    def chance_loss(self, n):
        """Return the loss of one to whom all transformations are alike."""
        return math.log(len(self.transformations))

    def scores(self, images):
        """Return the scores of what may have been done to each image, (n, transformations)."""
        return self.classify(self.encoder(images))

    def transformed(self, images):
        """Return all transformations of the images, those of the first transformation first.

        Turns and flips move pixels and mix none: interpolation would tell the angle.
        """
        images = square(images)
        return torch.cat(
            [
                torch.rot90(images.flip(3) if flip else images, turns, (2, 3))
                for turns, flip in self.transformations
            ]
        )


def square(images):
    """Cut images to the square in their middle."""
    side = min(images.shape[2:])
    top, left = ((length - side) // 2 for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


class RotationTransformer(SSLTransformer):
    """Learn features by telling how each image was rotated.

    Use it for images with an up and a down, such as photographs of scenes and objects: to tell a
    rotation, the network has to see what is in them. ``score_pretext`` says how well it does; at
    chance, as on textures, cells or views from above, there was nothing to learn. It takes images
    alone.

    Parameters
    ----------
    transformations : {"rotations", "half_turn", "rotations_and_flips"}, default="rotations"
        What is to be told apart: no rotation and rotations to the left by 90, 180 and 270
        degrees; no rotation and 180 degrees; or the four rotations of the image and those of its
        mirror image, eight in all. Mirror images do not look wrong in most photographs, but do
        in text and on roads.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    In the paper the features of a middle layer do better than the last ones, which care for the
    rotation alone: try ``layer``. Of the default "small_convnet" with its three stages the last
    is better: a linear model of CIFAR-10's classes had .568 there and .533 at "stage2", 20
    neighbours .490 and .449; on Fashion-MNIST .876 and .834, .866 and .787
    (``benchmarks/README.md``). Like the published views, these crop and flip and change no
    colours. All copies of an image are in one batch, so that batch norm tells nothing.

    References
    ----------
    `Gidaris et al. "Unsupervised representation learning by predicting image rotations",
    ICLR 2018 <https://arxiv.org/abs/1803.07728>`_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import RotationTransformer
    >>> images = load_digits().images[:200]
    >>> rotation = RotationTransformer(max_epochs=1, random_state=0).fit(images)
    >>> rotation.transform(images).shape
    (200, 256)
    >>> rotation.predict_pretext(images).shape
    (200,)
    """

    transformations: Literal[*TRANSFORMATIONS] = "rotations"

    default_views = {
        "image": ImageViews(
            scale=(0.5, 1.0),
            color_jitter=0.0,
            grayscale=0.0,
            gaussian_blur=0.0,
            square=True,
            n_views=1,
        )
    }

    def _default_views(self, source):
        views = super()._default_views(source)
        flips = self.transformations == "rotations_and_flips"
        return replace(views, hflip=0.0) if flips else views  # a flip would be a wrong label

    def _make_objective(self, encoder, n_features, training):
        return RotationObjective(encoder, n_features, self.transformations)

    def predict_pretext(self, X):
        """Tell which transformation was applied to each image of X.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape; of others than squares, the middle is judged.

        Returns
        -------
        transformation : ndarray of shape (n_samples,), int
            Its index: the number of quarter turns to the left for "rotations", 1 for a half turn,
            and for "rotations_and_flips" 4 more where the image was mirrored before.
        """
        return self._map(X, "_objective", lambda o, x: o.scores(square(x)).argmax(dim=1))

    def score_pretext(self, X, y=None):
        """Return the accuracy of the pretext task, on all transformations of the images of X.

        Parameters
        ----------
        X : array-like or tensor
            Images as in fit, of the same shape, as they are, not transformed.

        y : Ignored
            Not used, here for scikit-learn's conventions.

        Returns
        -------
        accuracy : float
            The share of copies whose transformation was told. Chance is 1 / number of
            transformations.
        """

        def scores(objective, images):
            copies = objective.scores(objective.transformed(images))
            return copies.unflatten(0, (-1, len(images))).argmax(dim=2).T  # (n, transformations)

        return share_right(self._map(X, "_objective", scores))
