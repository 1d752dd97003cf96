"""Labels of which some are missing, weights of samples, and rows that are missing."""

import os

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.linalg
import torch
from common import digits, exhaustively, shrunk
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import (
    DeepClusterEstimator,
    EncoderTransformer,
    FineTuneClassifier,
    Images,
    KNNProbe,
    LinearProbe,
    SemiSupervisedSplit,
    SimCLRTransformer,
    compare,
)
from sklearn_ssl._runtime import decompositions
from sklearn_ssl._runtime.decompositions import fit_pca, symmetric_eigh
from sklearn_ssl.data.labels import codes_of, labels_of
from sklearn_ssl.inspection import (
    ClusteringDisplay,
    EmbeddingDisplay,
    LabelEfficiencyDisplay,
    NeighborsDisplay,
)
from sklearn_ssl.metrics import (
    alignment,
    alignment_uniformity_scorer,
    alpha_req,
    clustering_accuracy,
    effective_rank,
    knn_accuracy,
    mean_average_precision,
    rankme,
    rankme_scorer,
    recall_at_k,
    uniformity,
)

mpl.use("Agg")
IMAGES, Y = digits()
X = IMAGES.reshape(len(IMAGES), -1)
HALF = np.arange(120) % 4 > 0
WORDS = [f"n{label}" for label in Y[:120]]


def half(unlabeled, labels=None):
    """Return labels of which every fourth is missing, as a list."""
    labels = WORDS if labels is None else labels
    return [label if known else unlabeled for label, known in zip(labels, HALF, strict=True)]


FORMS = {
    "list, -1": half(-1),
    "list, None": half(None),
    "list, NaN": half(np.nan),
    "array of words": np.array(half(-1)),
    "objects, -1": np.array(half(-1), dtype=object),
    "objects, None": np.array(half(None), dtype=object),
    "Series": pd.Series(half(None)),
    "string Series": pd.Series(half(None), dtype="string"),
    "categories": pd.Series(half(None), dtype="category"),
    "polars": pl.Series(half(None)),
    "floats, NaN": np.where(HALF, Y[:120], np.nan),
    "floats, -1": np.where(HALF, Y[:120], -1.0),
    "ints": np.where(HALF, Y[:120], -1),
    "nullable": pd.Series(half(None, Y[:120].tolist()), dtype="Int64"),
    "column": np.where(HALF, Y[:120], -1),
}


@pytest.mark.parametrize("name", FORMS)
def test_unlabeled_samples_are_no_class_in_any_form(name):
    y = FORMS[name]
    has_label, known = labels_of(y)
    np.testing.assert_array_equal(has_label, HALF)
    words = known.dtype.kind in "UTO"
    truth = np.array(WORDS) if words else Y[:120]
    np.testing.assert_array_equal(known, truth[HALF])
    for probe in (LinearProbe(C=0.1), KNNProbe()):
        fitted = probe.fit(X[:120], y)
        np.testing.assert_array_equal(fitted.classes_, np.unique(truth))
        alone = type(probe)(**probe.get_params()).fit(X[:120][HALF], truth[HALF])
        np.testing.assert_array_equal(fitted.predict(X[120:200]), alone.predict(X[120:200]))
        assert fitted.score(X[:120], y) == alone.score(X[:120][HALF], truth[HALF])
    for train, test in SemiSupervisedSplit(2).split(X[:120], y):
        assert HALF[test].all()
        assert len(train) + len(test) == 120


@pytest.mark.parametrize("name", ["list, -1", *map(exhaustively, ["string Series", "floats, NaN"])])
@pytest.mark.slow
def test_fine_tuning_and_compare_know_unlabeled_samples(name):
    y, images = FORMS[name], IMAGES[:120]
    simclr = shrunk(SimCLRTransformer)
    model = FineTuneClassifier(simclr, max_epochs=1, random_state=0).fit(images, y)
    assert len(model.classes_) == 10
    assert set(model.predict(images)) <= set(model.classes_)
    rows = compare(simclr, images, y, cv=2, random_state=0).rows
    expected = compare(simclr, images, half(-1, Y[:120]), cv=2, random_state=0).rows
    assert [row["mean"] for row in rows] == [row["mean"] for row in expected]


