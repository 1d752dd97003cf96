"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import inspect
import pickle
import sys

import matplotlib
import numpy as np
import pytest
import torch
from common import digits, shrunk
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpydoc.docscrape import ClassDoc, FunctionDoc
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import (
    DeepClusterEstimator,
    DINOTransformer,
    InpaintingTransformer,
    JigsawTransformer,
    LinearProbe,
    PatchKMeansTransformer,
    SimCLRTransformer,
    SuperResolutionTransformer,
    inspection,
)
from sklearn_ssl.inspection import (
    ClusteringDisplay,
    EmbeddingDisplay,
    LabelEfficiencyDisplay,
    NeighborsDisplay,
    PretextDisplay,
    TrainingDisplay,
    ViewsDisplay,
)
from sklearn_ssl.views import ImageViews

matplotlib.use("Agg")


def deepcluster(**parameters):
    return shrunk(DeepClusterEstimator, **({"n_clusters": 10, "max_epochs": 2} | parameters))


@pytest.fixture(scope="module")
def data():
    images, labels = digits()
    return images[:100], labels[:100]


@pytest.fixture(scope="module")
def fitted(data):
    return deepcluster().fit(data[0])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_curves_of_epochs(fitted, data):
    X, y = data
    display = ClusteringDisplay.from_estimator(fitted, X, y)
    assigned = fitted.assignments_
    labels = [normalized_mutual_info_score(y, assigned[t]) for t in range(3)]
    before = [normalized_mutual_info_score(assigned[t], assigned[t + 1]) for t in range(2)]
    np.testing.assert_allclose(display.nmi_labels, labels)
    np.testing.assert_allclose(display.nmi_reassignment, before)
    assert len(set(labels)) == 3
    assert display.n_clusters is display.scores is display.scores_std is None


@pytest.mark.parametrize("fit_first", [True, False])
def test_curves_over_the_number_of_clusters(fit_first, data):
    X, y = data
    model = deepcluster(max_epochs=1)
    if fit_first:
        model.fit(X)
    display = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[12, 4, 12], cv=3)
    np.testing.assert_array_equal(display.n_clusters, [4, 12])
    for i, k in enumerate([4, 12]):
        other = deepcluster(max_epochs=1, n_clusters=k).fit(X)
        embedding, accuracy = other.transform(X), []
        for train, test in StratifiedKFold(3).split(X, y):
            scaler = StandardScaler().fit(embedding[train])
            probe = LogisticRegression(max_iter=1000)
            probe.fit(scaler.transform(embedding[train]), y[train])
            accuracy.append(np.mean(probe.predict(scaler.transform(embedding[test])) == y[test]))
        assert display.scores[i] == pytest.approx(np.mean(accuracy))
        assert display.scores_std[i] == pytest.approx(np.std(accuracy))
        nmi = normalized_mutual_info_score(y, other.labels_)
        assert display.nmi_n_clusters[i] == pytest.approx(nmi)
    assert display.scores_std.min() > 0


def test_the_same_folds_for_every_number_of_clusters(data):
    """An iterable of folds is not used up by the first one."""
    X, y = data
    model, shuffled = deepcluster(max_epochs=1), KFold(2, shuffle=True, random_state=0)
    kept = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[4, 8], cv=shuffled)
    folds = shuffled.split(X)
    used = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[4, 8], cv=folds)
    np.testing.assert_array_equal(kept.scores, used.scores)


def test_estimators_are_not_changed(fitted, data):
    X, y = data
    before = pickle.dumps(vars(fitted))
    ClusteringDisplay.from_estimator(fitted, X, y, n_clusters=[3], cv=2)
    assert pickle.dumps(vars(fitted)) == before
    model = deepcluster()
    before = dict(vars(model))
    display = ClusteringDisplay.from_estimator(model, X, y, n_clusters=[3], cv=2)
    assert vars(model) == before
    of_fitted = ClusteringDisplay.from_estimator(fitted, X, y)
    np.testing.assert_array_equal(display.nmi_labels, of_fitted.nmi_labels)


def test_epochs_on_other_samples_are_blank(data):
    X, y = data
    model = deepcluster().fit(X).partial_fit(X[:60])
    display = ClusteringDisplay.from_estimator(model, X[:60], y[:60])
    assert list(np.isnan(display.nmi_labels)) == [True, True, False, False]
    assert list(np.isnan(display.nmi_reassignment)) == [True, True, False]
    assert display.nmi_reassignment[-1] == model.nmi_curve_[-1]
    assert display.nmi_labels[-1] == normalized_mutual_info_score(y[:60], model.labels_)


