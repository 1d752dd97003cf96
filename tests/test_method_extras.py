"""What single methods have beyond fit and transform."""

import pickle

import numpy as np
import pytest
import torch
from common import digits, shrunk
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import nn

import sklearn_ssl
from sklearn_ssl import (
    ColorizationTransformer,
    DeepClusterEstimator,
    DINOTransformer,
    EMPSSLTransformer,
    ExemplarTransformer,
    InpaintingTransformer,
    JigsawTransformer,
    MAETransformer,
    RelativePatchTransformer,
    RotationTransformer,
    SuperResolutionTransformer,
)
from sklearn_ssl.networks.fuse_batchnorm import folded
from sklearn_ssl.networks.vit import attention_maps
from sklearn_ssl.views import CombinedViews, ImageViews, RowViews


@pytest.mark.parametrize("backbone", ["small_convnet", "small_vit", "resnet18", "vit_b_16"])
def test_dino_trains_on_crops_of_two_sizes(photos, backbone):
    model = shrunk(DINOTransformer, backbone=backbone, n_local_crops=1).fit(photos[:4])
    sides = [view.shape[2:] for view in model.views_(torch.rand(2, 3, 32, 32))]
    assert sides == [(32, 32), (32, 32), (16, 16)]
    assert np.isfinite(model.transform(photos[:4])).all()


def test_dino_local_crops_are_small_parts(photos):
    model = shrunk(DINOTransformer, n_local_crops=3).fit(photos[:20])
    large, small = model.views_.recipes
    assert (large.n_views, small.n_views) == (2, 3)
    assert small.crop_area[1] <= large.crop_area[0]
    whole = shrunk(DINOTransformer, n_local_crops=0).fit(photos[:20])
    assert len(whole.views_(torch.rand(2, 3, 32, 32))) == 2
    assert len(shrunk(DINOTransformer).fit(photos[:20]).views_(torch.rand(2, 3, 32, 32))) == 6
    tiny = shrunk(DINOTransformer).fit(photos[:20, :23, :23])  # whose crops would show nothing
    assert len(tiny.views_(torch.rand(2, 3, 23, 23))) == 2
    rows = shrunk(DINOTransformer, n_local_crops=3).fit(photos[:20].reshape(20, -1)[:, :50])
    views = rows.views_(torch.rand(30, 50))
    assert len(views) == 5
    assert all((view != views[0]).any() for view in views[1:])


def test_dino_embeds_with_the_teacher_and_its_own_statistics(photos):
    """A teacher whose batch norms were never in training mode would have mean 0 and variance 1."""
    settings = {"max_epochs": 8, "batch_size": 16, "n_local_crops": 1}
    model = shrunk(DINOTransformer, **settings).fit(photos)
    objective = model._objective
    assert model.encoder_ is objective.encoder
    teacher, student = objective.encoder.backbone, objective.student.backbone
    first, other = (next(network.parameters()) for network in (teacher, student))
    assert not torch.allclose(first, other, rtol=0, atol=1e-5)
    # The teacher sees the large crops alone, and its statistics are of them and of its weights.
    for ours, theirs in zip(teacher.modules(), student.modules(), strict=True):
        if isinstance(ours, nn.BatchNorm2d | nn.BatchNorm1d):
            assert (ours.num_batches_tracked, theirs.num_batches_tracked) == (64, 128)
            assert not torch.allclose(ours.running_mean, theirs.running_mean)
    embedding = model.transform(photos)
    assert np.abs(embedding.mean(axis=0)).mean() < 0.5  # as standardised as its end is
    assert 0.5 < np.median(embedding.std(axis=0)) < 2


def test_dino_goes_on_beyond_its_planned_end(images):
    """The momentum, which has risen to 1, would keep the teacher as it is for ever."""
    model = shrunk(DINOTransformer, max_epochs=2, batch_size=20).fit(images)
    assert all(p.requires_grad for p in model.encoder_.parameters())
    weight = model.encoder_.backbone[0][0].weight.clone()
    model.partial_fit(images)
    moved = (model.encoder_.backbone[0][0].weight - weight).abs().max()
    assert moved > 1e-4


