"""Reading leaves the estimator as it is; specs describe what fit saw."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

import sklearn_ssl
from data.helpers import simclr
from sklearn_ssl import Images, Table

WINE = load_wine(as_frame=True).data[:64]


@pytest.mark.parametrize("kind", ["images", "frame", "list"])
def test_reading_does_not_change_the_estimator(kind, images, monkeypatch):
    X = {"images": images, "frame": WINE, "list": [*images.astype(np.uint8)]}[kind]
    model = simclr()
    before = dict(vars(model))
    source = model._find(X, reset=True, min_samples=2).read()
    assert vars(model) == before
    model.fit(X)
    fitted = dict(vars(model))
    again = model._find(X, reset=False).read()
    assert vars(model) == fitted
    assert source.spec.shape == again.spec.shape == model._spec.shape


def test_attributes_of_one_kind_replace_those_of_the_other(images):
    model = simclr().fit(WINE)
    assert (model.n_features_in_, list(model.feature_names_in_)) == (13, list(WINE.columns))
    assert not hasattr(model, "image_shape_")
    model.fit(images)
    assert (model.n_features_in_, model.image_shape_) == (64, (8, 8, 1))
    assert not hasattr(model, "feature_names_in_")
    model.fit(WINE.to_numpy())
    assert not hasattr(model, "image_shape_")


def test_columns_of_a_cached_fit_are_those_of_x(tmp_path):
    """Names are not in the key of a fit."""
    model = simclr(memory=tmp_path, random_state=0).fit(WINE)
    other = WINE.rename(columns=str.upper)
    cached = simclr(memory=tmp_path, random_state=0).fit(other)
    np.testing.assert_array_equal(cached.transform(other), model.transform(WINE))
    assert list(cached.feature_names_in_) == list(other.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        cached.transform(WINE)


def test_specs_are_saved(images, tmp_path):
    path = tmp_path / "model.safetensors"
    for X in (WINE, images):
        model = simclr().fit(X)
        model.save(path)
        loaded = sklearn_ssl.load(path)
        assert repr(loaded._spec) == repr(model._spec)
    frame = pd.DataFrame({"image": list(images)})
    assert simclr().fit(frame)._spec.listed


@pytest.mark.parametrize(
    ("described", "other"), [(Table(), "images"), (Images(shape=(8, 8)), "table")]
)
def test_other_kinds_than_described_are_refused(described, other, images):
    X = images if other == "images" else WINE
    match = "is for tabular data" if other == "images" else "needs 64 columns, X has 13"
    with pytest.raises(ValueError, match=match):
        simclr(input=described).fit(X)
