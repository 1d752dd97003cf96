"""Texts: which strings are texts, and what is said where X holds none."""

import builtins
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import IMAGE_METHODS, METHODS, sentences, shrunk, text_of
from PIL import Image
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import sklearn_ssl
from data.helpers import simclr
from sklearn_ssl import (
    EncoderTransformer,
    FineTuneClassifier,
    Images,
    LinearProbe,
    SimCLRTransformer,
    Table,
    Text,
    compare,
)

TEXTS = sentences(20)[0]
ENCODER = EncoderTransformer(random_state=0)


@pytest.fixture(scope="module")
def model():
    return simclr().fit(TEXTS)


@pytest.fixture(scope="module")
def embedded(model):
    return model.transform(TEXTS)


def test_defaults_of_texts(model):
    assert (model._spec.kind, model.backbone_) == ("text", "small_bert")
    assert (model.n_features_in_, model._spec.shape[0]) == (1, 128)
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(model, "image_shape_")


FORMS = {
    "tuple": tuple,
    "array": np.array,
    "StringDType": lambda X: np.array(X, dtype=np.dtypes.StringDType()),
    "objects": lambda X: np.array(X, dtype=object),
    "column": lambda X: np.array(X)[:, None],
    "series": pd.Series,
    "string dtype": lambda X: pd.Series(X, dtype="string", index=range(5, 5 + len(X))),
    "categories": lambda X: pd.Series(X, dtype="category"),
    "polars": pl.Series,
    "str subclass": lambda X: [np.str_(text) for text in X],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_texts(form, model, embedded):
    X = FORMS[form](TEXTS)
    np.testing.assert_array_equal(model.transform(X), embedded)
    np.testing.assert_array_equal(simclr().fit(X).transform(TEXTS), embedded)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_frame_of_one_column(frame, embedded):
    X = frame({"description": TEXTS})
    model = simclr().fit(X)
    assert model.feature_names_in_.tolist() == ["description"]
    np.testing.assert_array_equal(model.transform(X), embedded)
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame({"title": TEXTS}))
    named = make_pipeline(model).set_output(transform="pandas").transform(X)
    assert named.columns[0] == "simclr0"


def refused(X, match, cls=ValueError, **parameters):
    with pytest.raises(cls, match=match):
        EncoderTransformer(random_state=0, **parameters).fit(X)


def test_strings_are_texts_unless_most_are_paths(tmp_path, monkeypatch):
    """Of images, by their extension, or of files that exist."""
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]
    for path in paths:
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(path)
        os.link(path, path.removesuffix(".png"))
    bare = [path.removesuffix(".png") for path in paths]
    for X in (paths, bare, [*paths[:2], TEXTS[0], None][:3], np.array(paths), pd.Series(paths)):
        given = EncoderTransformer(random_state=0, input=Images(on_error="skip")).fit(X)
        assert given._spec.kind == "image"
        if len(X) == 4:
            assert clone(ENCODER).fit(X)._spec.kind == "image"
    assert clone(ENCODER).fit([*TEXTS, "screenshot.png"])._spec.kind == "text"
    assert clone(ENCODER).fit([*TEXTS, *paths])._spec.kind == "text"
    refused(["a.png", "b.png"], r"2 of the 2 images.*\n  0, 'a.png': no such file")
    refused(["a.png", "b c d"], r"2 of the 2 images")
    refused([None, *paths, "no.jpg"], r"no such file")
    assert clone(ENCODER).set_params(input=Text()).fit(paths)._spec.kind == "text"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert clone(ENCODER).fit(["data", "", "x" * 9999, "a\0b", "a/b"])._spec.kind == "text"


def test_a_vote_looks_at_all_parts_of_long_lists():
    assert clone(ENCODER).fit(["a.png"] * 400 + ["words here"] * 600)._spec.kind == "text"
    refused(["words here"] * 400 + ["a.png"] * 600, "no such file|could not be read")


def test_after_fit_x_is_what_it_was_in_fit(model, images):
    assert model.transform(["a.png", "b.jpg"]).shape == (2, 512)
    of_images = simclr().fit(images)
    with pytest.raises(ValueError, match="fitted on values from 0 to 16"):
        of_images.transform(TEXTS)
    with pytest.raises(ValueError, match="could not be read"):
        simclr().fit(images.astype(np.uint8)).transform(TEXTS)
    with pytest.raises(ValueError, match=r"X, of type ndarray and shape \(200, 8, 8\), holds no"):
        model.transform(images)
    with pytest.raises(ValueError, match="SimCLRTransformer was fitted on texts"):
        model.transform(images.reshape(200, -1))
    with pytest.raises(ValueError, match=r"X holds texts, but .* fitted on images.*Pass images"):
        simclr().fit(images).set_params(input=Text()).transform(TEXTS)


