"""Patch k-means: its features beside slow ones, and what it takes, leaves and refuses."""

import pickle

import numpy as np
import pytest
import torch
from common import digits
from numpydoc.docscrape import ClassDoc
from PIL import Image
from sklearn.base import clone
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import euclidean_distances

from sklearn_ssl import Images, PatchKMeansTransformer
from sklearn_ssl.methods.baselines import patch_kmeans as module

KEPT = {"n_features_in_", "image_shape_", "centroids_", "whitening_"}


def small(**parameters):
    defaults = {"n_centroids": 16, "patch_size": 4, "n_patches": 500, "random_state": 0}
    return PatchKMeansTransformer(**(defaults | parameters))


def slow_features(model, images):
    """Features in float64, image by image, of bytes (n, h, w, c)."""
    whitening, size = model.whitening_.astype(np.float64), model.patch_size
    features = []
    for image in images:
        n_down, n_across = (side - size + 1 for side in image.shape[:2])
        patches = extract_patches_2d(image, (size, size)).reshape(n_down * n_across, size, size, -1)
        patches = patches.transpose(0, 3, 1, 2).reshape(len(patches), -1).astype(np.float64)
        patches -= patches.mean(axis=1, keepdims=True)
        patches /= np.sqrt(patches.var(axis=1, keepdims=True) + 10)
        distances = euclidean_distances(patches @ whitening, model.centroids_.astype(np.float64))
        near = np.maximum(0, distances.mean(axis=1, keepdims=True) - distances)
        near = near.reshape(n_down, n_across, -1)[:: model.stride, :: model.stride]
        # A part begins at the first place whose share of the side is that of the part.
        first = [
            [-(-part * n // model.pool) for part in range(1, model.pool)] for n in near.shape[:2]
        ]
        parts = [
            part.mean(axis=(0, 1))
            for strip in np.split(near, first[0], axis=0)
            for part in np.split(strip, first[1], axis=1)
        ]
        features.append(np.concatenate(parts))
    return np.array(features)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"patch_size": 6, "pool": 3}, {"stride": 3, "pool": 1}, {"epsilon": 1e-3, "pool": 4}],
)
def test_features_are_those_of_the_slow_way(parameters, photos, monkeypatch):
    photos = photos[:40, :, :25].copy()
    photos[0] = 7  # nothing but flat patches
    photos[1, 5:] = 255
    model = small(**parameters).fit(photos)
    expected = slow_features(model, photos)
    np.testing.assert_allclose(model.transform(photos), expected, atol=1e-3)
    monkeypatch.setitem(module.PAIRS, "cpu", 16 * 29 * 22 * 3)  # three images at once
    np.testing.assert_allclose(model.transform(photos), expected, atol=1e-3)


def test_rounding_stays_small_where_patches_are_centroids(photos):
    """Squared distances of zero round to both sides of it."""
    model = small(patch_size=6, n_centroids=200, pool=1).fit(photos)
    source = model._find(photos, reset=False)
    patches = model.set_params(n_patches=200)._random_patches(source, np.random.RandomState(1))
    model.centroids_ = patches @ model.whitening_
    features = model.transform(photos)
    np.testing.assert_allclose(features[:20], slow_features(model, photos[:20]), atol=1e-3)
    assert np.isfinite(features).all()


def test_patches_are_of_the_images_and_whitened(photos):
    """All patches there are, were fewer asked for than that, and not the same one twice."""
    images = photos[:5, :9, :7]
    model = small(n_patches=10**6, n_centroids=2).fit(images)
    source = model._find(images, reset=False)
    patches = model._random_patches(source, np.random.RandomState(0))
    assert patches.shape == (5 * 6 * 4, 48)
    expected = np.lib.stride_tricks.sliding_window_view(images, (4, 4), axis=(1, 2))
    expected = expected.reshape(len(patches), -1).astype(float)
    expected -= expected.mean(axis=1, keepdims=True)
    expected /= np.sqrt(expected.var(axis=1, keepdims=True) + 10)
    np.testing.assert_allclose(patches, expected, atol=1e-4)
    fewer = model.set_params(n_patches=60)._random_patches(source, np.random.RandomState(0))
    assert len(np.unique(fewer.round(4), axis=0)) == 60
    assert {tuple(patch) for patch in fewer.round(4)} <= {
        tuple(patch) for patch in patches.round(4)
    }


