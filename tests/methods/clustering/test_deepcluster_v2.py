"""DeepCluster v2: its loss beside a slow reference, and its centers."""

import math

import numpy as np
import pytest
import torch
from common import check_inputs, shrunk
from torch import nn
from torch.nn.functional import normalize

from methods.clustering.references import blobs
from sklearn_ssl.methods.clustering.deepcluster_v2 import (
    DeepClusterV2Estimator,
    DeepClusterV2Objective,
)


def v2_objective(n_clusters=3, n_clusterings=2):
    torch.manual_seed(0)
    settings = 8, 4, 0.1, n_clusters, n_clusterings
    return DeepClusterV2Objective(nn.Linear(4, 5), 5, *settings).train()


def test_deepcluster_v2():
    objective = v2_objective().double()
    objective.centers = normalize(torch.randn(2, 3, 4).double(), dim=2)
    views, clusters = (
        list(check_inputs()),
        torch.tensor([[0, 2], [2, 0], [1, 1], [1, 0], [0, 0], [2, 2]]),
    )
    loss, losses = objective(views, clusters)["loss"], []
    for z in (objective.project(objective.encoder(view)) for view in views):
        for row, labels in zip(z, clusters, strict=True):
            for centers, label in zip(objective.centers, labels, strict=True):
                exp = [torch.exp(torch.cosine_similarity(row, c, dim=0) / 0.1) for c in centers]
                losses.append(-torch.log(exp[label] / sum(exp)))
    expected = sum(losses) / len(losses)
    assert len(losses) == 24
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_deepcluster_v2_classifies_by_the_centers_of_projections():
    objective, features = v2_objective(), blobs()
    objective(list(torch.randn(2, 20, 4)), torch.zeros(20, 2, dtype=torch.long))  # statistics
    epoch = objective.plan_epoch(lambda: features, np.random.default_rng(0))
    z = normalize(objective.project.eval()(torch.from_numpy(features)))
    np.testing.assert_allclose(objective.points(features), z.detach(), atol=1e-6)
    torch.testing.assert_close(objective.centers.norm(dim=2), torch.ones(2, 3))
    similarities = torch.einsum("np,hkp->nhk", z, objective.centers)
    torch.testing.assert_close(epoch.targets, similarities.argmax(dim=2))
    assert epoch.figures.keys() == {"empty_clusters", "largest_cluster"}
    assert not any(name.startswith("centers") for name, _ in objective.named_parameters())
    moved = features + np.eye(5, dtype="f4")[0]
    objective.after_training(lambda: moved, np.random.default_rng(1), unfinished=False)
    np.testing.assert_array_equal(objective.centers, objective.clustering.all_centers)
    judged = objective.scoring_targets(lambda: features[:10])
    assert (judged == epoch.targets[:10]).float().mean() > 0.8


def test_deepcluster_v2_statistics_are_not_those_of_the_clustered_samples():
    objective, features = v2_objective(), blobs()
    before = objective.project[1].running_mean.clone()
    objective.plan_epoch(lambda: features, np.random.default_rng(0))
    torch.testing.assert_close(objective.project[1].running_mean, before)


def test_deepcluster_v2_of_equal_similarities_is_at_chance():
    objective = v2_objective()
    clusters = torch.zeros(6, 2, dtype=torch.long)
    loss = objective([view.float() for view in check_inputs()], clusters)["loss"]
    assert objective.chance_loss(6) == pytest.approx(loss.item()) == pytest.approx(math.log(3))


def test_deepcluster_v2_loss_stays_in_full_precision_under_autocast():
    objective = v2_objective()
    objective.encoder = objective.project = nn.Identity()
    objective.centers = normalize(torch.randn(2, 3, 4), dim=2)
    view, clusters = torch.randn(8, 4), torch.arange(16).reshape(8, 2) % 3
    logits = torch.einsum("np,hkp->nkh", normalize(view), objective.centers) / 0.1
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective([view], clusters)["loss"]
    assert loss.dtype == torch.float32
    assert loss == nn.functional.cross_entropy(logits, clusters)


def test_deepcluster_v2_labels_equal_predict(images):
    model = shrunk(DeepClusterV2Estimator, n_clusters=7, max_epochs=2).fit(images)
    np.testing.assert_array_equal(model.predict(images), model.labels_)
    assert model.cluster_centers_.shape == (7, 16)
    assert model.assignments_.shape == (3, 200)
    model.partial_fit(images[:60])
    np.testing.assert_array_equal(model.predict(images[:60]), model.labels_)
