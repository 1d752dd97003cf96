"""Parameters: constraints by annotations, and parameters in parameters."""

import inspect
from numbers import Integral, Real
from typing import Literal

import joblib
import pytest
from sklearn.base import BaseEstimator

from sklearn_ssl import Device, FitCache, Images, SimCLRTransformer, Table
from sklearn_ssl.parameters import Auto, Count, Positive, between, constraints_of, parameters


@parameters
class Declared(BaseEstimator):
    """Has a parameter of each kind."""

    count: Auto | Count = "auto"
    share: between(0, 1, "left") = 0.5
    scale: Literal[2, 4] = 2
    name: Literal["a", "b"] | None = None
    flag: bool = False
    height: Positive = 1.0


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("count", ["auto", 1, 7], [0, 1.5, "all", None]),
        ("share", [0, 0.99], [1, -0.1, "auto"]),
        ("scale", [2, 4], [3, 2.5, "2"]),
        ("name", ["a", None], ["c", 1]),
        ("flag", [True, False], [1, "yes"]),
        ("height", [0.1, 3], [0, -1]),
    ],
)
def test_annotations_are_constraints(name, good, bad):
    for value in good:
        Declared(**{name: value})._validate_params()
    for value in bad:
        with pytest.raises(ValueError, match=f"The {name!r} parameter of Declared must be"):
            Declared(**{name: value})._validate_params()


def test_signatures_have_plain_types():
    signature = str(inspect.signature(Declared))
    assert "Annotated" not in signature
    assert "object at" not in signature
    assert inspect.signature(Declared).parameters["height"].annotation is float
    assert "object at" not in str(inspect.signature(SimCLRTransformer))


def test_plain_types_are_constraints():
    assert constraints_of(int | float | None) == [Integral, Real, None]
    assert constraints_of(bool) == ["boolean"]


def test_plain_values_become_recipes():
    simclr = SimCLRTransformer(device="cpu", memory="fits")
    simclr.set_params(input__size=32, device__precision="bfloat16", memory__hash_files=True)
    assert simclr.input == Images(size=32)
    assert simclr.device == Device("cpu", precision="bfloat16")
    assert simclr.memory == FitCache("fits", hash_files=True)
    assert SimCLRTransformer().set_params(input__standardize=False).input == Table(False)
    memory = joblib.Memory(None)
    assert SimCLRTransformer(memory=memory).set_params(memory__checkpoint_minutes=1).memory == (
        FitCache(memory, checkpoint_minutes=1)
    )


def test_invalid_plain_values_ask_for_a_recipe():
    with pytest.raises(ValueError, match=r"memory=None has no parameter 'hash_files'.*FitCache"):
        SimCLRTransformer().set_params(memory__hash_files=True)
    with pytest.raises(ValueError, match=r"views='auto' has no parameter 'hflip'.*ImageViews"):
        SimCLRTransformer().set_params(views__hflip=0.0)
    with pytest.raises(ValueError, match="Invalid parameter 'cach' for input=Images"):
        SimCLRTransformer(input=Images()).set_params(input__cach="a")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("image_size", r"Set input=Images\(size=...\)"),
        ("on_error", r"Set input=Images\(on_error=...\)"),
        ("precision", r"Set device=Device\(precision=...\)"),
        ("learning_rate", "Did you mean 'lr'"),
    ],
)
def test_usual_names_are_suggested(name, hint):
    with pytest.raises(TypeError, match=hint):
        SimCLRTransformer(**{name: 1})


@pytest.mark.parametrize(
    ("recipe", "name", "meant"),
    [(Images, "siz", "size"), (Table, "standardise", "standardize"), (Device, "compil", "compile")],
)
def test_recipes_suggest_names(recipe, name, meant):
    with pytest.raises(TypeError, match=f"{name!r}. Did you mean {meant!r}"):
        recipe(**{name: True})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Images(size=0), 'size must be "auto" or an int, at least 1. Got 0'),
        (lambda: Images(on_error="pass"), "on_error must be one of .* Got 'pass'"),
        (lambda: Images(shape=8), r"shape must be \(height, width\).* Got 8"),
        (lambda: Images(cache=1), "cache must be a path or None. Got 1"),
        (lambda: Images(n_jobs="all"), "n_jobs must be an int or None. Got 'all'"),
        (lambda: Device(precision="int8"), "precision must be one of .* Got 'int8'"),
        (lambda: Device(1), "name must be a str or torch.device. Got 1"),
        (lambda: Device(compile="yes"), "compile must be a bool. Got 'yes'"),
        (lambda: FitCache(1), "path must be a path or joblib.Memory. Got 1"),
        (lambda: FitCache("a", checkpoint_minutes=-1), "checkpoint_minutes must be at least 0"),
        (lambda: FitCache("a", hash_files=1), "hash_files must be a bool. Got 1"),
    ],
)
def test_bad_values_of_recipes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