def test_errors_come_before_training(fitted, data, monkeypatch):
    X, y = data
    show = ClusteringDisplay.from_estimator
    with pytest.raises(ValueError, match=r"fitted on 100 samples, X has 60\. Pass .* clone"):
        show(fitted, X[:60], y[:60])
    with pytest.raises(ValueError, match=r"fitted on 100 samples, X has 60\."):
        show(fitted, X[:60], y[:60], n_clusters=["never fitted"])
    model = deepcluster(max_epochs="never fitted")
    with pytest.raises(ValueError, match="X has 100 samples, y has 60"):
        show(model, X, y[:60])
    with pytest.raises(ValueError, match=r"n_clusters compares .* needs y"):
        show(model, X, n_clusters=[3])
    with pytest.raises(ValueError, match=r"as many axes as there are panels, 3\. Got 2"):
        show(model, X, y, n_clusters=[3], ax=Figure().subplots(1, 2))
    with pytest.raises(ValueError, match=r"as there are panels, 1\. Got 2"):
        ClusteringDisplay(nmi_reassignment=[0.5]).plot(Figure().subplots(1, 2))
    assert not plt.get_fignums()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError):
        show(model, X, y)


EPOCHS = {"nmi_reassignment": [0.5, 0.7]}
LABELS = {"nmi_labels": [0.1, 0.2, 0.3]}
SETTINGS = {
    "n_clusters": np.array([4, 12]),
    "scores": np.array([0.8, 0.9]),
    "scores_std": np.array([0.1, 0.2]),
    "nmi_n_clusters": np.array([0.4, 0.6]),
}


@pytest.mark.parametrize(
    ("curves", "lines"),
    [
        (EPOCHS, [[1, 2, 0.5, 0.7]]),
        (EPOCHS | LABELS, [[0, 1, 2, 0.1, 0.2, 0.3], [1, 2, 0.5, 0.7]]),
        (
            EPOCHS | {"n_clusters": [4, 12], "scores": [0.8, 0.9]},
            [[1, 2, 0.5, 0.7], [4, 12, 0.8, 0.9]],
        ),
        (EPOCHS | {"n_clusters": [4], "nmi_n_clusters": [0.4]}, [[1, 2, 0.5, 0.7], [4, 0.4]]),
        (EPOCHS | SETTINGS, [[1, 2, 0.5, 0.7], [4, 12, 0.8, 0.9], [4, 12, 0.4, 0.6]]),
        (
            EPOCHS | LABELS | SETTINGS,
            [[0, 1, 2, 0.1, 0.2, 0.3], [1, 2, 0.5, 0.7], [4, 12, 0.8, 0.9], [4, 12, 0.4, 0.6]],
        ),
    ],
)
@pytest.mark.parametrize("own_axes", [True, False])
def test_panels(curves, lines, own_axes):
    display = ClusteringDisplay(**curves)
    assert {name: vars(display)[name] for name in curves} == curves
    n_panels = 1 + ("nmi_labels" in curves) + ("n_clusters" in curves)
    axes = np.ravel(Figure().subplots(n_panels)) if own_axes else None
    assert display.plot(axes) is display
    assert len(display.ax_) == n_panels
    assert [list(np.concatenate(line.get_data())) for line in display.lines_] == lines
    drawn = [line for panel in display.ax_ for line in panel.lines]
    assert drawn == display.lines_
    assert all(panel.get_title() and panel.get_xlabel() for panel in display.ax_)
    assert all(tick == int(tick) for panel in display.ax_ for tick in panel.get_xticks())
    assert display.figure_.axes == list(display.ax_)
    if own_axes:
        assert list(display.ax_) == list(axes)
    assert len(plt.get_fignums()) == (not own_axes)


def test_panel_of_the_number_of_clusters():
    panel = ClusteringDisplay(**EPOCHS, **SETTINGS).plot().ax_[1]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["4", "12"]
    assert not len(panel.get_xticks(minor=True))
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "accuracy, linear classifier",
        "NMI with labels",
    ]
    (band,) = panel.collections
    corners = band.get_paths()[0].vertices
    for k, low, high in ((4, 0.7, 0.9), (12, 0.7, 1.1)):
        heights = corners[corners[:, 0] == k, 1]
        assert (heights.min(), heights.max()) == pytest.approx((low, high))