def test_dino_momentum_follows_the_length_of_the_run(images):
    short = shrunk(DINOTransformer, batch_size=20).fit(images)
    assert short._objective.momentum == 0.95
    dino = DINOTransformer(max_epochs=100, batch_size=20)
    for n_samples, momentum in ((200, 0.95), (1000, 1 - 100 / 5000), (20_000, 0.996)):
        training = dino._resolve_training(n_samples, torch.device("cpu"), 0, 0, True)
        objective = dino._make_objective(nn.Identity(), 4, training)
        assert objective.momentum == pytest.approx(momentum)
        assert objective.frozen_until == 0.01


def test_dino_weight_decay_rises(images):
    def final(**settings):
        dino = DINOTransformer(**settings)
        training = dino._resolve_training(200, torch.device("cpu"), 0, 0, True)
        return training.weight_decay, training.final_weight_decay

    assert final() == (1e-4, 0.04)
    assert final(optimizer="sgd") == (5e-4, 5e-4)
    assert final(weight_decay=0.3) == (0.3, 0.3)
    assert final(final_weight_decay=0.3) == (1e-4, 0.3)


def test_attention_maps_add_up_and_are_of_the_teacher(photos):
    model = shrunk(DINOTransformer, backbone="small_vit").fit(photos[:20])
    maps = model.attention_maps(photos[:20])
    assert maps.shape == (20, 4, 8, 8)
    assert maps.dtype == np.float32
    assert (maps >= 0).all()
    sums = maps.sum(axis=(2, 3))
    assert ((sums > 0.5) & (sums <= 1)).all()
    np.testing.assert_allclose(model.attention_maps(photos[3:5]), maps[3:5], atol=1e-6)
    assert np.abs(maps[0] - maps[1]).max() > 1e-6
    batch = torch.from_numpy(photos[:20]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        teacher = attention_maps(model._objective.encoder, batch).numpy()
        student = attention_maps(model._objective.student, batch).numpy()
    np.testing.assert_allclose(maps, teacher, atol=1e-6)
    assert np.abs(maps - student).max() > 1e-4
    middle = shrunk(
        DINOTransformer, backbone="small_vit", layer="encoder.layers.encoder_layer_1"
    ).fit(photos[:20])
    np.testing.assert_array_equal(middle.attention_maps(photos[:5]).shape, (5, 4, 8, 8))
    with pytest.raises(ValueError, match="need a vision transformer"):
        shrunk(DINOTransformer).fit(photos[:20]).attention_maps(photos[:20])


def test_backbones_that_cannot_take_the_small_crops(photos):
    def rigid(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))

    assert shrunk(DINOTransformer, backbone=rigid, n_local_crops=0).fit(photos[:20])
    with pytest.raises(ValueError, match=r"fails on samples of shape \(3, 16, 16\).*or its views"):
        shrunk(DINOTransformer, backbone=rigid).fit(photos[:20])


def test_views_of_the_wrong_kind(images, photos):
    local = CombinedViews((RowViews(), RowViews()))
    with pytest.raises(ValueError, match="are for rows, but X holds images"):
        shrunk(DINOTransformer, views=local).fit(images)
    views = CombinedViews((ImageViews(), ImageViews(size=0.5)))
    with pytest.raises(ValueError, match="are for images, but X holds rows"):
        shrunk(DINOTransformer, views=views).fit(images.reshape(200, -1))


def test_rotation_predicts_what_was_done():
    """Digits are told apart from those upside down, also digits that fit has not seen."""
    images = digits()[0]
    model = RotationTransformer(max_epochs=6, random_state=0).fit(images[:1000])
    unseen = images[1000:1400]
    assert model.score_pretext(unseen) > 0.6
    for turns in range(4):
        predicted = model.predict_pretext(np.rot90(unseen, turns, (1, 2)))
        assert predicted.shape == (400,)
        assert np.mean(predicted == turns) > 0.4
    told = [model.predict_pretext(np.rot90(unseen, t, (1, 2))) == t for t in range(4)]
    assert model.score_pretext(unseen) == pytest.approx(np.mean(told))
    untrained = RotationTransformer(max_epochs=1, lr=1e-12, random_state=0).fit(images[:1000])
    assert abs(untrained.score_pretext(unseen) - 0.25) < 0.1


