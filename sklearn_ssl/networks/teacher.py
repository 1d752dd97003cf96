"""Momentum teachers: copies of a student whose weights follow it slowly."""

import math

import torch


@torch.no_grad()
def move_teacher(teacher, student, momentum):
    """Set the teacher's weights to momentum * teacher + (1 - momentum) * student.

    Buffers stay as they are: a teacher that runs in training mode keeps the statistics of its
    batch norms itself, and those of the student belong to other weights and other views.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


def teacher_momentum(start, progress):
    """Momentum that rises from its start to 1 by half a cosine, as progress runs from 0 to 1.

    Beyond 1, where training goes on after its planned end, it is that of the start: with a
    momentum of 1 the teacher would never learn again.
    """
    if progress > 1 + 1e-6:
        return start
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2


def short_run_momentum(n_steps):
    """Momentum with which a teacher remembers a hundredth of the training, within [0.95, 0.996]."""
    return min(max(1 - 100 / n_steps, 0.95), 0.996)