@pytest.mark.slow
def test_two_classes_other_marks_and_none():
    signs = np.where(Y[:120] > 4, 1, -1)
    assert LinearProbe(C=0.1).fit(X[:120], signs).classes_.tolist() == [-1, 1]
    assert labels_of(signs)[0].all()
    with_missing = np.where(HALF, signs, np.nan)
    assert labels_of(with_missing)[0].tolist() == HALF.tolist()
    folder = np.array(half("unlabeled"))
    for make in (LinearProbe, KNNProbe):
        assert "unlabeled" not in make(unlabeled="unlabeled").fit(X[:120], folder).classes_
    splits = SemiSupervisedSplit(2, unlabeled="unlabeled").split(X[:120], folder)
    assert all(HALF[test].all() for _, test in splits)
    simclr = shrunk(SimCLRTransformer)
    rows = compare(simclr, IMAGES[:120], folder, cv=2, unlabeled="unlabeled", random_state=0).rows
    expected = compare(simclr, IMAGES[:120], half(-1), cv=2, random_state=0).rows
    assert rows[0]["mean"] == expected[0]["mean"]
    assert -1 in KNNProbe(unlabeled=None).fit(X[:120], half(-1, Y[:120])).classes_
    assert (
        len(LinearProbe(C=0.1, unlabeled=np.nan).fit(X[:120], FORMS["floats, NaN"]).classes_) == 10
    )
    with pytest.raises(ValueError, match=r"NaN or None, first at sample 0,.*unlabeled=\"auto\""):
        KNNProbe(unlabeled=None).fit(X[:120], half(None))
    for make in (LinearProbe(), KNNProbe(), FineTuneClassifier(simclr)):
        with pytest.raises(ValueError, match="All of y is unlabeled, which is -1, None or NaN"):
            make.fit(X[:120], np.full(120, -1))
    with pytest.raises(ValueError, match="All of y is unlabeled"):
        compare(simclr, IMAGES[:120], [None] * 120)


def test_metrics_leave_unlabeled_samples_out():
    y = np.array(half(-1, Y[:120]))
    for metric in (recall_at_k, knn_accuracy, mean_average_precision):
        assert metric(X[:120], y) == metric(X[:120][HALF], y[HALF])
        assert metric(X[:120], y, X[:120], half(None, Y[:120])) == metric(
            X[:120][HALF], y[HALF], X[:120][HALF], y[HALF]
        )


def test_displays_show_unlabeled_samples_gray():
    display = EmbeddingDisplay.from_embeddings(X[:120], y=half(None), method="pca")
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["unlabeled", *np.unique(WORDS)]
    assert len(display.ax_.collections[0].get_offsets()) == 30
    shown = NeighborsDisplay.from_embeddings(
        X[:120], IMAGES[:120], half(-1), queries=[0, 1], n_neighbors=4
    )
    _, codes = codes_of(half(-1))
    assert not shown.labeled[0].any()
    assert not shown.right[0].any()
    assert set(codes[~HALF]) == {-1}
    frame = shown.axes_[0, 1].spines["top"].get_edgecolor()
    assert frame == mpl.colors.to_rgba("lightgray")


# -- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 5.0, 3: 0.2}])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_as_in_logistic_regression(class_weight, weighted):
    x, y = X[:300], Y[:300]
    weights = np.random.default_rng(0).integers(0, 4, 300) if weighted else np.ones(300)
    probe = LinearProbe(C=0.1, class_weight=class_weight, tol=1e-7, max_iter=5000)
    probe.fit(x, y, sample_weight=weights if weighted else None)
    scaler = StandardScaler().fit(x, sample_weight=weights)
    model = LogisticRegression(C=0.1, class_weight=class_weight, tol=1e-8, max_iter=5000)
    model.fit(scaler.transform(x), y, sample_weight=weights)
    expected = model.predict_proba(scaler.transform(X[300:400]))
    np.testing.assert_allclose(probe.predict_proba(X[300:400]), expected, atol=2e-4)


