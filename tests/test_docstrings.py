"""Docstrings say what the code does: parameters, attributes, and public names."""

import inspect

import pytest
from common import ALL_METHODS, IMAGE_METHODS, TEXT_METHODS, sentences, shrunk
from numpydoc.docscrape import ClassDoc, FunctionDoc

from sklearn_ssl import (
    EncoderTransformer,
    Images,
    KNNProbe,
    LinearProbe,
    PatchKMeansTransformer,
    Table,
    Text,
    metrics,
)
from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.views import (
    CombinedViews,
    ImageViews,
    MultiCrop,
    TableViews,
    TextViews,
    Tiles,
)

each_method = pytest.mark.parametrize("method", ALL_METHODS)


def documented(section):
    return [name for entry in section for name in entry.name.split(", ")]


PROBES = [KNNProbe, LinearProbe]
VIEWS = [CombinedViews, ImageViews, MultiCrop, TableViews, TextViews, Tiles]
OTHERS = [EncoderTransformer, PatchKMeansTransformer]
INPUTS = [Images, Table, Text]


@pytest.mark.parametrize("cls", [*ALL_METHODS, *OTHERS, *PROBES, *VIEWS, *INPUTS])
def test_parameters_match_the_signature(cls):
    doc = ClassDoc(cls)
    assert sorted(documented(doc["Parameters"])) == sorted(inspect.signature(cls).parameters)
    assert doc["Summary"]
    assert len(doc["Summary"]) == 1
    assert "{" not in " ".join(documented(doc["Parameters"]))


@pytest.mark.parametrize("method", [*ALL_METHODS, *OTHERS, *PROBES])
def test_defaults_match_the_signature(method):
    for entry in ClassDoc(method)["Parameters"]:
        default = inspect.signature(method).parameters[entry.name].default
        stated = entry.type.rsplit("default=", 1)[1]
        assert stated == (f'"{default}"' if isinstance(default, str) else str(default))


@each_method
def test_documented_attributes_exist(method, images):
    of_images = method in IMAGE_METHODS
    model = shrunk(method, input=Images(shape=(8, 8)) if of_images else "auto")
    rows = sentences()[0][:100] if method in TEXT_METHODS else images.reshape(len(images), -1)
    model.fit(images if of_images else rows)
    names = documented(ClassDoc(method)["Attributes"])
    missing = {name for name in names if not hasattr(model, name)}
    # Names are those of data frames.
    assert missing == {"feature_names_in_"} | (set() if of_images else {"image_shape_"})
    fitted = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert fitted <= set(names)


@each_method
def test_methods_document_parameters_and_returns(method):
    for name in ("fit", "partial_fit", "transform", "score", "get_feature_names_out"):
        function = getattr(method, name)
        doc = FunctionDoc(function)
        expected = [p for p in inspect.signature(function).parameters if p != "self"]
        assert documented(doc["Parameters"]) == expected
        assert doc["Returns"]


@pytest.mark.parametrize("method", [*ALL_METHODS, *OTHERS])
def test_example_and_reference_are_there(method):
    assert ">>>" in method.__doc__
    assert "https://" in method.__doc__
    assert "Shared" not in method.__doc__
    assert "{shared" not in method.__doc__


@pytest.mark.parametrize("name", metrics.__all__)
def test_metrics_document_parameters_and_returns(name):
    function = getattr(metrics, name)
    doc = FunctionDoc(function)
    stated = {n: p.type for p in doc["Parameters"] for n in p.name.split(", ")}
    assert list(stated) == list(inspect.signature(function).parameters)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty and stated[parameter.name] != "Ignored":
            default = parameter.default
            expected = f'"{default}"' if isinstance(default, str) else str(default)
            assert stated[parameter.name].endswith(f"default={expected}")
    assert doc["Returns"]
    assert doc["Examples"]


def test_the_base_documents_itself():
    assert sorted(documented(ClassDoc(SSLTransformer)["Parameters"])) == sorted(
        inspect.signature(SSLTransformer).parameters
    )
