"""DeepCluster: its loss beside a slow reference, its views, and what it returns."""

import pickle

import numpy as np
import pytest
import torch
from common import check_inputs, digits, shrunk
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import nn

from sklearn_ssl import (
    DeepClusterEstimator,
)
from sklearn_ssl.methods.clustering.deepcluster import (
    DeepClusterObjective,
    split_largest,
    uniform_over_clusters,
)
from sklearn_ssl.views import ImageViews


def blobs(n=60, seed=0):
    """Features of three groups, float32 (n, 5)."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 5)) + 6 * np.eye(5)[np.arange(n) % 3]).astype("f4")


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
    epoch = objective.before_epoch(lambda: features, np.random.default_rng(0))
    points = PCA(4, whiten=True).fit_transform(features)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    expected = KMeans(3, n_init=10, random_state=0).fit_predict(points)
    assert normalized_mutual_info_score(expected, epoch.targets.numpy()) == pytest.approx(1)
    ours = objective.project(features)
    np.testing.assert_allclose(ours @ ours.T, points @ points.T, atol=1e-4)  # up to signs
    np.testing.assert_array_equal(objective.assign(features), epoch.targets.numpy())


def test_deepcluster_begins_with_a_new_classifier_and_another_seed():
    objective, features = deepcluster_objective(n_clusters=12), blobs()
    rng = np.random.default_rng(0)
    nn.init.ones_(objective.classify.weight), nn.init.ones_(objective.classify.bias)
    first = objective.before_epoch(lambda: features, rng)
    weight = objective.classify.weight.detach().clone()
    assert 0.005 < weight.std() < 0.015
    assert (objective.classify.bias == 0).all()
    assert {id(p) for p in first.renewed} == {id(p) for p in objective.classify.parameters()}
    second = objective.before_epoch(lambda: features, rng)
    assert not torch.equal(objective.classify.weight, weight)
    assert not torch.equal(first.targets, second.targets)  # clusters have other numbers


def test_deepcluster_last_clustering_keeps_the_numbers_and_judging_uses_them():
    objective, features = deepcluster_objective(n_clusters=6), blobs()
    rng = np.random.default_rng(0)
    epoch = objective.before_epoch(lambda: features, rng)
    objective.after_training(lambda: features + 0.01, rng, unfinished=False)
    assert len(objective.assignments) == 2
    assert (objective.assignments[0] == objective.assignments[1]).mean() > 0.9
    weight = objective.classify.weight.detach().clone()
    objective.eval()
    judged = objective.before_epoch(lambda: features[:10], rng)
    assert (judged.targets == epoch.targets[:10]).float().mean() > 0.8
    assert torch.equal(objective.classify.weight, weight)
    assert len(objective.assignments) == 2
    objective.train().before_epoch(lambda: features, rng)  # training goes on
    assert len(objective.assignments) == 2  # in place of the last one, which no epoch had


def test_deepcluster_draws_each_cluster_as_often_as_the_others():
    labels = np.repeat([3, 0, 7], [50, 2, 48])
    order = uniform_over_clusters(labels, np.random.default_rng(0))
    values, counts = np.unique(labels[order], return_counts=True)
    np.testing.assert_array_equal(values, [0, 3, 7])
    np.testing.assert_array_equal(counts, [33, 33, 33])
    times = np.bincount(order, minlength=100)
    assert set(times[:50]) == {0, 1}
    assert set(times[50:52]) == {16, 17}
    assert (np.diff(labels[order]) != 0).sum() > 40  # shuffled


def test_deepcluster_splits_the_largest_cluster():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(40, 4)), rng.normal(size=(5, 4)) + 20]).astype("f4")
    labels = np.repeat([0, 2], [40, 5])
    centers = np.stack([points[:40].mean(0), np.full(4, 99.0, "f4"), points[40:].mean(0)])
    before = centers.copy()
    split = split_largest(points, centers, labels)
    np.testing.assert_array_equal(centers, before)
    np.testing.assert_array_equal(split[2], centers[2])
    nearest = np.linalg.norm(points[:, None] - split, axis=2).argmin(axis=1)
    assert min(np.bincount(nearest, minlength=3)) >= 5
    # The largest cluster has equal samples alone: the next one is split.
    equal = np.concatenate([np.ones((60, 4), "f4"), points[:40]])
    labels = np.repeat([0, 2], [60, 40])
    centers = np.stack([np.ones(4), np.full(4, 99.0), points[:40].mean(0)]).astype("f4")
    split = split_largest(equal, centers, labels)
    np.testing.assert_array_equal(split[0], np.ones(4))
    assert np.abs(split[1:]).max() < 5
    same = np.ones((4, 3), "f4")  # equal samples cannot be split
    np.testing.assert_array_equal(
        split_largest(same, np.ones((2, 3), "f4"), np.zeros(4, int)), np.ones((2, 3))
    )


def test_deepcluster_of_fewer_distinct_samples_than_clusters():
    objective = deepcluster_objective(n_clusters=8)
    features = np.repeat(blobs(5), 4, axis=0)
    rng = np.random.default_rng(0)
    epoch = objective.before_epoch(lambda: features, rng)
    assert objective.n_empty == [3]
    assert len(epoch.order) == 20
    objective.after_training(lambda: features, rng, unfinished=False)
    labels = objective.assignments[-1]
    np.testing.assert_array_equal(np.unique(labels), np.arange(5))  # without gaps
    objective.classes = objective.classes + 3  # as if the classifier's first three were empty
    judged = objective.eval().before_epoch(lambda: features, rng)
    np.testing.assert_array_equal(judged.targets, labels + objective.classes[0])
    np.testing.assert_array_equal(objective.assign(features), labels)


def test_deepcluster_whitens_no_noise():
    """Directions that hardly vary would come out as large as the others."""
    objective, rng = deepcluster_objective(), np.random.default_rng(0)
    features = np.hstack([blobs()[:, :2], 1e-6 * blobs()[:, :3]])
    objective.before_epoch(lambda: features, rng)
    assert objective.axes.shape == (5, 2)


def test_deepcluster_fills_clusters_that_k_means_left_empty(monkeypatch):
    def fit(self, points):
        self.cluster_centers_ = np.stack([points[0], np.full_like(points[0], 99.0), points[1]])
        return self

    monkeypatch.setattr(KMeans, "fit", fit)
    objective = deepcluster_objective()
    epoch = objective.before_epoch(lambda: blobs(), np.random.default_rng(0))
    assert objective.n_empty == [1]
    assert min(np.bincount(epoch.targets, minlength=3)) > 0


def test_deepcluster_last_clustering_has_no_gaps():
    """Also where samples that were in three clusters have become equal."""
    objective, rng = deepcluster_objective(), np.random.default_rng(0)
    objective.before_epoch(blobs, rng)
    objective.after_training(lambda: np.ones((60, 5), "f4"), rng, unfinished=False)
    assert len(objective.centers) == len(objective.classes) == 1
    assert set(objective.assignments[-1]) == {0}


def test_deepcluster_state_is_not_shared():
    """A fit that fails leaves the clusterings of the one before alone."""
    before, after = deepcluster_objective(), deepcluster_objective()
    rng = np.random.default_rng(0)
    before.before_epoch(blobs, rng)
    before.after_training(blobs, rng, unfinished=False)
    after.load_state_dict(before.state_dict())
    after.before_epoch(blobs, rng)
    after.before_epoch(blobs, rng)
    assert (len(before.assignments), len(after.assignments)) == (2, 3)


def test_deepcluster_of_equal_features():
    """A dead encoder gives nothing to cluster, and no error."""
    objective = deepcluster_objective(n_clusters=3)
    features = np.ones((20, 5), "f4")
    epoch = objective.before_epoch(lambda: features, np.random.default_rng(0))
    assert set(epoch.targets.tolist()) == {epoch.targets[0].item()}
    assert np.isfinite(objective.centers).all()


def test_deepcluster_forgets_an_epoch_that_was_stopped():
    objective, features = deepcluster_objective(), blobs()
    rng = np.random.default_rng(0)
    for _ in range(2):
        last = objective.before_epoch(lambda: features, rng)
    objective.after_training(lambda: features, rng, unfinished=True)
    assert [len(x) for x in (objective.assignments, objective.n_empty, objective.nmi)] == [2, 2, 1]
    np.testing.assert_array_equal(objective.assignments[-1], last.targets)  # where it starts from
    untrained = deepcluster_objective()
    untrained.after_training(lambda: features, rng, unfinished=False)  # stopped before all epochs
    assert len(untrained.assignments) == 1


@pytest.mark.parametrize("kind", ["image", "rows"])
def test_deepcluster_labels_are_what_predict_says(kind, images):
    X = images if kind == "image" else images.reshape(200, -1)
    model = shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=3).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.predict(X[50:60]), model.labels_[50:60])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.labels_)
    np.testing.assert_array_equal(
        shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=3).fit_predict(X), model.labels_
    )
    assert model.cluster_centers_.shape == (7, 7)
    points = model._objective.project(model._map(X, "encoder_"))
    nearest = np.linalg.norm(points[:, None] - model.cluster_centers_, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, model.labels_)


def test_deepcluster_predicts_by_the_last_layer_whatever_layer_embeds(images):
    model = shrunk(DeepClusterEstimator, n_clusters=7, layer="stage1").fit(images)
    assert model.transform(images).shape == (200, 64)
    np.testing.assert_array_equal(model.predict(images), model.labels_)


def test_deepcluster_curves(images):
    model = shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=4).fit(images)
    assert model.assignments_.shape == (5, 200)
    assert model.assignments_.dtype == np.uint8
    np.testing.assert_array_equal(model.assignments_[-1], model.labels_)
    expected = [
        normalized_mutual_info_score(model.assignments_[t], model.assignments_[t + 1])
        for t in range(4)
    ]
    np.testing.assert_allclose(model.nmi_curve_, expected)
    assert (model.nmi_curve_[:-1] < 1).all()  # another seed each time
    chance = normalized_mutual_info_score(model.labels_, np.random.permutation(model.labels_))
    assert (model.nmi_curve_ > chance + 0.1).all()  # wired to the samples
    assert model.n_empty_clusters_.shape == (5,)
    np.testing.assert_array_equal(
        model.cluster_sizes_, [np.bincount(row, minlength=7) for row in model.assignments_]
    )
    assert (model.cluster_sizes_.sum(axis=1) == 200).all()


def test_deepcluster_keeps_its_learning_rate(images):
    """Each epoch has a new classifier, which has to learn in the last one as well."""
    model = shrunk(DeepClusterEstimator, max_epochs=5).fit(images)
    assert [row["lr"] for row in model.history_[1:]] == [model.lr_] * 4


def test_deepcluster_goes_on(images):
    """An epoch more takes the place of the last assignment, which no epoch had trained on."""
    model = shrunk(DeepClusterEstimator, n_clusters=7)
    for n_epochs in (1, 2, 3):
        model.partial_fit(images)
        assert model.assignments_.shape == (n_epochs + 1, 200)
        assert len(model.nmi_curve_) == n_epochs
        np.testing.assert_array_equal(model.predict(images), model.labels_)
    first = model.labels_.copy()
    model.partial_fit(images[:150])  # another X: its history begins anew
    assert model.assignments_.shape == (2, 150)
    assert model.n_clusters_ == 7
    assert len(first) == 200


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
    with pytest.warns(UserWarning, match="n_components=30 is more than 19.*There will be 19"):
        wide = shrunk(DeepClusterEstimator, n_components=30).fit(images[:20])
    assert wide.cluster_centers_.shape[1] <= 19
    with pytest.raises(ValueError, match="decides the shape of the network was changed"):
        small.set_params(n_clusters=4).partial_fit(images[:60])
    assert len(many.cluster_centers_) <= 20
    np.testing.assert_array_equal(many.predict(images[:20]), many.labels_)


def test_deepcluster_of_equal_samples_has_labels_without_gaps(images):
    X = images[:5].repeat(6, axis=0)
    model = shrunk(DeepClusterEstimator, n_clusters=8).fit(X)
    assert model.n_empty_clusters_[0] == 3
    np.testing.assert_array_equal(np.unique(model.labels_), np.arange(len(model.cluster_centers_)))
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def still(batch):
    return [batch]


def test_deepcluster_score_is_of_the_clusters_that_predict_gives(images):
    model = shrunk(DeepClusterEstimator, n_clusters=7, max_epochs=5, views=still).fit(images)
    objective, unseen = model._objective, digits()[0][200:300]
    with torch.no_grad():
        features = objective.encoder(torch.from_numpy(unseen[:, None]).float() / 16)
        scores = objective.classify(features)
    clusters = torch.from_numpy(objective.classes[model.predict(unseen)])
    expected = nn.functional.cross_entropy(scores, clusters).item()
    assert model.score(unseen) == pytest.approx(-expected, rel=1e-3)


def test_deepcluster_judges_hundreds_of_clusters():
    """Their numbers do not fit into a byte."""
    images = digits()[0][:600]
    model = shrunk(DeepClusterEstimator, n_clusters=300).fit(images)
    assert np.isfinite(model.score(images))
    np.testing.assert_array_equal(model.predict(images), model.labels_)


@pytest.mark.slow
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