@pytest.mark.parametrize(
    ("transformations", "n"), [("rotations", 4), ("half_turn", 2), ("rotations_and_flips", 8)]
)
def test_rotation_sets(photos, transformations, n):
    model = shrunk(RotationTransformer, transformations=transformations, lr=1e-12)
    model.fit(photos[:60])
    assert model.loss_curve_[0] == pytest.approx(np.log(n), rel=0.3)
    assert 0 <= model.predict_pretext(photos).min() <= model.predict_pretext(photos).max() < n
    assert model.views_.flip == (0.0 if n == 8 else 0.5)  # a flip would be a wrong label


def test_rotation_of_images_that_are_not_square(photos):
    wide = photos[:60, :20]
    model = shrunk(RotationTransformer).fit(wide)
    (view,) = model.views_(torch.rand(2, 3, 20, 32))
    assert view.shape == (2, 3, 20, 20)
    assert model.transform(wide).shape == (60, 256)
    np.testing.assert_array_equal(model.predict_pretext(wide), _classes(model, wide[:, :, 6:26]))
    assert 0 <= model.score_pretext(wide) <= 1


def _classes(model, images):
    batch = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        scores = model._objective.classify(model._objective.encoder(batch))
    return scores.argmax(dim=1).numpy()


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
    views = ImageViews(flip=0.0, rotation=15.0, crop_area=(0.5, 1.0), n_views=1)
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


def test_exemplar_goes_on_with_learned_classes(images):
    """The samples that a vector stands for are others in each training."""
    X = images.reshape(200, -1)
    settings = {"classes": "learned", "max_epochs": 6, "random_state": 0}
    whole = ExemplarTransformer(**settings, warm_start=True).fit(X)
    in_parts = ExemplarTransformer(**settings)
    for _ in range(6):
        in_parts.partial_fit(X)
    assert in_parts.loss_curve_[-1] < whole.loss_curve_[-1] + 0.02
    whole.fit(X)
    assert whole.loss_curve_[6] < whole.loss_curve_[5] + 0.02


def by_hand(model, X, crops):
    """The mean over crops, (top, left, side) in pixels, of what the trained encoder gives."""
    batch = torch.from_numpy(X).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        parts = [batch[:, :, i : i + side, j : j + side] for i, j, side in crops]
        return np.mean([model._objective.encoder(part).numpy() for part in parts], axis=0)


