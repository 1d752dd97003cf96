"""What X may be, and what is said where it may not."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
import torch
from common import each_image_method, shrunk

from data.helpers import simclr
from sklearn_ssl import Images

# At this learning rate the rounding of a scale is not blown up by the steps that follow.
LOW = 1e-4


def test_fit_on_one_layout_transforms_another(full_range, embedded):
    model = simclr(lr=LOW).fit(full_range)
    first = np.ascontiguousarray(full_range.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(model.transform(first), embedded, rtol=1e-4, atol=1e-5)


def test_bfloat16_tensors(photos):
    X = torch.from_numpy(photos).bfloat16()
    assert simclr().fit_transform(X).shape[0] == len(photos)


def test_gray_images_in_both_layouts(images):
    embedded = simclr().fit_transform(images)
    with_channel = simclr().fit(images[..., None])
    assert with_channel.image_shape_ == (8, 8, 1)
    np.testing.assert_array_equal(with_channel.transform(images[..., None]), embedded)
    np.testing.assert_array_equal(with_channel.transform(images), embedded)
    flat = simclr(input=Images(shape=(8, 8))).fit(images.reshape(len(images), -1))
    np.testing.assert_array_equal(flat.transform(images.reshape(len(images), -1)), embedded)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_any_channel_count(photos, channels):
    X = np.concatenate([photos, photos, photos], axis=3)[:40, ..., :channels]
    model = simclr().fit(X)
    assert model.image_shape_ == (32, 32, channels)
    assert np.isfinite(model.transform(X)).all()


@pytest.mark.parametrize(
    "X", [np.eye(40, 6) > 0, np.arange(240, dtype=np.int8).reshape(40, 6) % 7], ids=["bool", "int8"]
)
def test_rows_of_other_types(X):
    assert simclr().fit_transform(X).dtype == np.float32


def test_one_sample_cannot_be_trained_on(images):
    model = simclr().fit(images)
    for fit in (model.partial_fit, model.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match=r"1 sample\(s\).*minimum of 2 is required"):
            fit(images[:1])


BAD = {
    "empty": (np.empty((0, 8, 8)), r"0 sample\(s\)"),
    "no pixels": (np.empty((5, 0, 8)), "have no pixels"),
    "one sample": (np.ones((1, 8, 8)), r"1 sample\(s\).*minimum of 2 is required"),
    "5-D": (np.ones((5, 2, 2, 2, 2)), r"5 dimensions.*\(n, h, w, c\)"),
    "1-D": (np.ones(5), "Expected 2D array, got 1D array"),
    "scalar": (3.0, "X is 3.0, of type float. Give a list"),
    "none": (None, "X is None, of type NoneType. Give a list"),
    "text": (
        np.array([["a", "b"], ["c", "d"]]),
        "Column 0 of X holds text, such as 'a' in sample 0",
    ),
    "no paths": (
        ["a.png", "b.png"],
        r"2 of the 2 images.*\n  0, 'a.png': no such file.*\n.*\nRelative .*working directory",
    ),
    "ragged": ([[1, 2], [1]], "samples of different shapes"),
    "complex": (np.ones((5, 8, 8), complex), "[Cc]omplex"),
    "equal pixels": (np.full((5, 8, 8), 7.0), "Every value in X equals 7.0"),
    "equal rows": (np.zeros((5, 4)), "Every value in X equals 0"),
    "too large": (np.array([[1e308, 1], [-1e308, 2], [1e308, 3]]), "too large to standardize"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input(bad):
    X, message = BAD[bad]
    model = simclr()
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert vars(model) == vars(simclr())


@pytest.mark.parametrize("given", ["text", Images])
def test_a_wrong_input_names_what_describes_x(given):
    with pytest.raises(ValueError, match=r"Images'.*Table'.*Text'.*Got"):
        simclr(input=given).fit([["a text"]])


def test_sparse_input():
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        simclr().fit(scipy.sparse.csr_array(np.eye(5)))


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_not_finite_names_the_sample(images, value, name, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.data.sources.CHUNK_VALUES", 7 * 64)  # parts of 7 samples
    X = images.astype(np.float32)
    X[[17, 30], 3, 3] = value
    with pytest.raises(ValueError, match=f"contains {name}: sample 17 is the first"):
        simclr().fit(X)
    model = simclr().fit(images)
    with pytest.raises(ValueError, match=f"contains {name}: sample 17 is the first"):
        model.transform(X)


@pytest.mark.parametrize("image_shape", [(64,), (2, 2, 2, 8), (8, "a"), (-8, -8), (8.0, 8)])
def test_no_image_shape(images, image_shape):
    with pytest.raises(
        ValueError, match=r"shape of Images must be two or three positive ints.* Got \("
    ):
        simclr(input=Images(shape=image_shape)).fit(images.reshape(len(images), -1))


@pytest.mark.parametrize("image_shape", [(9, 9, 1), (8, 9), (8, 8, 3)])
def test_wrong_image_shape(images, image_shape):
    with pytest.raises(ValueError, match=r"Images\(shape=.* needs \d+ columns, X has 64"):
        simclr(input=Images(shape=image_shape)).fit(images.reshape(len(images), -1))


def test_wrong_shape_at_transform(images, photos):
    model = simclr().fit(photos)
    for method in (model.transform, model.score, model.partial_fit):
        with pytest.raises(ValueError, match=r"\(16, 16, 3\).*fitted on \(32, 32, 3\). Resize"):
            method(photos[:, ::2, ::2])
        with pytest.raises(ValueError, match=r"X is tabular data.*set input=Images\(shape="):
            method(photos.reshape(len(photos), -1))
    rows = images.reshape(len(images), -1)
    with pytest.raises(ValueError, match=r"fitted on tabular data with 64 features"):
        simclr().fit(rows).transform(images)
    with pytest.raises(
        ValueError, match=r"X has 63 features, but SimCLRTransformer is expecting 64"
    ):
        simclr().fit(rows).transform(rows[:, 1:])


@each_image_method
def test_failed_fit_leaves_the_fit_before(method, images):
    model = shrunk(method).fit(images)
    before = model.transform(images)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(images > 15, np.nan, images)[:, :4])
    np.testing.assert_array_equal(model.transform(images), before)


@each_image_method
def test_methods_for_images_only_raise(method, images):
    rows = images.reshape(len(images), -1)
    if "table" in method.default_views:
        assert shrunk(method).fit_transform(rows).shape == (200, 256)
        return
    with pytest.raises(ValueError, match=r"images, X holds tabular data with 64 .*Images\(shape="):
        shrunk(method).fit(rows)
    assert shrunk(method, input=Images(shape=(8, 8))).fit(rows).image_shape_[:2] == (8, 8)


PEAK = """
import sys
import numpy as np, torch
from torch import nn
from sklearn_ssl import SimCLRTransformer

def resident(field):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024

torch.set_num_threads(1)
n = 246_000_000 // (3072 * np.dtype(sys.argv[2]).itemsize)  # 246 MB
X = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
X = X.astype(sys.argv[2], copy=False)
model = SimCLRTransformer(backbone=lambda shape: nn.AvgPool2d(8), max_epochs=1, projection_dim=8)
model.fit(X[:600]).transform(X[:600])  # what libraries load at first use
open("/proc/self/clear_refs", "w").write("5")  # forget the highest until now
before = resident("VmRSS")
getattr(model, sys.argv[1])(X)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self")
@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        pytest.param("fit", "uint8", marks=pytest.mark.exhaustive),
        pytest.param("transform", "uint8", marks=pytest.mark.slow),
        pytest.param("fit", "float32", marks=pytest.mark.slow),
    ],
)
@pytest.mark.exhaustive
def test_images_are_not_copied(call, dtype):
    """X takes 246 MB, all else up to 130 MB; a float32 copy of bytes would take 984 MB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, call, dtype], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 190
