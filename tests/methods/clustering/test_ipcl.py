"""IPCL: its contrastive loss beside a slow reference, and when clusters become labels."""

import math

import numpy as np
import pytest
import torch
from common import check_inputs, digits, shrunk
from sklearn.metrics import normalized_mutual_info_score
from torch import nn

from methods.clustering.references import blobs
from methods.contrastive.references import slow_nt_xent
from methods.contrastive.test_supcon import slow_supcon
from sklearn_ssl.methods.clustering._cluster_classifier import ClusterClassifier
from sklearn_ssl.methods.clustering._neighbor_clustering import (
    CLUSTERING,
    PRETRAINING,
    SELF_LABELING,
)
from sklearn_ssl.methods.clustering.ipcl import IPCLEstimator, IPCLObjective
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.views import ImageViews

STARTS = 0.1, 0.2, 0.5, 0.6, 0.7


def ipcl_objective(sup_weight=0.25):
    torch.manual_seed(0)
    projector, classifier = mlp(5, 8, 4, last_norm=True), ClusterClassifier(5, 3)
    parts = nn.Linear(4, 5), projector, 0.5, classifier, STARTS, 4, 5.0, 0.6
    return IPCLObjective(*parts, sup_weight=sup_weight).train()


@pytest.mark.parametrize("labels", [None, [0, 1, 1, 3, 1, 0]])  # that of sample 3 is of no other
def test_ipcl(labels):
    objective = ipcl_objective().double()
    a, b = (t.requires_grad_() for t in check_inputs())
    targets = None if labels is None else torch.tensor(labels)
    loss, expected = objective.contrast(a, b, targets), slow_nt_xent(a, b, 0.5)
    if labels is not None:
        expected = 0.75 * expected + 0.25 * slow_supcon([*a, *b], labels * 2, 0.5)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, (a, b)) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_ipcl_trains_encoder_and_projector_with_labels():
    objective, views = ipcl_objective().double(), check_inputs()
    labels = torch.tensor([0, 1, 1, 3, 1, 0])
    loss = objective(views, labels)["loss"]
    z1, z2 = (objective.project(objective.encoder(view)) for view in views)
    expected = slow_supcon([*z1, *z2], labels.tolist() * 2, 0.5)
    torch.testing.assert_close(loss, 0.75 * slow_nt_xent(z1, z2, 0.5) + 0.25 * expected)
    loss.backward()
    moved = {name.split(".")[0] for name, p in objective.named_parameters() if p.grad is not None}
    assert moved == {"encoder", "project"}


def test_ipcl_repeats_the_phases_with_labels():
    objective, rng, features = ipcl_objective(), np.random.default_rng(0), blobs()
    assert objective.plan_epoch(None, rng).targets is None
    assert objective.scoring_targets(None) is None
    phases, renewed = [], []
    for progress in (0.1, 0.2, 0.5, 0.55, 0.6, 0.7):
        objective.after_update({}, progress)
        epoch = objective.plan_epoch(lambda: features, rng)
        phases.append(objective.phase)
        renewed.append(len(epoch.renewed))
        if objective.phase == PRETRAINING:
            assert epoch.order is None
            clusters = epoch.targets.reshape(20, 3)
            assert (clusters == clusters[0]).all()  # those of the blobs
            assert len(clusters[0].unique()) == 3
            torch.testing.assert_close(objective.scoring_targets(lambda: features), epoch.targets)
            assert objective.chance_loss(6) == pytest.approx(math.log(11))
    assert phases == [CLUSTERING, SELF_LABELING, *[PRETRAINING] * 2, CLUSTERING, SELF_LABELING]
    assert renewed == [2, 0, 0, 0, 2, 0]  # the classifier starts once in each iteration
    assert objective.pseudo_labels is None


def test_ipcl_labels_stay_those_of_the_previous_iteration():
    objective, rng, features = ipcl_objective(), np.random.default_rng(0), blobs()
    for progress in (0.1, 0.5):
        objective.after_update({}, progress)
        epoch = objective.plan_epoch(lambda: features, rng)
    other = ipcl_objective()
    other.load_state_dict(objective.state_dict())  # between epochs
    moved = features[np.random.default_rng(1).permutation(60)]
    for one in (objective, other):
        torch.testing.assert_close(one.plan_epoch(lambda: moved, rng).targets, epoch.targets)
    objective.after_update({}, 0.6)
    neighbors = objective.plan_epoch(lambda: moved, rng).targets  # found again
    cosines = nn.functional.normalize(torch.from_numpy(moved))
    cosines = (cosines @ cosines.T).fill_diagonal_(-torch.inf)
    torch.testing.assert_close(neighbors[:, 1:], cosines.topk(4).indices)


def test_ipcl_begins_with_other_samples_after_training():
    objective, rng, features = ipcl_objective(), np.random.default_rng(0), blobs()
    objective.after_update({}, 0.5)  # without a clustering before
    targets = objective.plan_epoch(lambda: features, rng).targets
    assert [len(targets[blob::3].unique()) for blob in range(3)] == [1, 1, 1]
    objective.after_training(lambda: features, rng, True)
    assert objective.labels.shape == (60,)
    assert objective.plan_epoch(lambda: features[:40], rng).targets.shape == (40,)


@pytest.mark.parametrize("n_epochs", [1, 6])
def test_ipcl_labels_equal_predict(images, n_epochs):
    model = shrunk(IPCLEstimator, n_clusters=7, max_epochs=n_epochs).fit(images)
    probabilities = model.predict_proba(images)
    assert probabilities.shape == (200, 7)
    np.testing.assert_array_equal(model.predict(images), model.labels_)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), model.labels_)
    model.partial_fit(images[:50])
    np.testing.assert_array_equal(model.predict(images[:50]), model.labels_)


def test_ipcl_refuses_other_than_two_views():
    with pytest.raises(ValueError, match="IPCL compares two views; the view recipe gave 3"):
        ipcl_objective()([torch.ones(4, 4)] * 3)


def test_ipcl_stages_have_their_shares_of_training(images):
    settings = {"n_iterations": 2, "pretraining": 0.4, "self_labeling": 0.2}
    model = shrunk(IPCLEstimator, **settings).fit(images[:20])
    assert model.objective_.starts == pytest.approx((0.2, 0.4, 0.5, 0.7, 0.9))


@pytest.mark.slow
def test_ipcl_finds_digits():
    images, y = digits()
    views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.4, 1.0))
    model = IPCLEstimator(views=views, max_epochs=15, random_state=0).fit(images[::2])
    assert normalized_mutual_info_score(y[::2], model.labels_) > 0.75