@pytest.mark.slow
def test_weights_of_classes_in_fine_tuning():
    images, y = IMAGES[:200], (Y[:200] == 0).astype(int)
    simclr = shrunk(SimCLRTransformer).fit(images)
    from sklearn.frozen import FrozenEstimator

    shares = [
        FineTuneClassifier(FrozenEstimator(simclr), max_epochs=2, class_weight=w, random_state=0)
        .fit(images, y)
        .predict_proba(images)[:, 1]
        .mean()
        for w in ({0: 20, 1: 1}, None, {0: 1, 1: 20})
    ]
    assert shares[0] < shares[1] < shares[2]
    with pytest.raises(ValueError, match="'class_weight' parameter"):
        FineTuneClassifier(simclr, class_weight="equal").fit(images, y)


def test_c_is_chosen_for_weights_as_for_copies():
    weights = np.random.default_rng(0).integers(0, 3, 200)
    weighted = LinearProbe(random_state=0).fit(X[:200], Y[:200], sample_weight=weights)
    copies = LinearProbe(random_state=0).fit(X[:200].repeat(weights, 0), Y[:200].repeat(weights))
    assert weighted.scores_ == pytest.approx(copies.scores_)
    np.testing.assert_allclose(weighted.coef_, copies.coef_, atol=1e-3)


# -- rows of unreadable images ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Paths of 40 images, of which two are empty files."""
    folder = tmp_path_factory.mktemp("broken")
    paths = np.array([str(folder / f"{i}.png") for i in range(40)], dtype=object)
    for path, image in zip(paths, IMAGES, strict=False):
        Image.fromarray((image * 15.9).astype("u1")).save(path)
    for i in (7, 20):
        open(paths[i], "wb").close()
    return paths


def test_rows_of_nan_are_left_out_of_probes():
    E = X[:120].astype(np.float32)
    gaps = E.copy()
    gaps[[3, 50]] = np.nan
    known = np.isfinite(gaps).all(axis=1)
    for probe in (LinearProbe(C=0.1), KNNProbe()):
        with pytest.warns(UserWarning, match="2 of the 120 samples of X are NaN in every feature"):
            fitted = probe.fit(gaps, Y[:120])
        alone = type(probe)(**probe.get_params()).fit(E[known], Y[:120][known])
        np.testing.assert_allclose(fitted.predict_proba(E), alone.predict_proba(E), atol=1e-5)
        told = fitted.predict(gaps)
        assert (told[~known] == -1).all()
        assert np.isnan(fitted.predict_proba(gaps)[~known]).all()
        assert fitted.score(gaps, Y[:120]) == alone.score(E[known], Y[:120][known])
        one = E.copy()
        one[3, 0] = np.nan
        with pytest.raises(ValueError, match="contains NaN"):
            probe.fit(one, Y[:120])
        with pytest.raises(ValueError, match="contains NaN"):
            fitted.predict(one)
    words = KNNProbe().fit(E, np.array(WORDS)).predict(gaps)
    assert words[3] == -1
    assert words[0] in WORDS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*samples of X are NaN")
def test_skipped_images_break_neither_probes_nor_scorers_nor_displays(broken):
    y = np.arange(40) % 2
    simclr = shrunk(SimCLRTransformer, input=Images(on_error="skip"))
    for probe in (LinearProbe(C=0.1), KNNProbe()):
        scores = cross_val_score(make_pipeline(simclr, probe), broken, y, cv=2)
        assert np.isfinite(scores).all()
    model = simclr.fit(broken)
    for scorer in (rankme_scorer, alignment_uniformity_scorer):
        assert np.isfinite(scorer(model, broken))
        search = GridSearchCV(simclr, {"temperature": [0.1, 0.5]}, scoring=scorer, cv=2)
        assert np.isfinite(search.fit(broken).best_score_)
    assert len(EmbeddingDisplay.from_estimator(model, broken, y, method="pca").positions) == 38
    display = NeighborsDisplay.from_estimator(model, broken, y, queries=[6, 8], n_neighbors=37)
    assert display.images.shape[:2] == (2, 38)
    assert np.isfinite(display.images).all()
    with pytest.raises(ValueError, match="Image 7 of queries could not be read"):
        NeighborsDisplay.from_estimator(model, broken, queries=[7])


