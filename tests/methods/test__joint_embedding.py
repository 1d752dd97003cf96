"""Joint embedding: number of views, teachers, queues, and the energy of pairs."""

import math

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from common import ALL_METHODS, digits, quick_or_rare, sentences, shrunk, suited, training_of
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_ssl import SimCLRTransformer, Table
from sklearn_ssl.data.labels import ids_of_groups
from sklearn_ssl.methods._joint_embedding import (
    JointEmbeddingObjective,
    JointEmbeddingTransformer,
    MomentumObjective,
    queue_size_for,
)
from sklearn_ssl.views import ImageViews

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


def test_teacher_may_see_the_other_view_alone():
    torch.manual_seed(0)
    objective = MomentumObjective(nn.Linear(4, 3), nn.Linear(3, 2), 0.9)
    for p in objective.teacher.parameters():
        nn.init.normal_(p)
    first, second = torch.randn(2, 5, 4)
    z, target = objective.across([first, second])
    torch.testing.assert_close(z, objective.projected(first))
    torch.testing.assert_close(target, objective.teacher.head(objective.teacher.encoder(second)))
    assert z.requires_grad
    assert not target.requires_grad
    with pytest.raises(ValueError, match="compares two views; the view recipe gave 1"):
        objective.across([first])


def test_queues_hold_at_most_half_of_the_samples():
    def size(given, n):
        training = training_of(SimCLRTransformer(), n)
        return queue_size_for(given, training)

    assert (size("auto", 100), size("auto", 50_000)) == (50, 4096)
    assert (size(30, 100), size(0, 100)) == (30, 0)
    with pytest.warns(UserWarning, match=r"queue_size=60 is more than half of the 100 samples"):
        assert size(60, 100) == 50


@pytest.mark.parametrize("method", quick_or_rare(JOINT))
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
    with pytest.raises(ValueError, match="X1 has 60 samples, but X2 has 5"):
        model.energy(X, X[:5])


def test_energy_is_that_of_the_projections(images):
    model = shrunk(SimCLRTransformer).fit(images)
    with torch.no_grad():
        z = model.objective_.projected(torch.from_numpy(images).float()[:, None] / 16)
    expected = 2 - 2 * torch.cosine_similarity(z[:-1], z[1:])
    np.testing.assert_allclose(model.energy(images[:-1], images[1:]), expected, atol=1e-5)


class Recorded:
    """Views that are the samples themselves, and what they were of."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch):
        self.seen.append(batch.clone())
        return [batch, batch]

    def pairs(self):
        """Return the pairs of samples and partners of all steps, but for the trial of views."""
        steps = self.seen[-8:]
        return torch.cat(steps[::2]), torch.cat(steps[1::2])


def test_views_of_groups_are_of_two_samples():
    X = np.random.default_rng(0).normal(size=(40, 5))
    groups = np.array([None, None, *np.repeat(list("abcdefghijklmnopqrs"), 2)], object)
    order = np.random.default_rng(1).permutation(40)
    X, groups, views = X[order], groups[order], Recorded()
    settings = {"batch_size": 20, "max_epochs": 2, "input": Table(standardize=False)}
    model = shrunk(SimCLRTransformer, views=views, **settings).fit(X, groups=groups)
    samples, partners = (part.numpy() for part in model.views.pairs())
    assert len(samples) == 80
    for sample, partner in zip(samples, partners, strict=True):
        i, j = (int(np.abs(X - row).sum(axis=1).argmin()) for row in (sample, partner))
        assert groups[i] == groups[j]
        assert (i == j) == (groups[i] is None)


@pytest.mark.parametrize("method", quick_or_rare(JOINT))
def test_groups_are_positives(method):
    images = suited(method, digits()[0][:60])
    X = images if "image" in method.default_views else sentences()[0][:60]
    pairs = np.repeat(np.arange(30), 2)
    settings = {"max_epochs": 2, "batch_size": 20}  # so that teachers move, which may embed
    alone, paired = (shrunk(method, **settings).fit(X, groups=g) for g in (np.arange(60), pairs))
    assert not np.array_equal(paired.transform(X), alone.transform(X))


@pytest.mark.slow
def test_features_become_invariant_to_what_differs_in_a_group():
    """The same digit, light on dark and dark on light, by views that do not change brightness."""
    images = digits()[0][:200]
    X = np.concatenate([images, 16 - images])
    groups = np.tile(np.arange(200), 2)
    settings = {"max_epochs": 6, "random_state": 0, "views": ImageViews(hflip=0.0)}
    found = {}
    for name, given in (("alone", None), ("groups", groups)):
        model = SimCLRTransformer(**settings).fit(X, groups=given)
        ratio = model.energy(images, 16 - images) / model.energy(images, images[::-1])
        found[name] = np.median(ratio)
    assert found["groups"] < 0.5 * found["alone"]


def test_groups_are_routed_and_cached(images, tmp_path):
    groups = np.arange(len(images)) // 2
    with sklearn.config_context(enable_metadata_routing=True):
        method = shrunk(SimCLRTransformer).set_fit_request(groups=True)
        model = make_pipeline(method, KNeighborsClassifier())
        given = {"params": {"groups": groups}, "cv": GroupKFold(2), "return_estimator": True}
        fitted = cross_validate(model, images, digits()[1][: len(images)], **given)["estimator"]
    for pipeline, (train, _) in zip(
        fitted, GroupKFold(2).split(images, groups=groups), strict=True
    ):
        expected = shrunk(SimCLRTransformer).fit(images[train], groups=groups[train])
        np.testing.assert_array_equal(pipeline[0].transform(images), expected.transform(images))
    cached = [
        shrunk(SimCLRTransformer, memory=tmp_path).fit(images, groups=g) for g in (None, groups)
    ]
    assert not np.array_equal(*(model.transform(images) for model in cached))
    again = shrunk(SimCLRTransformer, memory=tmp_path).fit(images, groups=groups)
    np.testing.assert_array_equal(again.transform(images), cached[1].transform(images))


def test_wrong_groups_are_refused(images):
    with pytest.raises(ValueError, match="groups has 3 values, but X has 200 samples"):
        shrunk(SimCLRTransformer).fit(images, groups=[1, 2, 3])
    for groups in (3, "patient", np.zeros((200, 2))):
        with pytest.raises(ValueError, match="groups must have one value per sample"):
            shrunk(SimCLRTransformer).fit(images, groups=groups)


def test_groups_may_be_of_any_type():
    nan, n = float("nan"), 3
    for groups in ([1, "1", 1], ["a", "b", "a"], [(0, 1), (1, 0), (0, 1)], np.array([5, 6, 5])):
        ids = ids_of_groups(groups)
        assert ids[0] == ids[2] != ids[1]
    alone = ids_of_groups([None, nan, pd.NA, -1, -1])
    assert len(set(alone[:n].tolist())) == n
    assert alone[3] == alone[4] not in alone[:n]
    assert ids_of_groups(pd.Series(["x", "y"])).tolist() == [0, 1]