def test_one_axes_alone_and_axes_of_from_estimator(fitted, data):
    panel = Figure().subplots()
    display = ClusteringDisplay.from_estimator(clone(fitted), data[0], ax=panel)
    assert list(display.ax_) == [panel]
    assert display.figure_ is panel.figure
    np.testing.assert_allclose(panel.lines[0].get_ydata(), fitted.nmi_curve_)


def test_docstrings_match_the_signatures(fitted, data):
    doc = ClassDoc(ClusteringDisplay)
    expected = list(inspect.signature(ClusteringDisplay).parameters)
    assert [entry.name for entry in doc["Parameters"]] == expected
    display = ClusteringDisplay.from_estimator(fitted, *data)
    assert {entry.name for entry in doc["Attributes"]} == vars(display).keys() - set(expected)
    for function in (ClusteringDisplay.from_estimator, ClusteringDisplay.plot):
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        assert [entry.name for entry in FunctionDoc(function)["Parameters"]] == names


def shown(axis):
    """The picture in axes."""
    [image] = axis.images
    return np.asarray(image.get_array())


@pytest.mark.parametrize("fit_first", [True, False])
def test_views_stand_beside_their_image(photos, fit_first):
    """Without changes views are the image; with a sure flip, its mirror image."""
    sure = {"crop_area": (1.0, 1.0), "crop_aspect": (1.0, 1.0), "jitter": 0.0, "gray": 0.0}
    for flip in (0.0, 1.0):
        model = shrunk(SimCLRTransformer, views=ImageViews(flip=flip, **sure))
        model = model.fit(photos[:20]) if fit_first else model
        display = ViewsDisplay.from_estimator(model, photos, n_samples=3, random_state=0)
        assert display.axes_.shape == (3, 3)
        assert hasattr(model, "encoder_") == hasattr(model, "n_features_in_") == fit_first
        expected = display.images[:, :, ::-1] if flip else display.images
        for view in display.views:
            np.testing.assert_allclose(view, expected, atol=1e-5)
        for i, row in enumerate(display.axes_):
            np.testing.assert_allclose(shown(row[0]), display.images[i])
            np.testing.assert_allclose(shown(row[2]), display.views[1][i])
    whole = (photos / 255).reshape(len(photos), -1)
    assert all(np.abs(whole - image.ravel()).sum(axis=1).min() < 1e-2 for image in display.images)