def test_patches_that_are_clustered_are_uncorrelated(photos):
    model = small(epsilon=1e-6, n_patches=5000, n_centroids=50).fit(photos)
    source = model._find(photos, reset=False)
    whitened = model._random_patches(source, np.random.RandomState(0)) @ model.whitening_
    centered = whitened - whitened.mean(axis=0)
    variances = np.linalg.eigvalsh(np.cov(centered.T))
    assert 0.9 < np.median(variances) <= variances.max() < 1.01
    np.testing.assert_allclose(model.whitening_, model.whitening_.T, atol=1e-3)
    nearest = euclidean_distances(whitened, model.centroids_, squared=True).min(axis=1)
    assert nearest.mean() < 0.9 * variances.sum()


@pytest.mark.parametrize("quadrant", range(4))
def test_content_shows_in_its_own_quadrant(quadrant, photos):
    down, across = divmod(quadrant, 2)
    model = small(patch_size=5).fit(photos)
    blank = np.full((1, 32, 32, 3), 128, np.uint8)
    image = blank.copy()
    image[0, 20 * down :, 20 * across :][:12, :12] = photos[0, :12, :12]
    features = model.transform(np.concatenate([blank, image])).reshape(2, 4, 16)
    changed = np.abs(features[1] - features[0]).max(axis=1) > 1e-3
    assert changed.tolist() == [part == quadrant for part in range(4)]


SCALES = {
    "floats": lambda X: (X / 255).astype(np.float32),
    "0..16": lambda X: X * (16 / 255),
    "int64": lambda X: X.astype(np.int64),
    "channels first": lambda X: np.ascontiguousarray(X.transpose(0, 3, 1, 2)),
    "tensor": torch.from_numpy,
    "list": list,
    "images": lambda X: [Image.fromarray(x) for x in X],
}


@pytest.fixture(scope="module")
def full_range(photos):
    """Photographs in which black and white both occur, so that every scale means the same."""
    photos = photos[:40].copy()
    photos[0, 0, 0], photos[0, 0, 1] = 0, 255
    return photos


@pytest.mark.parametrize("form", SCALES)
def test_features_do_not_depend_on_layout_and_scale(form, full_range):
    expected = small().fit_transform(full_range)
    given = SCALES[form](full_range)
    np.testing.assert_allclose(small().fit_transform(given), expected, atol=1e-4)


def test_flattened_images_are_images(full_range):
    model = small(input=Images(shape=(32, 32, 3)))
    features = model.fit_transform(full_range.reshape(len(full_range), -1))
    np.testing.assert_array_equal(features, small().fit_transform(full_range))
    assert model.image_shape_ == (32, 32, 3)


def test_files_give_what_their_images_give(full_range, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(len(full_range))]
    for path, image in zip(paths, full_range, strict=True):
        Image.fromarray(image).save(path)
    expected = small().fit_transform(full_range)
    np.testing.assert_array_equal(small().fit_transform(paths), expected)
    paths[3].write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"3.png"):
        small().fit(paths)
    features = small(input=Images(on_error="skip")).fit(paths).transform(paths)
    assert np.isnan(features[3]).all()
    assert np.isfinite(np.delete(features, 3, axis=0)).all()
    with pytest.raises(ValueError, match="At least 2 are needed"):
        small(input=Images(on_error="skip")).fit(paths[3:4] * 2)


