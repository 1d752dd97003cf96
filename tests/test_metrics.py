"""Metrics beside slow references, published values and other libraries' definitions."""

import itertools

import numpy as np
import pytest
import torch
from common import shrunk
from sklearn.metrics import average_precision_score, f1_score, jaccard_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_references import check_inputs

from sklearn_ssl import RotationTransformer, SimCLRTransformer, metrics
from sklearn_ssl.metrics import geometry
from sklearn_ssl.metrics import nearest as neighbors

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 5)), RNG.integers(0, 4, 60)
GALLERY, Y_GALLERY = RNG.normal(size=(50, 5)), RNG.integers(0, 4, 50)
asked = pytest.mark.parametrize("same", [True, False], ids=["among themselves", "gallery"])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Many blocks, the last one not full."""
    monkeypatch.setattr(neighbors, "BLOCK_BYTES", 4 * 50 * 7)
    monkeypatch.setattr(geometry, "BLOCK_BYTES", 4 * 50 * 7)


def cosines(same):
    """Return similarities with the gallery, with nan on the diagonal where it is X itself."""
    gallery = X if same else GALLERY
    unit, unit_gallery = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (X, gallery))
    found = unit @ unit_gallery.T
    if same:
        np.fill_diagonal(found, np.nan)
    return found, Y if same else Y_GALLERY, () if same else (GALLERY, Y_GALLERY)


def best_naming(y_true, y_pred):
    """Share of right ones over all ways to give clusters distinct classes or none."""
    classes, clusters = np.unique(y_true), np.unique(y_pred)
    names = [*classes, *[-1] * len(clusters)]
    return max(
        np.mean(np.array(given)[np.searchsorted(clusters, y_pred)] == y_true)
        for given in itertools.permutations(names, len(clusters))
    )


@pytest.mark.parametrize("n_clusters", [2, 3, 5])
def test_clustering_accuracy_tries_all_names(n_clusters):
    y_true = RNG.integers(0, 3, 40)
    y_pred = RNG.integers(0, n_clusters, 40)
    expected = best_naming(y_true, y_pred)
    assert metrics.clustering_accuracy(y_true, y_pred) == pytest.approx(expected)
    named = np.array(list("vwxyz"))[y_pred]  # names of clusters do not matter
    assert metrics.clustering_accuracy(y_true, named) == pytest.approx(expected)


def test_more_clusters_than_classes_do_not_pay():
    y = np.repeat([0, 1], 10)
    assert metrics.clustering_accuracy(y, np.arange(20)) == 0.1  # where purity is 1


@asked
def test_recall_at_k(same):
    found, y_gallery, more = cosines(same)
    ks = [1, 3, 10]
    expected = np.zeros(3)
    for row, label in zip(found, Y, strict=True):
        order = np.argsort(-np.nan_to_num(row, nan=-9))
        expected += [label in y_gallery[order[:k]] for k in ks]
    recall = metrics.recall_at_k(X, Y, *more, k=ks)
    np.testing.assert_allclose(recall, expected / len(X))
    assert metrics.recall_at_k(X, Y, *more, k=3) == recall[1]
    assert recall[0] < recall[1] < recall[2]


@asked
def test_knn_accuracy(same):
    found, y_gallery, more = cosines(same)
    right = 0
    for row, label in zip(found, Y, strict=True):
        order = np.argsort(-np.nan_to_num(row, nan=-9))[:10]
        shares = [np.exp(row[order][y_gallery[order] == c] / 0.5).sum() for c in range(4)]
        right += np.argmax(shares) == label
    accuracy = metrics.knn_accuracy(X, Y, *more, n_neighbors=10, temperature=0.5)
    assert accuracy == pytest.approx(right / len(X))
    # All that there are, where they are fewer; with a small temperature the first one decides.
    few = metrics.knn_accuracy(X, Y, *more, n_neighbors=10**6, temperature=1e-4)
    assert few == pytest.approx(metrics.recall_at_k(X, Y, *more, k=1))


@asked
def test_mean_average_precision_is_that_of_scikit_learn(same):
    found, y_gallery, more = cosines(same)
    expected = []
    for row, label in zip(found, Y, strict=True):
        there = ~np.isnan(row)
        expected.append(average_precision_score(y_gallery[there] == label, row[there]))
    found = metrics.mean_average_precision(X, Y, *more)
    assert found == pytest.approx(np.mean(expected), abs=1e-6)


def oxford(ranked):
    """Average precision by the loop of the Oxford benchmark, over kinds in order of rank."""
    n_right, old_recall, old_precision, area = 0, 0.0, 1.0, 0.0
    total, place = sum(kind == 1 for kind in ranked), 0
    for kind in ranked:
        if kind == -1:
            continue
        n_right += kind == 1
        recall, precision = n_right / total, n_right / (place + 1)
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision, place = recall, precision, place + 1
    return area


def test_mean_average_precision_as_in_oxford():
    relevance = RNG.choice([-1, 0, 1], (60, 50), p=[0.2, 0.6, 0.2])
    relevance[3] = np.minimum(relevance[3], 0)  # nothing to find: it is left out
    found, *_ = cosines(False)
    order = np.argsort(-found, axis=1)
    ranked = np.take_along_axis(relevance, order, axis=1)
    expected = np.mean([oxford(row) for i, row in enumerate(ranked) if i != 3])
    given = {"X_gallery": GALLERY, "relevance": relevance}
    assert metrics.mean_average_precision(X, **given, trapezoid=True) == pytest.approx(expected)
    # Junk is as if it were not there.
    kept = [row[row >= 0] for row in ranked]
    plain = [average_precision_score(row, -np.arange(len(row))) for row in kept if row.any()]
    assert metrics.mean_average_precision(X, **given) == pytest.approx(np.mean(plain))


def test_nothing_to_find_is_an_error():
    with pytest.raises(ValueError, match="No sample has one of its class"):
        metrics.mean_average_precision(X[:4], np.arange(4))


@pytest.mark.parametrize("maps", ["array", "list"])
def test_segmentation_beside_scikit_learn(maps):
    """Over all pixels at once; void ones are left out, and wrong where they are predicted."""
    y_true = RNG.choice([0, 1, 2, 255], (5, 6, 7), p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8)
    y_pred = RNG.choice([0, 1, 3, 255], (5, 6, 7), p=[0.6, 0.2, 0.1, 0.1]).astype(np.uint8)
    kept = y_true != 255
    t, p = y_true[kept], y_pred[kept]
    given = y_true, y_pred
    if maps == "list":  # of different sizes
        given = [[*m[:4], m[4, :, :3], m[4, :, 3:]] for m in given]
    there = {"labels": [0, 1, 2], "average": None, "zero_division": 0}
    assert metrics.pixel_accuracy(*given) == pytest.approx(np.mean(t == p))
    iou, f1 = jaccard_score(t, p, **there), f1_score(t, p, **there)
    np.testing.assert_allclose(metrics.mean_iou(*given, average=None), iou)
    np.testing.assert_allclose(metrics.segmentation_f1(*given, average=None), f1)
    assert metrics.mean_iou(*given) == pytest.approx(iou.mean())
    assert metrics.segmentation_f1(*given) == pytest.approx(f1.mean())
    everything = metrics.pixel_accuracy(*given, ignore_label=None)
    assert everything == pytest.approx(np.mean(y_true == y_pred))


@pytest.mark.parametrize("n_clusters", [2, 3, 5])
def test_segmentation_by_clusters(n_clusters):
    y_true = RNG.integers(0, 3, (4, 5, 5))
    y_true[0, 0] = 255
    y_pred = (y_true + RNG.integers(0, 2, y_true.shape)) % n_clusters + 10
    kept = y_true != 255
    accuracy = metrics.pixel_accuracy(y_true, y_pred, match=True)
    assert accuracy == pytest.approx(best_naming(y_true[kept], y_pred[kept]))
    # The same as naming them by hand.
    clusters = np.unique(y_pred[kept])
    best = max(
        (
            np.array(given)[np.searchsorted(clusters, y_pred).clip(0, len(clusters) - 1)]
            for given in itertools.permutations([0, 1, 2, 77, 78, 79, 80, 81], len(clusters))
        ),
        key=lambda named: np.mean(named[kept] == y_true[kept]),
    )
    by_hand = metrics.mean_iou(y_true, best, average=None)
    np.testing.assert_allclose(metrics.mean_iou(y_true, y_pred, match=True, average=None), by_hand)
    by_hand = metrics.segmentation_f1(y_true, best)
    assert metrics.segmentation_f1(y_true, y_pred, match=True) == pytest.approx(by_hand)


def test_rankme_has_the_published_value():
    a, _ = check_inputs()[:2]
    assert metrics.rankme(a) == pytest.approx(3.026065, abs=1e-6)
    assert metrics.rankme(a.float()) == pytest.approx(3.026065, abs=1e-4)


def test_ranks_by_definition():
    z = X * [3, 2, 1, 0.5, 0.1]
    values = np.linalg.eigvalsh(np.cov(z.T))
    shares = values / values.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert metrics.effective_rank(z + 100) == pytest.approx(expected)
    wide = z[:4] @ RNG.normal(size=(5, 80))  # fewer samples than features
    shares = np.linalg.eigvalsh(np.cov(wide.T))[-3:]
    shares /= shares.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert metrics.effective_rank(wide) == pytest.approx(expected)


@pytest.mark.parametrize(("n_features", "ranks"), [(120, (11, 100)), (60, (11, 48)), (20, (5, 16))])
def test_alpha_req_is_a_weighted_slope(n_features, ranks):
    z = RNG.normal(size=(500, n_features)) / np.arange(1, n_features + 1)
    values = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    i = np.arange(ranks[0], ranks[1] + 1)
    # polyfit takes the roots of weights
    slope, _ = np.polyfit(np.log(i), np.log(values[i - 1]), 1, w=i**-0.5)
    assert metrics.alpha_req(z) == pytest.approx(-slope)


def test_alignment_and_uniformity_by_definition():
    a, b = X[:25], X[:25] + 0.5 * GALLERY[:25]
    z1, z2 = (torch.nn.functional.normalize(torch.tensor(x)) for x in (a, b))
    distances = [float((p - q).norm()) for p, q in zip(z1, z2, strict=True)]
    assert metrics.alignment(a, b) == pytest.approx(np.mean(np.square(distances)))
    assert metrics.alignment(a, b, alpha=1) == pytest.approx(np.mean(distances))
    for t in (2, 0.5):
        expected = torch.pdist(z1).pow(2).mul(-t).exp().mean().log()
        assert metrics.uniformity(a, t=t) == pytest.approx(float(expected))
    assert metrics.uniformity(np.ones((30, 4))) == pytest.approx(0)


WRONG = {
    "k must be": lambda: metrics.recall_at_k(X, Y, k=60),
    "together": lambda: metrics.recall_at_k(X, Y, GALLERY),
    "5 features and X_gallery 4": lambda: metrics.knn_accuracy(X, Y, GALLERY[:, :4], Y_GALLERY),
    "temperature must be": lambda: metrics.knn_accuracy(X, Y, temperature=0),
    "n_neighbors must be": lambda: metrics.knn_accuracy(X, Y, n_neighbors=0),
    "relevance must hold": lambda: metrics.mean_average_precision(X, relevance=[[1]]),
    "inconsistent numbers": lambda: metrics.clustering_accuracy([1, 2], [1]),
    "needs a sample": lambda: metrics.clustering_accuracy([], []),
    "Label map 1": lambda: metrics.mean_iou([[[1]], [[1]]], [[[1]], [[1, 1]]]),
    "as many label maps": lambda: metrics.mean_iou([[[1]]], []),
    "must hold whole numbers": lambda: metrics.mean_iou([[[1]]], [[[0.5]]]),
    "ignored label": lambda: metrics.pixel_accuracy([[[255]]], [[[1]]]),
    "average must be": lambda: metrics.mean_iou([[[1]]], [[[1]]], average="micro"),
    "rank 0": lambda: metrics.rankme(np.zeros((3, 2))),
    "do not differ": lambda: metrics.effective_rank(np.ones((3, 2))),
    "alpha_req needs": lambda: metrics.alpha_req(X[:4]),
    "alpha must be": lambda: metrics.alignment(X, X, alpha=0),
    "t must be": lambda: metrics.uniformity(X, t=-1),
    "same samples": lambda: metrics.alignment(X, X[:5]),
    "contains NaN": lambda: metrics.rankme([[np.nan, 1], [1, 1]]),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_told(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message]()


@pytest.mark.parametrize("scoring", [metrics.rankme_scorer, metrics.alignment_uniformity_scorer])
def test_searches_need_no_labels(scoring, images):
    """Each setting is scored on samples that were held out."""
    model, temperatures = shrunk(SimCLRTransformer), [0.05, 1.0]
    search = GridSearchCV(model, {"temperature": temperatures}, scoring=scoring, cv=KFold(2))
    search.fit(images)
    expected = []
    for temperature in temperatures:
        model.set_params(temperature=temperature)
        folds = KFold(2).split(images)
        scores = [scoring(model.fit(images[train]), images[test]) for train, test in folds]
        expected.append(np.mean(scores))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
    assert search.best_params_["temperature"] == temperatures[np.argmax(expected)]


def test_rankme_scorer_takes_any_transformer(images):
    model = make_pipeline(shrunk(SimCLRTransformer), StandardScaler()).fit(images)
    expected = metrics.rankme(model.transform(images))
    assert metrics.rankme_scorer(model, images) == expected


def test_alignment_and_uniformity_are_of_views(images):
    model = shrunk(SimCLRTransformer, backbone="small_convnet").fit(images)
    score = metrics.alignment_uniformity_scorer(model, images)
    before = torch.get_rng_state()
    assert metrics.alignment_uniformity_scorer(model, images) == score
    assert torch.equal(torch.get_rng_state(), before)
    # Views that change nothing are all alike, and aligned as well as can be.
    model.views_ = lambda batch: [batch, batch]
    same = metrics.alignment_uniformity_scorer(model, images)
    embedding = model.set_params(mirror=False).transform(images)
    assert same == pytest.approx(-metrics.uniformity(embedding), abs=1e-4)
    with pytest.raises(ValueError, match="those of RotationTransformer are one"):
        metrics.alignment_uniformity_scorer(shrunk(RotationTransformer).fit(images), images)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_compared_as_scikit_image_does(channels, dtype):
    skimage = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    told = rng.random((3, 20, 24, *channels))
    true = (told + 0.3 * rng.random(told.shape)).clip(0, 1)
    high = 255 if dtype == np.uint8 else 1
    true, told = ((high * x).astype(dtype) for x in (true, told))
    axis = -1 if channels else None
    settings = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5}
    similar = [
        skimage.structural_similarity(t, p, data_range=high, channel_axis=axis, **settings)
        for t, p in zip(true.astype(float), told.astype(float), strict=True)
    ]
    assert 0.2 < np.mean(similar) < 0.95
    assert metrics.structural_similarity(true, told) == pytest.approx(np.mean(similar))
    noise = skimage.peak_signal_noise_ratio(true, told, data_range=high)
    assert metrics.peak_signal_noise_ratio(true, told) == pytest.approx(noise, rel=1e-6)
    twice = metrics.peak_signal_noise_ratio(true, told, data_range=2 * high)
    assert twice == pytest.approx(noise + 20 * np.log10(2), rel=1e-6)
    assert metrics.structural_similarity(true, true) == pytest.approx(1)
    assert metrics.peak_signal_noise_ratio(true, true) == np.inf


def test_images_that_cannot_be_compared_are_told_of():
    X = np.zeros((2, 12, 12))
    with pytest.raises(ValueError, match=r"one shape.*\(2, 12, 12\) and \(2, 12, 11\)"):
        metrics.peak_signal_noise_ratio(X, X[:, :, 1:])
    with pytest.raises(ValueError, match=r"11 pixels a side or more. Got 10 x 12"):
        metrics.structural_similarity(X[:, 2:], X[:, 2:])
    with pytest.raises(ValueError, match=r"data_range must be above 0. Got 0"):
        metrics.structural_similarity(X, X, data_range=0)
    whole = X.astype(np.uint8) + 200
    for pair in ((X, whole), (whole, X)):
        with pytest.raises(ValueError, match=r"bytes in both or in neither .* Got .*uint8"):
            metrics.peak_signal_noise_ratio(*pair)
    told = metrics.peak_signal_noise_ratio(whole, whole + 10.0, data_range=255)
    assert told == pytest.approx(20 * np.log10(25.5))
