"""Momentum (EMA) teachers: exponential moving averages of a student's weights."""

import copy
import math

import torch
from torch import nn

from sklearn_ssl._runtime.world import world


@torch.no_grad()
def move_teacher(teacher, student, momentum):
    """Set the teacher's weights to momentum * teacher + (1 - momentum) * student.

    Buffers are not changed: in training mode, the teacher collects the batch-norm statistics of its
    own weights and views.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


def teacher_momentum(start, progress):
    """Return the momentum at a progress from 0 to 1, which rises to 1 by a cosine schedule.

    Beyond 1, when training continues after its planned end, it is that of the start, since a
    momentum of 1 would freeze the teacher.
    """
    if progress > 1 + 1e-6:
        return start
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2


def momentum_at_start(momentum, n_steps, least=0.95):
    """Return the momentum of a teacher at the start of training.

    "auto" averages over a hundredth of training, within [least, 0.996].
    """
    return min(max(1 - 100 / n_steps, least), 0.996) if momentum == "auto" else momentum


class Teacher(nn.Module):
    """Momentum teacher: an exponential moving average (EMA) of the student's encoder and head.

    Only weights are averaged. Buffers of batch norms are not copied: the teacher runs in training
    mode, and collects the statistics of its own weights and views.
    """

    def __init__(self, encoder, head, momentum):
        super().__init__()
        self.encoder, self.head = copy.deepcopy(encoder), copy.deepcopy(head)
        self.momentum = momentum  # at the start of training

    @torch.no_grad()
    def forward(self, views):
        """Return features and outputs of views, without gradients, for all processes."""
        features = world().gather(self.encoder(torch.cat(views)), len(views))
        return features, self.head(features)

    def update(self, encoder, head, progress):
        """Move the weights toward the student's; momentum rises to 1 by a cosine schedule."""
        momentum = teacher_momentum(self.momentum, progress)
        move_teacher(self.encoder, encoder, momentum)
        move_teacher(self.head, head, momentum)
