"""DeepCluster: its loss against a slow reference, its epochs, and its parameters."""

import numpy as np
import pytest
import torch
from common import check_inputs, digits, shrunk
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import nn

from methods.clustering.references import blobs
from sklearn_ssl import DeepClusterEstimator
from sklearn_ssl.methods.clustering.deepcluster import DeepClusterObjective
from sklearn_ssl.views import ImageViews


def deepcluster_objective(n_clusters=3, n_components=4):
    torch.manual_seed(0)
    return DeepClusterObjective(nn.Linear(4, 5), 5, n_clusters, n_components).train()


def test_deepcluster():
    objective = deepcluster_objective().double()
    views, clusters = list(check_inputs()), torch.tensor([0, 2, 1, 1, 0, 2])
    loss = objective(views, clusters)["loss"]
    losses = []
    for view in views:
        for x, c in zip(view, clusters, strict=True):
            scores = objective.classify(objective.encoder(x))
            losses.append(-torch.log(torch.exp(scores[c]) / torch.exp(scores).sum()))
    expected = sum(losses) / len(losses)
    torch.testing.assert_close(loss, expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_deepcluster_clusters_whitened_directions_of_features():
    objective, features = deepcluster_objective(), blobs()
    epoch = objective.plan_epoch(lambda: features, np.random.default_rng(0))
    points = PCA(4, whiten=True).fit_transform(features)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    expected = KMeans(3, n_init=10, random_state=0).fit_predict(points)
    assert normalized_mutual_info_score(expected, epoch.targets.numpy()) == pytest.approx(1)
    ours = objective.clustering.project(features)
    np.testing.assert_allclose(ours @ ours.T, points @ points.T, atol=1e-4)  # up to signs
    np.testing.assert_array_equal(objective.clustering.assign(features), epoch.targets.numpy())


def test_deepcluster_begins_with_a_new_classifier_and_another_seed():
    objective, features = deepcluster_objective(n_clusters=12), blobs()
    rng = np.random.default_rng(0)
    nn.init.ones_(objective.classify.weight), nn.init.ones_(objective.classify.bias)
    first = objective.plan_epoch(lambda: features, rng)
    weight = objective.classify.weight.detach().clone()
    assert 0.005 < weight.std() < 0.015
    assert (objective.classify.bias == 0).all()
    assert {id(p) for p in first.renewed} == {id(p) for p in objective.classify.parameters()}
    second = objective.plan_epoch(lambda: features, rng)
    assert not torch.equal(objective.classify.weight, weight)
    assert not torch.equal(first.targets, second.targets)  # clusters have other numbers


def test_deepcluster_last_clustering_keeps_the_numbers_and_judging_uses_them():
    objective, features = deepcluster_objective(n_clusters=6), blobs()
    rng = np.random.default_rng(0)
    epoch = objective.plan_epoch(lambda: features, rng)
    objective.after_training(lambda: features + 0.01, rng, unfinished=False)
    assert len(objective.clustering.assignments) == 2
    assert (objective.clustering.assignments[0] == objective.clustering.assignments[1]).mean() > 0.9
    weight = objective.classify.weight.detach().clone()
    judged = objective.scoring_targets(lambda: features[:10])
    assert (judged == epoch.targets[:10]).float().mean() > 0.8
    assert torch.equal(objective.classify.weight, weight)
    assert len(objective.clustering.assignments) == 2
    objective.plan_epoch(lambda: features, rng)  # training goes on
    assert (
        len(objective.clustering.assignments) == 2
    )  # in place of the last one, which no epoch had


def test_deepcluster_of_fewer_distinct_samples_than_clusters():
    objective = deepcluster_objective(n_clusters=8)
    features = np.repeat(blobs(5), 4, axis=0)
    rng = np.random.default_rng(0)
    epoch = objective.plan_epoch(lambda: features, rng)
    assert objective.clustering.n_empty == [3]
    assert len(epoch.order) == 20
    objective.after_training(lambda: features, rng, unfinished=False)
    labels = objective.clustering.assignments[-1]
    np.testing.assert_array_equal(np.unique(labels), np.arange(5))  # without gaps
    objective.clustering.classes = (
        objective.clustering.classes + 3
    )  # as if the classifier's first three were empty
    judged = objective.scoring_targets(lambda: features)
    np.testing.assert_array_equal(judged, labels + objective.clustering.classes[0])
    np.testing.assert_array_equal(objective.clustering.assign(features), labels)


@pytest.mark.slow
def test_deepcluster_keeps_its_learning_rate(images):
    """Each epoch has a new classifier, which has to learn in the last one as well."""
    model = shrunk(DeepClusterEstimator, max_epochs=5).fit(images)
    assert [row["lr"] for row in model.history_[1:]] == [model.lr_] * 4


@pytest.mark.slow
def test_deepcluster_numbers_of_clusters(images):
    model = shrunk(DeepClusterEstimator).fit(images)
    assert model.n_clusters_ == 10
    for n_clusters, n_components in ((1, 2), (5, 5), (30, 20)):
        model.set_params(n_clusters=n_clusters).fit(images)
        assert model.cluster_centers_.shape == (n_clusters, n_components)
    small = shrunk(DeepClusterEstimator)
    small.partial_fit(images).partial_fit(images[:60])
    assert small.n_clusters_ == 10  # that of the first fit
    assert small.fit(images[:60]).n_clusters_ == 3
    with pytest.warns(UserWarning, match="n_clusters=50 is more than 20, the most that 20") as seen:
        many = shrunk(DeepClusterEstimator, n_clusters=50).fit(images[:20])
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="n_components=30 is more than 19.*19 will be used"):
        wide = shrunk(DeepClusterEstimator, n_components=30).fit(images[:20])
    assert wide.cluster_centers_.shape[1] <= 19
    with pytest.raises(ValueError, match="determines the shape of the network was changed"):
        small.set_params(n_clusters=4).partial_fit(images[:60])
    assert len(many.cluster_centers_) <= 20
    np.testing.assert_array_equal(many.predict(images[:20]), many.labels_)


def still(batch):
    return [batch]


def test_deepcluster_score_uses_the_clusters_of_predict(images):
    model = shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=5, views=still).fit(images)
    objective, unseen = model.objective_, digits()[0][200:300]
    with torch.no_grad():
        features = objective.encoder(torch.from_numpy(unseen[:, None]).float() / 16)
        scores = objective.classify(features)
    clusters = torch.from_numpy(objective.clustering.classes[model.predict(unseen)])
    expected = nn.functional.cross_entropy(scores, clusters).item()
    assert model.score(unseen) == pytest.approx(-expected, rel=1e-3)


def test_deepcluster_judges_hundreds_of_clusters():
    """Their numbers do not fit into a byte."""
    images = digits()[0][:600]
    model = shrunk(DeepClusterEstimator, n_clusters=300).fit(images)
    assert np.isfinite(model.score(images))
    np.testing.assert_array_equal(model.predict(images), model.labels_)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_deepcluster_finds_digits_better_than_k_means_on_pixels():
    images, y = digits()
    views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0), n_views=1)
    model = DeepClusterEstimator(views=views, max_epochs=15, random_state=0).fit(images)
    embedding = model.transform(images)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    scores = [
        adjusted_rand_score(y, KMeans(10, n_init=10, random_state=0).fit_predict(features))
        for features in (embedding, images.reshape(len(images), -1))
    ]
    print("adjusted Rand index: embedding, pixels", scores)
    assert scores[0] > scores[1] + 0.02
    to_labels = [normalized_mutual_info_score(y, row) for row in model.assignments_]
    assert to_labels[-1] > to_labels[0] + 0.02