# -- numbers that do not depend on the caller ------------------------------------------------------


def measures():
    E = torch.nn.functional.relu(torch.from_numpy(X[:200]).float() - 8).numpy()
    y = Y[:200]
    return {
        "linear": LinearProbe(C=0.1).fit(E, y).decision_function(E),
        "auto": LinearProbe(random_state=0).fit(E, y).C_,
        "neighbors": KNNProbe().fit(E[:100], y[:100]).predict_proba(E),
        "recall": recall_at_k(E, y),
        "knn": knn_accuracy(E, y),
        "map": mean_average_precision(E, y),
        "uniformity": uniformity(E),
        "rankme": rankme(E),
        "effective": effective_rank(E),
    }


@pytest.fixture(scope="module")
def plain():
    return measures()


@pytest.mark.parametrize("where", ["autocast", "inference mode", "no grad", "float64", "seterr"])
def test_probes_and_metrics_are_the_same_anywhere(plain, where):
    dtype = torch.get_default_dtype()
    try:
        if where == "autocast":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = measures()
        elif where == "inference mode":
            with torch.inference_mode():
                found = measures()
        elif where == "no grad":
            with torch.no_grad():
                found = measures()
        elif where == "float64":
            torch.set_default_dtype(torch.float64)
            found = measures()
        else:
            with np.errstate(all="raise"):
                found = measures()
    finally:
        torch.set_default_dtype(dtype)
    for name, value in plain.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_arrays_in_any_order_of_memory(plain):
    E = np.ascontiguousarray(X[:200])
    turned = E[::-1].copy()[::-1]
    frozen = E.copy()
    frozen.flags.writeable = False
    y = Y[:200]
    for function in (
        rankme,
        effective_rank,
        uniformity,
        lambda E: recall_at_k(E, y),
        lambda E: knn_accuracy(E, y),
        lambda E: mean_average_precision(E, y),
        lambda E: KNNProbe().fit(E, y).predict_proba(E),
        lambda E: LinearProbe(C=0.1).fit(E, y).coef_,
    ):
        expected = function(E)
        for other in (turned, frozen, np.asfortranarray(E)):
            np.testing.assert_allclose(function(other), expected, rtol=1e-4, atol=1e-5)


def test_decompositions_fall_back(monkeypatch):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(30, 8)) * 10.0 ** -np.arange(8)
    matrix = root.T @ root
    values = np.linalg.eigvalsh(matrix)

    def fails(*args, **kwargs):
        raise torch.linalg.LinAlgError("linalg.eigh: failed to converge")

    def fails_too(*args, driver=None, **kwargs):
        raise np.linalg.LinAlgError

    for patch in ("torch", "scipy"):
        if patch == "torch":
            monkeypatch.setattr(torch.linalg, "eigh", fails)
        else:
            monkeypatch.setattr(scipy.linalg, "eigh", fails_too)
        found, vectors = symmetric_eigh(matrix)
        np.testing.assert_allclose(found, values, atol=1e-12)
        np.testing.assert_allclose(vectors * found @ vectors.T, matrix, atol=1e-10)
        tensors = symmetric_eigh(torch.from_numpy(matrix).float())
        assert tensors[0].dtype == torch.float64
        assert LinearProbe(C=0.1).fit(X[:300], Y[:300]).score(X[:300], Y[:300]) > 0.9
    many = rng.normal(size=(400, 1)) @ rng.normal(size=(1, 300)) + 1e-7 * rng.normal(
        size=(400, 300)
    )
    assert LinearProbe(C=0.1).fit(many, np.arange(400) % 2).coef_.shape == (1, 300)


def test_a_folder_named_unlabeled_is_where_it_is_said(tmp_path):
    from sklearn_ssl import image_paths

    for name in ("cat", "dog", "unlabeled"):
        os.mkdir(tmp_path / name)
        for i in range(12):
            image = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    paths, labels = image_paths(tmp_path)
    model = FineTuneClassifier(shrunk(SimCLRTransformer), max_epochs=1, unlabeled="unlabeled")
    assert model.fit(paths, labels).classes_.tolist() == ["cat", "dog"]