def test_the_same_seed_gives_the_same_and_touches_nothing(photos):
    numpy_state, torch_state = pickle.dumps(np.random.get_state()), torch.get_rng_state()
    first, second, other = (small(random_state=seed).fit(photos) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.centroids_, second.centroids_)
    assert np.abs(first.centroids_ - other.centroids_).max() > 0.1
    assert pickle.dumps(np.random.get_state()) == numpy_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_pickles_and_attributes(photos):
    model = small().fit(photos)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.transform(photos), model.transform(photos))
    assert not any(isinstance(value, torch.Tensor) for value in vars(model).values())
    fitted = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert fitted == KEPT
    documented = {entry.name for entry in ClassDoc(PatchKMeansTransformer)["Attributes"]}
    assert documented == KEPT | {"feature_names_in_"}
    assert model.centroids_.dtype == model.whitening_.dtype == np.float32
    assert model.get_feature_names_out()[[0, -1]].tolist() == ["patchkmeans0", "patchkmeans63"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"patch_size": 9}, "patch_size=9 is larger than the images of X, 8 x 8 pixels.*at most 8"),
        ({"pool": 6}, "pool=6 is larger than the grid.*5 x 5.*patch_size=4.*at most 5"),
        ({"pool": 3, "stride": 4}, "pool=3 .*2 x 2.*stride=4.*at most 2"),
        ({"n_centroids": 501}, "n_centroids=501 .*500: n_patches=500.* 5000 patches.*at most 500"),
        (
            {"n_centroids": 6000, "n_patches": 9000},
            "n_centroids=6000 .*5000: n_patches=9000.*has 5000.*at most 5000",
        ),
        ({"n_centroids": 0}, "n_centroids.*Got 0"),
        ({"epsilon": 0}, "epsilon.*Got 0"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_impossible_input_raises_and_changes_nothing(parameters, words, images):
    model = small().fit(images)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=words):
        model.set_params(**parameters).fit(images)
    assert {name for name in before if vars(model)[name] is not before[name]} <= set(parameters)
    assert set(vars(model)) == set(before)


def test_rows_are_refused(images):
    with pytest.raises(ValueError, match=r"PatchKMeansTransformer needs images.*Images\(shape="):
        small().fit(images.reshape(len(images), -1))
    with pytest.raises(ValueError, match=r"\(8, 8, 1\)"):
        small().fit(images).transform(images[:, :7])


def test_flat_images_give_finite_numbers():
    flat = np.repeat(np.arange(40, dtype=np.uint8), 100).reshape(40, 10, 10)
    model = small()
    features = model.fit_transform(flat)
    assert np.isfinite(features).all()
    assert np.isfinite(model.transform(np.eye(10, dtype=np.uint8)[None] * 255)).all()


def test_equal_channels_give_finite_numbers(photos):
    """Two thirds of the patches' variances are zero, some of them below by rounding."""
    gray = np.repeat(photos[:40, :, :, :1], 3, axis=3)
    assert np.isfinite(small(epsilon=1e-12, n_patches=5000).fit_transform(gray)).all()


@pytest.mark.slow
def test_few_labels_are_enough_for_digits():
    """Nine labels a class: features beat raw pixels, over ten draws of the labels."""
    images, labels = digits()
    features = small(n_centroids=100, n_patches=10_000).fit_transform(images)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    pixels = images.reshape(len(images), -1) / 16
    scores = {"features": [], "pixels": []}
    for draw in range(10):
        chosen = np.random.default_rng(draw).permutation(len(images))[:90]
        for name, X in (("features", features), ("pixels", pixels)):
            probe = LogisticRegression(max_iter=1000).fit(X[chosen], labels[chosen])
            scores[name].append(probe.score(X, labels))
    assert np.mean(scores["features"]) > np.mean(scores["pixels"]) + 0.02


def test_clone_and_set_output(photos):
    model = clone(small()).set_output(transform="pandas").fit(photos)
    assert model.transform(photos[:2]).columns[0] == "patchkmeans0"