BAD = {
    "missing": ([*TEXTS[:3], None, *TEXTS], 'sample 3 of X is missing, None.*replace them by ""'),
    "NaN": ([*TEXTS[:3], np.nan], "sample 3 of X is missing, nan"),
    "NA": (pd.Series([*TEXTS[:3], None], dtype="string"), "sample 3 of X is missing, <NA>"),
    "bytes": ([*TEXTS[:2], b"abc"], r"sample 2 of X is of bytes: b'abc'. .*text.decode\(\)"),
    "number": ([*TEXTS[:2], 3.5], "sample 2 of X is 3.5, of type float. Pass a list of strings"),
    "surrogate": ([*TEXTS[:2], "a\ud83d"], "sample 2 of X holds half of a surrogate pair"),
    "words": ([["two", "words"], ["and", "three"]], r"sample 0 of X is a list of.*\" \".join"),
    "labels": ((TEXTS, [1] * len(TEXTS)), "sample 0 of X is a list of strings.*pass labels as y"),
    "all empty": (["", "", ""], "All texts of X are empty"),
    "all missing": ([None] * 4, "X is a column of missing values alone"),
    "missing column": (pd.Series([pd.NA] * 4, dtype="string"), "X is a column of missing values"),
    "one": (TEXTS[0], r"X is one text, .*Give a list of texts: \[text\]"),
    "one path": ("photos/cats", "X is one path, 'photos/cats'.*image_paths"),
    "one sample": (TEXTS[:1], r"Found 1 sample\(s\).*minimum of 2 is required by Encoder"),
    "columns": (pd.DataFrame({"a": TEXTS, "b": TEXTS}), "Column 'a' of X holds text"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_texts(bad):
    refused(*BAD[bad])


def test_other_input_than_described(images):
    refused(
        images, r"shape \(200, 8, 8\), holds no texts, but input=Text\(.*is for texts", input=Text()
    )
    refused([3, 4], r"input=Text\(.*sample 0 of X is 3, of type int", input=Text())
    refused(TEXTS, "X lists images, but input=Table", input=Table())
    refused(TEXTS, "could not be read", input=Images())


@pytest.mark.parametrize("method", [m for m in METHODS if "text" not in m.default_views][:3])
def test_methods_for_other_data_say_so(method):
    noun = "images" if method in IMAGE_METHODS else "tabular data"
    with pytest.raises(ValueError, match=rf"needs {noun}.*, X holds texts.*BERTTransformer"):
        shrunk(method).fit(TEXTS)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"vocab_size": 258}, "vocab_size must be an int, at least 259. Got 258"),
        ({"max_length": 0}, "max_length must be an int, at least 1. Got 0"),
        ({"max_length": True}, "max_length must be an int"),
        ({"lowercase": "no"}, "lowercase must be a bool. Got 'no'"),
    ],
)
def test_bad_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        Text(**parameters)


def embed(X, **settings):
    return EncoderTransformer(random_state=0, input=Text(**settings)).fit(TEXTS).transform(X)


def test_odd_texts_have_an_embedding():
    odd = [
        "",
        " ",
        "\n",
        "\0",
        "[MASK] [PAD]",
        "日本語 \U0001f600\U0010ffff",
        "x" * 10_000,
        "e\u0301",
    ]
    embedding = embed(odd)
    assert np.isfinite(embedding).all()
    assert (embedding[0] == 0).all()
    assert len(np.unique(embedding, axis=0)) == len(odd)
    np.testing.assert_array_equal(embedding[-1], embed(["\u00e9"])[0])  # one way to write it


def test_lowercase():
    assert (embed(["Some Words"]) == embed(["some words"])).all()
    first, second = (embed([text], lowercase=False) for text in ("Some Words", "some words"))
    assert not np.allclose(first, second)


def test_long_texts_are_cut_off(capsys):
    long = " ".join(TEXTS)
    cut = embed([long, long + " and more"], max_length=30)
    np.testing.assert_array_equal(cut[0], cut[1])
    with pytest.warns(UserWarning, match=r"\d\d% of the tokens .* max_length=4 of input=Text"):
        EncoderTransformer(input=Text(max_length=4)).fit(TEXTS)
    EncoderTransformer(verbose=1).fit(TEXTS)
    assert "tokens on average; 0% are cut off" in capsys.readouterr().out


def test_embedding_of_a_text_does_not_depend_on_others(model, embedded):
    """Though texts of a batch are padded to the same length."""
    alone = np.concatenate([model.transform([text]) for text in TEXTS[:10]])
    np.testing.assert_allclose(embedded[:10], alone, rtol=1e-4, atol=1e-6)
    # A text of 128 tokens in the batch, after which each is padded to that.
    longer = model.transform([*TEXTS[:10], "word " * 200])
    np.testing.assert_allclose(longer[:10], alone, rtol=1e-4, atol=1e-6)


def test_seen_texts_are_found(model):
    assert model.has_seen([TEXTS[3], "never seen", TEXTS[0].upper()]).tolist() == [1, 0, 1]
    model = clone(model).fit(TEXTS[:30]).partial_fit(TEXTS[30:60])
    assert model.has_seen(TEXTS).sum() == 60
    assert model._scaling == clone(model).fit(TEXTS[:30])._scaling  # the vocabulary of the first