# -- labels in other forms, and what is judged -----------------------------------------------------


@pytest.mark.parametrize(
    ("y", "unlabeled"),
    [
        (np.where(HALF, WORDS, "-1.0"), "auto"),
        (np.array(half(np.nan)), "auto"),  # "nan" among words
        (np.where(HALF, WORDS, "-1"), -1),
        (half(-1), -1),
        (np.where(HALF, WORDS, "9"), 9),
        (half(None), pd.NA),
    ],
)
def test_numbers_among_words_mark_unlabeled_samples(y, unlabeled):
    has_label, known = labels_of(y, unlabeled)
    np.testing.assert_array_equal(has_label, HALF)
    np.testing.assert_array_equal(known, np.array(WORDS)[HALF])


def test_labels_that_are_refused():
    with pytest.raises(
        ValueError, match=r"mixes strings, such as 'n0' \(sample 1\), .* 5 \(sample 0"
    ):
        labels_of([5, "n0", "n1"])
    with pytest.raises(ValueError, match=r"unlabeled must be a label.* Got \[-1\] instead"):
        KNNProbe(unlabeled=[-1]).fit(X[:120], FORMS["ints"])
    model = FineTuneClassifier(shrunk(SimCLRTransformer), class_weight={"m0": 2.0})
    with pytest.raises(ValueError, match=r"\['n0'.*\], are not in class_weight"):
        model.fit(IMAGES[:120], WORDS)


@pytest.mark.parametrize("make", [lambda: LinearProbe(C=0.1), KNNProbe])
def test_scores_know_the_classes_of_fit(make):
    """Of some samples all labels may be 1, or missing."""
    probe, ones = make().fit(X[:120], Y[:120]), Y[:120] == 1
    y = np.where(np.arange(ones.sum()) % 2, 1, -1)
    assert probe.score(X[:120][ones], y) == probe.score(X[:120][ones], np.full(ones.sum(), 1))


@pytest.mark.parametrize("make", [lambda: LinearProbe(C=0.1), KNNProbe])
def test_predictions_for_unreadable_images_are_no_class(make):
    signs, gaps = np.where(Y[:120] > 4, 1, -1), X[:120].copy()
    gaps[3] = np.nan
    probe = make().fit(X[:120], signs)
    told = probe.predict(gaps)
    assert np.isnan(told[3])
    np.testing.assert_array_equal(np.delete(told, 3), probe.predict(np.delete(gaps, 3, axis=0)))
    assert make().fit(X[:120], Y[:120]).predict(gaps[[3]]).tolist() == [-1]
    assert np.isnan(make().set_params(unlabeled=np.nan).fit(X[:120], Y[:120]).predict(gaps)[3])
    with pytest.raises(
        ValueError, match="0 of the 2 samples of X can be used, at least 1 are needed"
    ):
        make().fit(gaps[[3, 3]], [0, 1])


@pytest.mark.parametrize("probe", [LinearProbe(C=0.1), make_pipeline(StandardScaler(), KNNProbe())])
def test_compare_judges_the_class_minus_one(probe):
    y = Y[:120] % 3
    settings = {"cv": 2, "probe": probe, "random_state": 0}
    estimator = EncoderTransformer(random_state=0)
    rows = compare(estimator, IMAGES[:120], y - 1, unlabeled=None, **settings).rows
    expected = compare(estimator, IMAGES[:120], y, **settings).rows
    assert [row["mean"] for row in rows] == [row["mean"] for row in expected]


def test_metrics_take_the_mark_and_decide_for_both_parts():
    y = np.where(HALF, Y[:120], -1)
    for metric in (recall_at_k, knn_accuracy, mean_average_precision):
        expected = metric(X[:120][HALF], y[HALF])
        assert metric(X[:120], np.where(HALF, y, 255), unlabeled=255) == expected
        ones = Y[:120] == 1
        assert metric(X[:120][ones], y[ones], X[:120], y) == metric(
            X[:120][ones & HALF], y[ones & HALF], X[:120][HALF], y[HALF]
        )
    clusters = Y[:120] // 2
    expected = clustering_accuracy(Y[:120][HALF], clusters[HALF])
    assert clustering_accuracy(y, clusters) == expected
    assert clustering_accuracy(half(None), clusters) == expected


