"""Joint embedding: number of views, teachers, queues, and the energy of pairs."""

import math

import numpy as np
import pytest
import torch
from common import ALL_METHODS, digits, sentences, shrunk, suited
from torch import nn

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.methods._joint_embedding import (
    JointEmbeddingObjective,
    JointEmbeddingTransformer,
    MomentumObjective,
    queue_size_for,
)

JOINT = [method for method in ALL_METHODS if issubclass(method, JointEmbeddingTransformer)]


def test_other_numbers_of_views_are_refused():
    objective, view = JointEmbeddingObjective(nn.Identity(), nn.Identity()), torch.ones(4, 3)
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 3"):
        objective.projections([view] * 3)
    objective.most_views = math.inf
    assert len(objective.projections([view] * 3)) == 3
    with pytest.raises(ValueError, match="needs 2 views or more; the view recipe gave 1"):
        objective.projections([view])


def test_each_view_passes_the_networks_on_its_own():
    """Batch norm statistics are of one view."""
    torch.manual_seed(0)
    objective = JointEmbeddingObjective(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).double()
    views = [torch.randn(5, 3).double() + i for i in (0, 4)]
    for z in objective.projections(views):
        torch.testing.assert_close(z.mean(dim=0), torch.zeros(3).double())


def test_teacher_follows_the_student_without_gradients():
    torch.manual_seed(0)
    objective = MomentumObjective(nn.Linear(4, 3), nn.Linear(3, 2), 0.9)
    (z,) = objective.taught([torch.randn(5, 4)])
    assert not z.requires_grad
    before = [p.clone() for p in objective.teacher.parameters()]
    for p in (*objective.encoder.parameters(), *objective.project.parameters()):
        p.data += 1
    objective.after_update({}, 0.5)  # momentum 1 - 0.1 * (1 + cos(pi / 2)) / 2 = 0.95
    for now, old in zip(objective.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(now, old + 0.05)
        assert not now.grad_fn


def test_queues_hold_at_most_half_of_the_samples():
    def size(given, n):
        training = SimCLRTransformer()._resolve_training(n, torch.device("cpu"), 0, 0, True)
        return queue_size_for(given, training)

    assert (size("auto", 100), size("auto", 50_000)) == (50, 4096)
    assert (size(30, 100), size(0, 100)) == (30, 0)
    with pytest.warns(UserWarning, match=r"queue_size=60 is more than half of the 100 samples"):
        assert size(60, 100) == 50


@pytest.mark.parametrize("method", JOINT)
def test_energy_is_low_for_compatible_pairs(method):
    images = suited(method, digits()[0][:60])
    X = images if "image" in method.default_views else sentences()[0][:60]
    model = shrunk(method).fit(X)
    energy = model.energy(X, X[::-1])
    assert energy.shape == (60,)
    assert energy.dtype == np.float32
    np.testing.assert_allclose(model.energy(X, X), 0, atol=1e-6)
    assert (energy >= 0).all()
    assert (energy <= 4).all()
    assert energy.mean() > 1e-5
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.energy(X, X[:5])


def test_energy_is_that_of_the_projections(images):
    model = shrunk(SimCLRTransformer).fit(images)
    with torch.no_grad():
        z = model.objective_.projected(torch.from_numpy(images).float()[:, None] / 16)
    expected = 2 - 2 * torch.cosine_similarity(z[:-1], z[1:])
    np.testing.assert_allclose(model.energy(images[:-1], images[1:]), expected, atol=1e-5)
