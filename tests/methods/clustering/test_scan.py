"""SCAN: its losses beside slow references, its phases, and what it predicts."""

import math

import numpy as np
import pytest
import torch
from common import check_inputs, digits, shrunk
from sklearn.metrics import normalized_mutual_info_score
from torch import nn
from torch.nn.functional import softmax

from methods.clustering.references import blobs
from methods.contrastive.test_simclr import slow_nt_xent
from sklearn_ssl.methods.clustering._cluster_classifier import ClusterClassifier
from sklearn_ssl.methods.clustering._neighbor_clustering import (
    CLUSTERING,
    PRETRAINING,
    SELF_LABELING,
    scan_loss,
)
from sklearn_ssl.methods.clustering.scan import SCANEstimator, SCANObjective
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.views import ImageViews


def slow_scan(p1, p2, neighbors, entropy_weight):
    """The mean over pairs of neighbors, one at a time, minus the entropy."""
    losses = [-torch.log(p1[i] @ p2[j]) for i, of in enumerate(neighbors) for j in of]
    mean = sum([*p1, *p2]) / (2 * len(p1))
    return sum(losses) / len(losses) + entropy_weight * (mean * torch.log(mean)).sum()


NEIGHBORS = [[2, 3], [0, 5], [3], [], [1], [0, 1, 2, 4]]


def test_scan():
    a, b = (t.requires_grad_() for t in check_inputs())
    p1, p2 = softmax(a, dim=1), softmax(b, dim=1)
    mask = torch.tensor([[j in of for j in range(6)] for of in NEIGHBORS])
    loss, expected = scan_loss(p1, p2, mask, 5.0), slow_scan(p1, p2, NEIGHBORS, 5.0)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, (a, b), retain_graph=True) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
    certain = torch.eye(4)[[0, 1, 2, 3, 0, 1]]  # neighbors of other clusters, or no neighbors
    assert torch.isfinite(scan_loss(certain, certain, mask, 5.0))
    assert scan_loss(certain, certain, mask & False, 0.0) == 0


def scan_objective(phase=PRETRAINING, confidence=0.6, starts=(0.3, 0.6)):
    torch.manual_seed(0)
    projector, classifier = mlp(5, 8, 4, last_norm=True), ClusterClassifier(5, 3)
    settings = 0.3, classifier, starts, 4, 5.0, confidence
    objective = SCANObjective(nn.Linear(4, 5), projector, *settings).train()
    objective.phase = phase
    return objective


@pytest.mark.parametrize("phase", [PRETRAINING, CLUSTERING, SELF_LABELING])
def test_scan_objective_gradient(phase):
    objective, views = scan_objective(phase).double(), list(check_inputs())
    targets = {
        # Sample i of the batch is number i + 10, and has two neighbors, not all in the batch.
        CLUSTERING: torch.tensor([[i + 10, (i + 1) % 6 + 10, i] for i in range(6)]),
        SELF_LABELING: torch.tensor([0, 2, -1, 1, 1, -1]),
    }
    loss = objective(views, targets.get(phase))["loss"]
    features = [objective.encoder(view) for view in views]
    p1, p2 = (softmax(objective.classify(f), dim=1) for f in features)
    if phase == PRETRAINING:
        expected = slow_nt_xent(*(objective.project(f) for f in features), 0.3)
    elif phase == CLUSTERING:
        expected = slow_scan(p1, p2, [[(i + 1) % 6] for i in range(6)], 5.0)
    else:
        sure = [(0, 0), (1, 2), (3, 1), (4, 1)]
        expected = sum(-torch.log(p[i, c]) for p in (p1, p2) for i, c in sure) / 8
    torch.testing.assert_close(loss, expected)
    loss.backward()
    ours = {name: p.grad for name, p in objective.named_parameters()}
    objective.zero_grad(), expected.backward()
    trained = {name.split(".")[0] for name, gradient in ours.items() if gradient is not None}
    assert trained == {"encoder", "classify" if phase else "project"}
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad)