@pytest.mark.parametrize(
    "metric",
    [
        rankme,
        effective_rank,
        alpha_req,
        uniformity,
        lambda E: alignment(E, np.roll(E, 1, axis=1)),
        lambda E: recall_at_k(E, Y[:120] if len(E) == 120 else np.delete(Y[:120], [3, 50])),
        lambda E: knn_accuracy(E, Y[:120] if len(E) == 120 else np.delete(Y[:120], [3, 50])),
    ],
)
def test_metrics_leave_rows_of_nan_out(metric):
    gaps = X[:120].copy()
    gaps[[3, 50]] = np.nan
    assert metric(gaps) == metric(np.delete(gaps, [3, 50], axis=0))
    gaps[4, 0] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        metric(gaps)


def test_displays_take_the_mark():
    folder = np.array(half("unlabeled"))
    shown = EmbeddingDisplay.from_embeddings(X[:120], y=folder, method="pca", unlabeled="unlabeled")
    assert len(shown.ax_.collections[0].get_offsets()) == 30
    assert len(shown.ax_.get_legend().get_texts()) == 11
    beside = NeighborsDisplay.from_embeddings(
        X[:120], IMAGES[:120], folder, unlabeled="unlabeled", queries=[0, 1], n_neighbors=3
    )
    assert not beside.labeled[0].any()
    curves = LabelEfficiencyDisplay.from_estimator(
        EncoderTransformer(random_state=0), IMAGES[:120], folder, n_labels=(1, 2), cv=2,
        probe=KNNProbe(), unlabeled="unlabeled",
    )  # fmt: skip
    assert len(curves.comparison.rows) == 6


@pytest.mark.filterwarnings("ignore:.*could not be read")
def test_clustering_display_leaves_samples_out(broken):
    deep = shrunk(DeepClusterEstimator, n_clusters=4, input=Images(on_error="skip")).fit(broken)
    y = np.where(np.arange(40) % 4 > 0, Y[:40] % 3, -1)
    used = (y >= 0) & (deep.labels_ >= 0)
    shown = ClusteringDisplay.from_estimator(deep, broken, y, n_clusters=[3], cv=2)
    expected = [normalized_mutual_info_score(y[used], row[used]) for row in deep.assignments_]
    np.testing.assert_allclose(shown.nmi_labels, expected)
    assert np.isfinite(shown.scores).all()


def test_small_numbers_where_numpy_raises():
    with np.errstate(all="raise"):
        assert KNNProbe(temperature=1e-4).fit(X[:120], Y[:120]).score(X[:120], Y[:120]) == 1
        tiny = X[:120] * 1e-60  # 0 in float32
        assert recall_at_k(tiny, Y[:120]) < 0.5
        KNNProbe().fit(tiny, Y[:120]).predict(tiny)


def test_metrics_on_another_default_device():
    expected = [f(X[:120]) for f in (rankme, effective_rank, alpha_req, uniformity)]
    with torch.device("meta"):
        assert [f(X[:120]) for f in (rankme, effective_rank, alpha_req, uniformity)] == expected


def test_principal_components_where_the_first_solver_fails(monkeypatch):
    class Failing(PCA):
        def fit(self, X, y=None):
            if self.svd_solver == "auto":
                raise np.linalg.LinAlgError("SVD did not converge")
            return super().fit(X)

    expected = np.abs(fit_pca(X[:120], 5, 0).transform(X[:120]))
    monkeypatch.setattr(decompositions, "PCA", Failing)
    found = np.abs(fit_pca(X[:120].astype(np.float32), 5, 0).transform(X[:120]))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.slow
def test_c_does_not_depend_on_the_units_of_features():
    """As folds depend on the order of samples, not on their values."""
    plain = LinearProbe(random_state=0).fit(X[:300], Y[:300])
    for other in (X[:300] * 4, X[:300].astype(np.float32), X[:300, ::-1]):
        assert LinearProbe(random_state=0).fit(other, Y[:300]).scores_ == plain.scores_
