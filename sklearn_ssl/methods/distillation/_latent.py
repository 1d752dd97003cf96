"""What I-JEPA and data2vec share: prediction of what a momentum teacher represents."""

import copy
from dataclasses import replace

from torch import nn
from torch.nn.functional import smooth_l1_loss

from sklearn_ssl._runtime.world import world
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.methods._patches import TakesPatches
from sklearn_ssl.networks.encoder import with_map
from sklearn_ssl.networks.teacher import momentum_at_start, move_teacher, teacher_momentum
from sklearn_ssl.parameters import Auto, between
from sklearn_ssl.training.objective import Objective
from sklearn_ssl.views.image import CROPS


class LatentObjective(Objective):
    """Objective of a student and its momentum teacher, whose encoder embeds samples.

    The embedding is the mean of the tokens.
    """

    def __init__(self, encoder, momentum):
        nn.Module.__init__(self)  # ``encoder`` is that of the teacher
        self.student, _ = with_map(encoder)
        self.teacher = copy.deepcopy(self.student)
        self.momentum = momentum  # at the start of training

    @property
    def encoder(self):
        """The teacher's encoder."""
        return self.teacher

    def grid(self, images):
        """Return the numbers of rows and columns of patches; raise if there are too few."""
        rows, columns = (side // self.student.patch_size for side in images.shape[2:])
        if rows * columns < 4:
            raise ValueError(
                f"Patches are predicted from others, and views of {images.shape[2]} x "
                f"{images.shape[3]} pixels have only {rows * columns}. Give larger ones."
            )
        return rows, columns

    def after_update(self, terms, progress):
        """Update the teacher."""
        move_teacher(self.teacher, self.student, teacher_momentum(self.momentum, progress))


def masked_smooth_l1(predicted, targets, masks, beta=1.0):
    """Return the smooth L1 distance, the mean over masked tokens, which are (n, t, d)."""
    errors = smooth_l1_loss(predicted, targets, beta=beta, reduction="none").mean(dim=2)
    return (errors * masks).sum() / world().mean(masks.sum().float()).clamp(min=1)


class LatentTransformer(TakesPatches, SSLTransformer):
    """Base of the methods that predict the teacher's representations of masked patches.

    Parameters
    ----------
    momentum : float or "auto", default="auto"
        Momentum of the teacher's moving average at the start, in [0, 1). It rises to 1 by a cosine
        schedule. "auto" is 1 - 100 / number of steps, within [0.99, 0.996]; with faster teachers,
        features collapse.
    """

    doc_name = "latent"
    instead = "IBOTTransformer"

    momentum: Auto | between(0, 1, "left") = "auto"

    default_views = {"image": replace(CROPS, scale=(0.3, 1.0))}
    whole_views = True  # masks as large as in the images

    def _resolve_momentum(self, training):
        return momentum_at_start(self.momentum, training.n_steps, 0.99)

    def _resolve_training(self, *args):
        training = super()._resolve_training(*args)
        auto = self.lr == "auto" and training.optimizer == "adamw"
        return replace(training, lr=5e-4) if auto else training