def test_views_are_the_methods_own_and_drawn_by_the_seed(photos):
    model, before = shrunk(DINOTransformer), torch.get_rng_state()
    first, again, other = (
        ViewsDisplay.from_estimator(model, photos[:4], n_samples=4, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert [view.shape[1] for view in first.views] == [16] * 2 + [8] * 4
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first.views[3], again.views[3])
    assert np.abs(first.views[3] - other.views[3]).max() > 0.05


@pytest.mark.parametrize(
    "method", [InpaintingTransformer, JigsawTransformer, SuperResolutionTransformer]
)
def test_what_is_made_stands_between_input_and_image(photos, method):
    model = shrunk(method).fit(photos[:40])
    display = PretextDisplay.from_estimator(model, photos[40:], n_samples=3, random_state=0)
    inputs, outputs, images = display.inputs, display.outputs, display.images
    assert outputs.shape == images.shape == (3, 32, 32, 3)
    if method is InpaintingTransformer:
        hole = (inputs != images).any(axis=3)
        assert 0.1 < hole.mean() < 0.4
        np.testing.assert_array_equal(outputs[~hole], images[~hole])
        assert (outputs[hole] != inputs[hole]).any(axis=1).mean() > 0.9
        colors = np.unique(inputs[hole], axis=0)
        np.testing.assert_allclose(colors, photos[:40].mean(axis=(0, 1, 2))[None] / 255, atol=1e-4)
    elif method is JigsawTransformer:
        cells = [
            batch.reshape(3, 2, 16, 2, 16, 3).transpose(0, 1, 3, 2, 4, 5).reshape(3, 4, -1)
            for batch in (inputs, outputs, images)
        ]
        for seen, made, real in zip(*(batch.tolist() for batch in cells), strict=True):
            assert sorted(seen) == sorted(made) == sorted(real)
        assert (cells[0] != cells[2]).any(axis=2).mean() > 0.5
    else:
        expected = images.reshape(3, 16, 2, 16, 2, 3).mean(axis=(2, 4))
        np.testing.assert_allclose(inputs, expected, atol=1e-5)
        assert 0 < np.abs(outputs - images).mean() < 0.2
    for i, row in enumerate(display.axes_):
        for axis, pictures in zip(row, (inputs, outputs, images), strict=True):
            np.testing.assert_allclose(shown(axis), pictures[i])
    titles = [axis.get_title() for axis in display.axes_[0]]
    assert titles == ["input", "output", "image"]
    torch.rand(1)  # whatever else draws in the process
    again = PretextDisplay.from_estimator(model, photos[40:], n_samples=3, random_state=0)
    np.testing.assert_array_equal(again.inputs, inputs)


@pytest.mark.parametrize("display_of", [PretextDisplay, ViewsDisplay])
def test_images_that_cannot_be_read_have_no_row(photos, display_of):
    views = ImageViews(n_views=2)  # as many columns as there are of the pretext task
    model = shrunk(InpaintingTransformer, on_error="skip", views=views)
    model.fit([*photos[:10], photos[10, :20]])
    X = [*photos[:5], "no such file.png"]
    axes = plt.figure().subplots(6, 3)
    display = display_of.from_estimator(model, X, n_samples=6, random_state=0, ax=axes)
    assert len(display.images) == 5
    np.testing.assert_array_equal(display.axes_, axes[:5])
    assert [len(axis.images) for axis in axes[:, 0]] == [1] * 5 + [0]
    with pytest.raises(ValueError, match=r"ax must be .* of shape \(6, 3\)"):
        display_of.from_estimator(model, X, n_samples=6, ax=axes[:5])
    with pytest.raises(ValueError, match="None of the 2 images drawn from X could be read"):
        display_of.from_estimator(model, 3 * X[5:], n_samples=2)


def test_methods_that_make_no_images_are_told_of(images):
    with pytest.raises(ValueError, match="SimCLRTransformer makes no images"):
        PretextDisplay.from_estimator(shrunk(SimCLRTransformer).fit(images), images)


def test_gray_images_and_files_have_views(images, photos, tmp_path):
    gray = ViewsDisplay.from_estimator(shrunk(SimCLRTransformer), images, n_samples=2)
    assert shown(gray.axes_[0, 0]).shape == (8, 8)
    paths = []
    for i, photo in enumerate(photos[:3]):
        paths.append(str(tmp_path / f"{i}.png"))
        plt.imsave(paths[-1], photo)
    model = shrunk(SimCLRTransformer, image_size=24)
    assert ViewsDisplay.from_estimator(model, paths, n_samples=3).images.shape == (3, 24, 24, 3)


def test_rows_have_nothing_to_show(data):
    rows = data[0].reshape(100, -1)
    with pytest.raises(ValueError, match="nothing to show of rows"):
        ViewsDisplay.from_estimator(shrunk(SimCLRTransformer), rows)
    with pytest.raises(ValueError, match="nothing to show of rows"):
        NeighborsDisplay.from_embeddings(rows, rows)


def test_neighbours_are_the_nearest_and_judged_by_labels(data):
    X, y = data
    embedding = X.reshape(100, -1)
    asking = [3, 50, 99]
    display = NeighborsDisplay.from_embeddings(embedding, X, y, queries=asking, n_neighbors=4)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    for i, sample in enumerate(asking):
        order = np.argsort(-cosine[sample])[:4]
        np.testing.assert_allclose(display.similarity[i], cosine[sample][order], atol=1e-5)
        assert display.right[i].tolist() == (y[order] == y[sample]).tolist()
        expected = X[[sample, *order]] / X.max()
        np.testing.assert_allclose(display.images[i, ..., 0], expected, atol=1e-5)
        for axis, picture in zip(display.axes_[i], expected, strict=True):
            np.testing.assert_allclose(shown(axis), picture, atol=1e-5)
        for axis, right in zip(display.axes_[i, 1:], display.right[i], strict=True):
            color = matplotlib.colors.to_rgba("tab:green" if right else "tab:red")
            assert axis.spines["left"].get_edgecolor() == color
        assert not display.axes_[i, 0].spines["left"].get_visible()
    assert 0 < display.right.mean() < 1


def test_equal_samples_are_neighbours_but_none_is_its_own(data):
    X = np.repeat(data[0][:10], 3, axis=0)
    y = np.arange(30)
    display = NeighborsDisplay.from_embeddings(X.reshape(30, -1), X, y, queries=30, n_neighbors=2)
    np.testing.assert_allclose(display.similarity, 1, atol=1e-5)
    assert not display.right.any()  # each has a label of its own


def test_neighbours_by_an_estimator(fitted, data):
    X, y = data
    display = NeighborsDisplay.from_estimator(fitted, X, y, queries=[1, 2], n_neighbors=3)
    expected = NeighborsDisplay.from_embeddings(
        fitted.transform(X), X, y, queries=[1, 2], n_neighbors=3
    )
    np.testing.assert_array_equal(display.similarity, expected.similarity)
    np.testing.assert_allclose(display.images, expected.images, atol=1e-6)
    patches = PatchKMeansTransformer(n_centroids=8, patch_size=4, random_state=0).fit(X)
    assert NeighborsDisplay.from_estimator(patches, X).right is None


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_maps_keep_groups_apart(method):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    embedding = rng.normal(size=(90, 10)) + 30 * np.eye(10)[y]
    display = EmbeddingDisplay.from_embeddings(embedding, y=y, method=method, random_state=0)
    centers = np.stack([display.positions[y == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(display.positions[:, None] - centers, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, y)
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["0", "1", "2"]


def test_maps_show_images_where_they_lie(fitted, data):
    X, y = data
    display = EmbeddingDisplay.from_estimator(
        fitted, X, y, method="pca", n_samples=60, random_state=0
    )
    boxes = [a for a in display.ax_.artists if hasattr(a, "xy")]
    assert 5 < len(boxes) <= 60
    at = {
        tuple(position): picture
        for position, picture in zip(display.positions, display.pictures, strict=True)
    }
    for box in boxes:
        picture = box.offsetbox.get_data()
        np.testing.assert_array_equal(picture, at[tuple(box.xy)].squeeze(-1))
    places = np.array([box.xy for box in boxes]) / np.ptp(display.positions, axis=0)
    apart = np.abs(places[:, None] - places).max(axis=2) + np.eye(len(places))
    assert apart.min() > 0.07


def test_umap_says_what_is_missing(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        EmbeddingDisplay.from_embeddings(data[0].reshape(100, -1), method="umap")
    with pytest.raises(ValueError, match='"pca", "tsne" or "umap"'):
        EmbeddingDisplay.from_embeddings(data[0].reshape(100, -1), method="mds")


def test_training_curves_are_those_of_the_estimator(images):
    model = shrunk(SimCLRTransformer, max_epochs=4).fit(images)
    display = TrainingDisplay.from_estimator(model)
    drawn = [line.get_ydata() for line in display.lines_]
    health = model.health_
    expected = [model.loss_curve_, health["chance_loss"], [row["lr"] for row in model.history_]]
    expected += [health["embedding_std"], health["effective_rank"]]
    for curve, values in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(curve, values)
    with pytest.raises(ValueError, match="three axes"):
        display.plot(Figure().subplots(1, 2))


def test_label_efficiency_is_a_comparison(data):
    X, y = data
    model = PatchKMeansTransformer(n_centroids=8, patch_size=4, random_state=0)
    display = LabelEfficiencyDisplay.from_estimator(
        {"patches": model}, X, y, n_labels=(1, 4), cv=2, probe=LinearProbe(C=0.1), random_state=0
    )
    drawn = {line.get_label(): line.get_ydata() for line in display.ax_.lines}
    rows = display.comparison.rows
    assert set(drawn) == {row["name"] for row in rows}
    for name, curve in drawn.items():
        np.testing.assert_allclose(curve, [row["mean"] for row in rows if row["name"] == name])


def test_axes_have_to_be_as_many_as_pictures(data):
    X, ax = data[0], Figure().subplots(2, 2)
    told = r"axes of shape \(2, 3\)"
    with pytest.raises(ValueError, match=told):
        ViewsDisplay.from_estimator(shrunk(SimCLRTransformer), X, n_samples=2, ax=ax)
    with pytest.raises(ValueError, match=told):
        NeighborsDisplay.from_embeddings(X.reshape(100, -1), X, queries=2, n_neighbors=2, ax=ax)


@pytest.mark.parametrize("name", inspection.__all__)
def test_displays_say_what_they_take(name):
    cls = getattr(inspection, name)
    doc = ClassDoc(cls)
    assert [p.name for p in doc["Parameters"]] == list(inspect.signature(cls).parameters)
    for function in ("from_estimator", "from_embeddings", "plot"):
        if hasattr(cls, function):
            taken = [p for p in inspect.signature(getattr(cls, function)).parameters if p != "self"]
            doc = FunctionDoc(getattr(cls, function))
            assert [n for p in doc["Parameters"] for n in p.name.split(", ")] == taken
            assert doc["Returns"]