def test_fits_are_cached(tmp_path, monkeypatch):
    cached = simclr(memory=tmp_path).fit(TEXTS)
    expected = cached.transform(TEXTS)
    monkeypatch.setattr("sklearn_ssl.base.train", None)  # nothing is trained
    again = simclr(memory=tmp_path).fit(pd.DataFrame({"text": TEXTS}))
    np.testing.assert_array_equal(again.transform(pd.DataFrame({"text": TEXTS})), expected)
    assert list(again.feature_names_in_) == ["text"]
    for changed in (
        {"X": TEXTS[1:]},
        {"X": [TEXTS[0] + TEXTS[1], "", *TEXTS[2:]]},
        {"input": Text(vocab_size=400)},
        {"input": Text(max_length=60)},
        {"input": Text(lowercase=False)},
    ):
        with pytest.raises(TypeError, match="NoneType"):
            simclr(memory=tmp_path, **{k: v for k, v in changed.items() if k != "X"}).fit(
                changed.get("X", TEXTS)
            )


def test_warm_start_and_score(model):
    first, score = clone(model).fit(TEXTS), model.score(TEXTS)
    assert score == model.score(TEXTS) == first.score(TEXTS)
    went_on = first.set_params(warm_start=True).fit([*TEXTS[:50], "of others"])
    assert went_on.n_iter_ == 2
    assert went_on._spec.shape == model._spec.shape
    assert went_on.score(TEXTS) != score


def test_a_backbone_of_the_user(tmp_path):
    from torch import nn

    def build(shape):
        return nn.Embedding(shape[1], 7)

    model = simclr(backbone=build, max_epochs=1).fit(TEXTS)
    assert model.transform(["", *TEXTS]).shape == (101, 7)
    assert (model.transform([""]) == 0).all()  # the mean is without padding
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = sklearn_ssl.load(path, backbone=build)
    np.testing.assert_array_equal(loaded.transform(TEXTS), model.transform(TEXTS))
    with pytest.raises(
        ValueError, match=r"backbone='resnet18' is not for texts. Choose small_bert"
    ):
        simclr(backbone="resnet18").fit(TEXTS)
    with pytest.raises(ValueError, match="backbone='small_bert' is for texts"):
        simclr(backbone="small_bert").fit(np.eye(10))


@pytest.mark.slow
def test_other_estimators_take_texts():
    X, y = sentences(40)
    probe = make_pipeline(EncoderTransformer(random_state=0), LinearProbe(random_state=0))
    assert probe.fit(X, y).score(X, y) > 0.5
    tuned = FineTuneClassifier(shrunk(SimCLRTransformer), max_epochs=6, random_state=0).fit(X, y)
    assert tuned.score(X, y) > 0.5


@pytest.mark.slow
def test_compare_of_texts():
    X, y = sentences(40)
    models = {"simclr": simclr(), "random": EncoderTransformer(random_state=0)}
    table = compare(models, X, y, cv=2, random_state=0).rows
    assert [row["name"] for row in table if row["is_baseline"]] == [
        *("TF-IDF", "PCA", "untrained small_bert")
    ]
    scores = {row["name"]: row["mean"] for row in table}
    assert scores["TF-IDF"] > 0.45  # chance level 0.2


@pytest.mark.slow
def test_to_onnx(model, embedded, tmp_path):
    """From ids, of a tokenizer that is in the file."""
    import onnxruntime
    import tokenizers

    path = tmp_path / "model.onnx"
    model.to_onnx(path)
    session = onnxruntime.InferenceSession(path)
    described = session.get_modelmeta().custom_metadata_map["tokenizer"]
    tokenizer = tokenizers.Tokenizer.from_str(described)
    for length in (None, 1):
        texts = [f" {text}" for text in TEXTS[:4]] if length is None else [" a"]
        lists = [coded.ids[:128] for coded in tokenizer.encode_batch(texts)]
        ids = np.zeros((len(lists), max(map(len, lists))), np.int64)
        for row, tokens in zip(ids, lists, strict=True):
            row[: len(tokens)] = tokens
        result = session.run(None, {"X": ids})[0]
        expected = embedded[:4] if length is None else model.transform(["a"])
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-5)


def test_missing_package(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(TEXTS, r'pip install "sklearn-ssl\[text\]"', ImportError)


FORKED = """
import os, sys
from sklearn_ssl import EncoderTransformer
texts = ["some words", "other words"] * 500
before = dict(os.environ)
model = EncoderTransformer().fit(texts)
model.transform(texts)
assert dict(os.environ) == before
child = os.fork()
if not child:
    model.transform(texts[:100])
    os._exit(0)
os._exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_reading():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_rows_as_texts_differ():
    assert text_of(np.array([0.5, -2.0])) == "a2 b0"