def test_scan_phases_follow_the_progress():
    objective, rng, features = scan_objective(), np.random.default_rng(0), blobs()
    epoch = objective.plan_epoch(None, rng)
    assert epoch.targets is epoch.order is None
    assert objective.chance_loss(6) == pytest.approx(math.log(11))
    objective.after_update({}, 0.3)
    epoch = objective.plan_epoch(lambda: features, rng)
    assert len(epoch.renewed) == 2
    assert len(epoch.order) == 60
    own, neighbors = epoch.targets[:, 0], epoch.targets[:, 1:]
    assert own.tolist() == list(range(60))
    assert (neighbors % 3 == own[:, None] % 3).all()  # of the same blob
    assert objective.chance_loss(6) is None
    objective.after_update({}, 0.5)
    again = objective.plan_epoch(lambda: features[::-1].copy(), rng)
    assert again.renewed == ()
    torch.testing.assert_close(again.targets, epoch.targets)  # found once
    objective.after_update({}, 0.6)
    features = features[np.r_[0:60, 0:60:3]]  # clusters of other sizes
    epoch = objective.plan_epoch(lambda: features, rng)
    labels = objective.classify.probabilities(features).argmax(axis=1)
    np.testing.assert_array_equal(epoch.targets, labels)
    assert epoch.figures == {"confident_share": 1.0}
    assert np.bincount(labels[epoch.order]).tolist() == [26, 26, 26]
    assert objective.chance_loss(6) == pytest.approx(math.log(3))
    objective.after_training(lambda: features, rng, False)
    np.testing.assert_array_equal(objective.labels, labels)
    objective.after_update({}, 0.1)  # another training does not pretrain again
    assert objective.plan_epoch(lambda: features, rng).targets.shape == (80,)


def test_scan_does_not_learn_labels_that_are_not_confident():
    objective, rng = scan_objective(), np.random.default_rng(0)
    features = rng.normal(size=(60, 5)).astype("f4")
    objective.classify.start(features, rng)
    found = objective.classify.probabilities(features)
    objective.confidence, objective.progress = np.median(found.max(axis=1)), 0.8
    epoch = objective.plan_epoch(lambda: features, rng)
    sure = found.max(axis=1) > objective.confidence
    np.testing.assert_array_equal(epoch.targets, np.where(sure, found.argmax(axis=1), -1))
    assert sure[epoch.order].all()
    assert epoch.figures == {"confident_share": 0.5}
    assert objective.phase == SELF_LABELING
    objective.confidence = 1.0
    epoch = objective.plan_epoch(lambda: features, rng)
    assert objective.phase == CLUSTERING
    assert epoch.targets.shape == (60, 5)


def test_scan_state_is_saved():
    objective, other = scan_objective(), scan_objective()
    objective.progress = 0.4
    epoch = objective.plan_epoch(blobs, np.random.default_rng(0))
    other.load_state_dict(objective.state_dict())
    assert (other.phase, other.progress) == (CLUSTERING, 0.4)
    again = other.plan_epoch(lambda: blobs(seed=1), np.random.default_rng(0))
    torch.testing.assert_close(again.targets, epoch.targets)


def test_scan_losses_stay_in_full_precision_under_autocast():
    objective, views = scan_objective(SELF_LABELING), [v.float() for v in check_inputs()]
    objective.encoder, objective.classify = nn.Identity(), ClusterClassifier(4, 3)
    targets = torch.tensor([0, 2, -1, 1, 1, -1])
    logits = objective.classify(torch.cat(views))
    expected = nn.functional.cross_entropy(logits, targets.repeat(2), ignore_index=-1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(views, targets)["loss"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_scan_refuses_other_than_two_views():
    with pytest.raises(ValueError, match="SCAN compares two views; the view recipe gave 3"):
        scan_objective()([torch.ones(4, 4)] * 3)


@pytest.mark.parametrize("n_epochs", [1, 3])
def test_scan_labels_equal_predict(images, n_epochs):
    model = shrunk(SCANEstimator, n_clusters=7, max_epochs=n_epochs).fit(images)
    probabilities = model.predict_proba(images)
    assert probabilities.shape == (200, 7)
    np.testing.assert_array_equal(model.predict(images), model.labels_)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), model.labels_)
    model.partial_fit(images[:50])
    np.testing.assert_array_equal(model.predict(images[:50]), model.labels_)


def test_scan_starts_from_a_fitted_backbone(images):
    fitted = shrunk(SCANEstimator, max_epochs=1).fit(images)
    backbone = fitted.encoder_.backbone
    model = shrunk(SCANEstimator, backbone=backbone, pretraining=0.0, lr=1e-12).fit(images)
    for now, old in zip(model.encoder_.backbone.parameters(), backbone.parameters(), strict=True):
        torch.testing.assert_close(now, old)
    assert model.objective_.phase == CLUSTERING


@pytest.mark.slow
def test_scan_finds_digits():
    images, y = digits()
    views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.4, 1.0))
    model = SCANEstimator(views=views, max_epochs=15, random_state=0).fit(images[::2])
    assert normalized_mutual_info_score(y[::2], model.labels_) > 0.75
