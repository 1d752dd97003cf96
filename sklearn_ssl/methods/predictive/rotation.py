"""Rotation prediction: classify by which angle an image was rotated."""

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from sklearn_ssl.methods.predictive._base import PretextObjective, PretextTask
from sklearn_ssl.views.image import CROPS

# Each transformation: quarter turns to the left, and whether the image is mirrored before.
TRANSFORMATIONS = {
    "rotations": [(turns, False) for turns in range(4)],
    "half_turn": [(0, False), (2, False)],
    "rotations_and_flips": [(turns, flip) for flip in (False, True) for turns in range(4)],
}


class RotationObjective(PretextObjective):
    """Linear classification of the transformations, all of which are applied to each view."""

    def __init__(self, encoder, n_features, transformations):
        super().__init__(encoder, len(TRANSFORMATIONS[transformations]))
        self.transformations = TRANSFORMATIONS[transformations]
        self.classify = nn.Linear(n_features, self.n_classes)

    def task(self, views):
        """Return features, logits and labels of all transformations of each view."""
        features = torch.cat([self.encoder(self.transformed(view)) for view in views])
        labels = torch.arange(self.n_classes, device=features.device)
        labels = labels.repeat_interleave(len(views[0])).repeat(len(views))
        return features, self.classify(features), labels

    def predict(self, images):
        """Return the index of the transformation of each image, (n,)."""
        return self.classify(self.encoder(square(images))).argmax(dim=1)

    def accuracy(self, images):
        """Return the fraction of transformations that are recognized of each image, (n,)."""
        predicted = self.predict(self.transformed(images)).unflatten(0, (-1, len(images)))
        labels = torch.arange(self.n_classes, device=predicted.device)
        return (predicted == labels[:, None]).float().mean(dim=0)

    def transformed(self, images):
        """Return all transformations of images, those of the first transformation first.

        Pixels are moved and not interpolated, which would reveal the angle.
        """
        images = square(images)
        copies = images, images.flip(3)
        return torch.cat([torch.rot90(copies[f], k, (2, 3)) for k, f in self.transformations])


def square(images):
    """Return the center squares of images."""
    side = min(images.shape[2:])
    top, left = ((length - side) // 2 for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


class RotationTransformer(PretextTask):
    """Learn features by rotation prediction: classify by which angle each image was rotated.

    Use it for images with an up and a down, such as photographs of scenes and objects, whose
    content the network has to recognize for it. If ``score_pretext`` is at chance level, as on
    textures, cells or aerial images, nothing was learned. Only for images.

    Parameters
    ----------
    transformations : {"rotations", "half_turn", "rotations_and_flips"}, default="rotations"
        Classes: rotations to the left by 0, 90, 180 and 270 degrees; by 0 and 180 degrees; or the
        four rotations of the image and of its mirror image. In most photographs, mirror images do
        not look wrong, as they do in text and on roads.

    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    In the paper, features of a middle layer transfer better than the last ones: try ``layer``.

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
    >>> rotation.predict_pretext(images).shape
    (200,)
    """

    transformations: Literal[*TRANSFORMATIONS] = "rotations"

    default_views = {"image": replace(CROPS, square=True)}
    pretext_doc = {
        "images": "Images as in fit, of the same shape, of which the center square is classified.",
        "returns": "transformation : ndarray of shape (n_samples,), int",
        "labels": "Number of quarter turns to the left; 1 for a half turn with "
        '``transformations="half_turn"``; with "rotations_and_flips" 4 more if the image was '
        "mirrored before.",
        "score": "Mean accuracy over all transformations of all images. Chance level is 1 divided "
        "by the number of transformations.",
    }

    def _default_views(self, spec):
        views = super()._default_views(spec)
        flips = self.transformations == "rotations_and_flips"
        return replace(views, hflip=0.0) if flips else views  # a flip would be a wrong label

    def _make_objective(self, encoder, n_features, training):
        return RotationObjective(encoder, n_features, self.transformations)