def test_emp_ssl_embeds_the_mean_over_crops(photos):
    X = photos[:40]
    whole = shrunk(EMPSSLTransformer, mirror=False).fit(X)
    assert whole._network() is whole.encoder_ is whole._objective.encoder
    np.testing.assert_allclose(whole.transform(X), by_hand(whole, X, [(0, 0, 32)]), atol=1e-4)
    # The range of the places, 16 pixels along each side, in halves: their middles are 4 and 12.
    four = shrunk(EMPSSLTransformer, n_patches=4, mirror=False).fit(X)
    places = [(i, j, 16) for i in (4, 12) for j in (4, 12)]
    np.testing.assert_allclose(four.transform(X), by_hand(four, X, places), rtol=1e-3, atol=1e-4)
    assert np.abs(four.transform(X) - whole.transform(X)).max() > 0.1
    np.testing.assert_array_equal(four.transform(X), four.transform(X))
    one_by_one = np.concatenate([four.transform(X[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(one_by_one, four.transform(X[:5]), rtol=1e-4, atol=1e-5)


def enlarged(images):
    return [images[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)] * 2


def test_emp_ssl_crops_are_as_large_as_those_of_the_views(photos):
    views = ImageViews(crop_area=(0.5, 0.625), crop_aspect=(1.0, 1.0), n_views=2)
    for recipe, side, n_out in ((views, 24, 32), (enlarged, 16, 32), ("auto", 16, 16)):
        model = shrunk(EMPSSLTransformer, views=recipe, n_patches=2).fit(photos[:20])
        rows = model._network().rows
        assert rows.shape == (2, n_out, 32)
        assert ((rows > 0).any(dim=1).sum(dim=1) == side).all()


def test_emp_ssl_views(photos, images):
    views = shrunk(EMPSSLTransformer).fit(photos[:20]).views_(torch.rand(5, 3, 32, 32))
    assert [tuple(view.shape) for view in views] == [(5, 3, 16, 16)] * 8
    tiny = shrunk(EMPSSLTransformer).fit(images[:20])  # crops of 4 pixels would show nothing
    assert tiny.views_(torch.rand(5, 1, 8, 8))[0].shape == (5, 1, 8, 8)
    rows = shrunk(EMPSSLTransformer, n_patches=4).fit(images[:20].reshape(20, -1))
    assert rows._network() is rows.encoder_
    views = rows.views_(torch.rand(30, 64))
    assert len({view.numpy().tobytes() for view in views}) == 8
    with pytest.raises(ValueError, match="two views or more; the view recipe gave 1"):
        shrunk(EMPSSLTransformer, views=ImageViews(n_views=1)).fit(photos[:20])


@pytest.mark.parametrize(
    "method",
    [
        ColorizationTransformer,
        EMPSSLTransformer,
        InpaintingTransformer,
        JigsawTransformer,
        MAETransformer,
        RelativePatchTransformer,
        SuperResolutionTransformer,
    ],
)
def test_views_of_several_sizes_are_refused(photos, method):
    views = CombinedViews((ImageViews(n_views=1), ImageViews(n_views=1, size=0.5)))
    with pytest.raises(ValueError, match=r"have one size; .* gave 32 x 32 and 16 x 16"):
        shrunk(method, views=views).fit(photos[:20])


@pytest.mark.parametrize("settings", [{}, {"layer": "stage2"}, {"backbone": "small_vit"}])
def test_emp_ssl_with_patches_is_kept_written_and_read(photos, tmp_path, settings):
    X = photos[:20]
    settings = {"n_patches": 3, "memory": tmp_path / "kept"} | settings
    model = shrunk(EMPSSLTransformer, **settings).fit(X)
    embedding = model.transform(X)
    again = shrunk(EMPSSLTransformer, **settings).fit(X)
    np.testing.assert_array_equal(again.transform(X), embedding)
    other = shrunk(EMPSSLTransformer, **(settings | {"n_patches": 4})).fit(X)
    assert np.abs(other.transform(X) - embedding).max() > 1e-3  # neither fit nor embedding is that
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), embedding)
    model.save(tmp_path / "saved")
    np.testing.assert_array_equal(sklearn_ssl.load(tmp_path / "saved").transform(X), embedding)
    model.partial_fit(X)
    assert np.abs(model.transform(X) - embedding).max() > 1e-4
    assert len(model._network().rows) == 3


@pytest.mark.parametrize("backbone", ["small_convnet", "small_vit"])
def test_emp_ssl_with_patches_as_onnx(photos, tmp_path, backbone):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = shrunk(EMPSSLTransformer, n_patches=3, backbone=backbone).fit(photos[:20])
    model.to_onnx(tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    for n in (1, 7):
        (given,) = session.run(None, {"X": photos[:n].astype(np.float32)})
        np.testing.assert_allclose(given, model.transform(photos[:n]), rtol=1e-3, atol=1e-4)


def test_emp_ssl_with_patches_is_folded(photos):
    """The encoder is called once for all crops, else its batch norms could not be folded."""
    model = shrunk(EMPSSLTransformer, n_patches=4).fit(photos[:20])
    samples = torch.rand(3, 3, 32, 32)
    embedder = model._network()
    network = folded(embedder, samples)
    assert network is not embedder
    with torch.no_grad():
        torch.testing.assert_close(network(samples), embedder(samples), rtol=1e-3, atol=1e-4)
