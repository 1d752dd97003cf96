"""What X may be, and how it is recognized: layouts, single images, collections, tables, disk."""

import io
import os
import pathlib
from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from common import digits, shrunk
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sklearn_ssl import (
    EncoderTransformer,
    FineTuneClassifier,
    Images,
    PatchKMeansTransformer,
    SimCLRTransformer,
    compare,
)
from sklearn_ssl.inspection import EmbeddingDisplay


def simclr(**parameters):
    return shrunk(SimCLRTransformer, **parameters)


def fitted(X, **parameters):
    return simclr(**parameters).fit(X)


@pytest.fixture(scope="module")
def colors():
    """Color images, (20, 40, 48, 3) bytes."""
    return np.random.default_rng(0).integers(0, 256, (20, 40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Paths of gray images."""
    folder = tmp_path_factory.mktemp("digits")
    for i, image in enumerate(digits()[0][:20]):
        Image.fromarray((image * 15.9).astype("u1")).save(folder / f"{i:02}.png")
    return sorted(str(path) for path in folder.iterdir())


# -- channels --------------------------------------------------------------------------------------

SHAPES = {
    (5, 5, 20): (5, 5, 20),
    (13, 8, 8): (8, 8, 13),
    (3, 32, 32): (32, 32, 3),
    (2, 100, 3): (2, 100, 3),
    (100, 2, 3): (100, 2, 3),
    (4, 30, 40): (30, 40, 4),
    (30, 40, 13): (30, 40, 13),
    (13, 30, 40): (30, 40, 13),
    (9, 9, 1): (9, 9, 1),
    (1, 9, 9): (9, 9, 1),
    (32, 32, 2): (32, 32, 2),
    (8, 9, 3): (8, 9, 3),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_channels_inferred_from_the_shape(shape):
    X = np.random.default_rng(0).random((6, *shape))
    model = EncoderTransformer(random_state=0).fit(X)
    assert model.image_shape_ == SHAPES[shape]
    last = X if SHAPES[shape] == shape else X.transpose(0, 2, 3, 1)
    expected = EncoderTransformer(random_state=0, input=Images(channels="last")).fit_transform(last)
    np.testing.assert_allclose(model.transform(X), expected, atol=1e-4)


AMBIGUOUS = [
    *((5, 6, 20), (20, 6, 5), (3, 32, 3), (8, 8, 8), (9, 12, 10), (3, 40, 1)),
    *((3, 3, 20), (4, 4, 30), (20, 3, 3)),  # colors of a narrow image, or bands of a small one
]


@pytest.mark.parametrize("shape", AMBIGUOUS, ids=str)
def test_ambiguous_channels_have_to_be_specified(shape):
    X = np.random.default_rng(0).random((6, *shape))
    a, b, c = shape
    with pytest.raises(
        ValueError, match=rf"{c} channels last and {a} x {b} pixels.*channels=\"last\""
    ):
        EncoderTransformer().fit(X)
    for channels, expected in {"last": (a, b, c), "first": (b, c, a)}.items():
        model = EncoderTransformer(random_state=0, input=Images(channels=channels)).fit(X)
        assert model.image_shape_ == expected
        assert np.isfinite(model.transform(X)).all()


def test_channels_of_flattened_images():
    for shape, channels, expected in [
        ((9, 9, 200), "auto", (9, 9, 200)),
        ((5, 6, 20), "auto", (5, 6, 20)),
        ((3, 16, 16), "auto", (16, 16, 3)),
        ((20, 5, 6), "first", (5, 6, 20)),
        ((3, 16, 16), "last", (3, 16, 16)),
    ]:
        X = np.random.default_rng(0).random((6, np.prod(shape)))
        model = EncoderTransformer(input=Images(channels=channels, shape=shape)).fit(X)
        assert model.image_shape_ == expected


def test_layout_of_fit_determines_that_of_transform():
    X = np.random.default_rng(0).random((6, 5, 6, 20))
    model = EncoderTransformer(random_state=0, input=Images(channels="last")).fit(X)
    model.set_params(input="auto")
    expected = model.transform(X)
    np.testing.assert_allclose(model.transform(X.transpose(0, 3, 1, 2)), expected, atol=1e-4)


def test_images_in_another_layout_than_was_said(colors):
    model = EncoderTransformer(input=Images(channels="last")).fit(colors)
    with pytest.raises(ValueError, match=r"layout does not match input=Images\(channels=\"last"):
        model.transform(colors.transpose(0, 3, 1, 2))
    model = EncoderTransformer(input=Images(channels="first")).fit(colors.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"layout does not match .*channels=\"first"):
        model.transform(colors)


def test_channels_of_listed_arrays(colors):
    first = [x.transpose(2, 0, 1) for x in colors]
    first[0] = first[0][:, :39]  # several sizes
    last = [x.transpose(1, 2, 0) for x in first]
    expected = EncoderTransformer(random_state=0, input=Images(size=32)).fit_transform(last)
    for channels in ("auto", "first"):
        model = EncoderTransformer(random_state=0, input=Images(channels=channels, size=32)).fit(
            first
        )
        np.testing.assert_array_equal(model.transform(first), expected)


def test_channels_are_first_or_last():
    with pytest.raises(ValueError, match="channels must be one of"):
        Images(channels="middle")


# -- one image -------------------------------------------------------------------------------------

ONE = {
    "array": lambda x: x,
    "channels first": lambda x: x.transpose(2, 0, 1),
    "tensor": lambda x: torch.from_numpy(x).permute(2, 0, 1),
    "Pillow": Image.fromarray,
    "four channels": lambda x: np.concatenate([x, x[..., :1]], axis=2),
    "one channel": lambda x: x[..., :1],
    "two channels": lambda x: x[..., :2],
    "lines": list,
}


@pytest.fixture(scope="module", params=["files", "array"])
def estimators(request, colors):
    """Fitted estimators of images that were listed, and of an array of them."""
    listed = request.param == "files"
    X = [Image.fromarray(x) for x in colors] if listed else colors
    options = {"input": Images(size=32)} if listed else {}
    classifier = FineTuneClassifier(simclr(**options), max_epochs=1)
    transformers = [
        simclr(**options),
        EncoderTransformer(**options),
        PatchKMeansTransformer(n_centroids=4, **options),
    ]
    return [e.fit(X) for e in transformers], classifier.fit(X, np.arange(20) % 2)


@pytest.mark.parametrize("name", ONE)
def test_one_image_is_not_many(colors, name, estimators):
    transformers, classifier = estimators
    one = ONE[name](colors[0])
    for estimator in transformers:
        with pytest.raises(ValueError, match=r"one image.*\[image\]"):
            clone(estimator).fit(one)
        with pytest.raises(ValueError, match=r"one image.*\[image\]"):
            estimator.transform(one)
        assert len(estimator.transform([colors[0]])) == 1
    with pytest.raises(ValueError, match=r"one image.*\[image\]"):
        classifier.predict(one)


def test_one_gray_image_and_other_single_samples(paths):
    model = fitted(digits()[0][:50])
    with pytest.raises(ValueError, match=r"shape \(8, 8\).*\[image\]"):
        model.transform(digits()[0][0])
    model = fitted(paths)
    with open(paths[0], "rb") as file:
        content = file.read()
    for one, message in {
        content: "X is one image",
        paths[0]: "X is one path",
        pathlib.Path(paths[0]): "X is one path",
    }.items():
        with pytest.raises(ValueError, match=message):
            model.transform(one)
    for one, message in [
        (io.BytesIO(content), "X is one image"),
        ({"bytes": content, "path": None}, "X is one sample, a dict"),
        ((Image.open(io.BytesIO(content)), 3), "X is one pair"),
        ((np.zeros((8, 8), "u1"), torch.tensor(3)), "X is one pair"),
        ((paths[0], "cat"), "X is one pair"),
        ({"image": Image.new("L", (8, 8)), "label": 3}, "X is one sample, a dict"),
        ({"image": np.zeros((40, 48, 3), "u1")}, "X is one sample, a dict"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.transform(one)


def test_images_are_no_tabular_data():
    """As of one gray image, (h, w)."""
    for estimator in (simclr(input=Images(size=16)), PatchKMeansTransformer(input=Images(size=16))):
        with pytest.raises(
            ValueError, match=r"input=Images.* describes images.*\[image\].*Images\(shape="
        ):
            estimator.fit(np.random.default_rng(0).random((40, 48)))


# -- data sets -------------------------------------------------------------------------------------


class Endless(Dataset):
    """A data set that never raises IndexError, as torch's need not."""

    def __init__(self, item):
        self.item, self.asked = item, 0

    def __len__(self):
        return 30

    def __getitem__(self, i):
        self.asked += 1
        assert self.asked < 500
        return self.item() if callable(self.item) else self.item


def test_data_sets_are_indexed_within_their_length():
    for wrong in ((1, torch.rand(3, 8, 8)), 3, np.float32(2), torch.tensor(1.0)):
        data = Endless(wrong)
        with pytest.raises(ValueError, match=r"begins with, a number.*\(image, label\)"):
            simclr().fit(data)
        with pytest.raises(ValueError, match="begins with, a number"):
            fitted(digits()[0][:60]).transform(data)
    rng = torch.Generator().manual_seed(0)
    rows = Endless(lambda: torch.rand(7, generator=rng))
    assert simclr().fit(rows).n_features_in_ == 7
    pairs = Endless(lambda: (torch.rand(7, generator=rng), 1))
    assert simclr().fit(pairs).n_features_in_ == 7
    images = Endless(lambda: (torch.rand(3, 8, 8, generator=rng), 1))
    assert simclr().fit(images).image_shape_ == (8, 8, 3)
    for data in (
        TensorDataset(torch.rand(30, 7)),
        TensorDataset(torch.rand(30, 7), torch.ones(30)),
    ):
        assert simclr().fit(data).n_features_in_ == 7


def test_data_sets_of_rows_that_cannot_be_read():
    class Rows(Dataset):
        def __init__(self, *items):
            self.items = items

        def __len__(self):
            return len(self.items)

        def __getitem__(self, i):
            if self.items[i] is None:
                raise KeyError("gone")
            return self.items[i]

    row, longer = torch.rand(7), torch.rand(8)
    for items, message in [
        ((row, row, longer), r"different shapes: \(7,\) of item 0, \(8,\) of item 2"),
        ((row, None), "Item 1 of X cannot be read: the dataset raised an error .*gone"),
        ((), "empty dataset"),
    ]:
        with pytest.raises(ValueError, match=message):
            simclr().fit(Rows(*items))
    pairs = [[torch.rand(7), torch.tensor(1)] for _ in range(20)]
    assert simclr().fit(Rows(*pairs)).n_features_in_ == 7


# -- what is no list -------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        yield from digits()[0][:20]


NO_LISTS = {
    "glob": (lambda p: pathlib.Path(p[0]).parent.glob("*.png"), r"generator.*list\(X\)"),
    "map": (lambda p: map(str, p), r"map.*list\(X\)"),
    "zip": (lambda p: zip(p, p, strict=True), r"zip.*list\(X\)"),
    "set": (set, r"set.*list\(X\)"),
    "frozenset": (frozenset, r"frozenset.*list\(X\)"),
    "values": (lambda p: dict(enumerate(p)).values(), r"dict_values.*list\(X\)"),
    "keys": (lambda p: dict.fromkeys(p).keys(), r"dict_keys.*list\(X\)"),
    "columns": (lambda p: {"image": p, "label": p}, r"X\['image'\]"),
    "loader": (lambda p: DataLoader(TensorDataset(torch.rand(9, 3, 8, 8))), "X.dataset"),
    "batches": (
        lambda p: iter(DataLoader(TensorDataset(torch.rand(9, 3, 8, 8)))),
        "X.dataset",
    ),
    "batch": (
        lambda p: next(iter(DataLoader(TensorDataset(torch.rand(9, 3, 8, 8), torch.ones(9)), 4))),
        "a pair of samples and labels",
    ),
    "paths and labels": (lambda p: (np.array(p), np.array(["a"] * len(p))), "samples and labels"),
    "few columns": (lambda p: {"label": [1, 2], "image": p[:2]}, r"X\['image'\]"),
    "labels by path": (lambda p: dict.fromkeys(p, 1), r"a dict with the keys.*list\(X\)"),
    "stream": (lambda p: Stream(), r"iterable dataset.*list\(X\)"),
    "none": (lambda p: None, "X is None.*Give a list"),
    "number": (lambda p: 3, "X is 3, of type int"),
    "object": (lambda p: object(), "X is of type object.*__len__ and __getitem__"),
    "module": (lambda p: torch.nn.Linear(2, 2), "X is of type Linear"),
    "nested": (lambda p: [p[:10], p[10:]], "a list of lists of paths"),
    "label first": (lambda p: [(0, path) for path in p], r"label first. Give \(image, label\)"),
    "word first": (lambda p: [("cat", path) for path in p], "label first"),
    "lazy": (lambda p: pl.LazyFrame({"a": [1.0, 2.0]}), "lazy data frame"),
}


@pytest.mark.parametrize("name", NO_LISTS)
def test_what_is_no_list_says_how_to_make_one(paths, name):
    make, message = NO_LISTS[name]
    with pytest.raises(ValueError, match=message):
        simclr().fit(make(paths))
    with pytest.raises(ValueError, match=message):
        fitted(paths).transform(make(paths))
    y = np.arange(20) % 2
    with pytest.raises(ValueError, match=message):
        FineTuneClassifier(simclr()).fit(make(paths), y)
    with pytest.raises(ValueError, match=message):
        compare({"SimCLR": simclr()}, make(paths), y)
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay.from_estimator(fitted(paths), make(paths))


def test_items_of_lists(paths):
    expected = fitted(paths).transform(paths)
    closed = []
    for path in paths:
        with Image.open(path) as image:
            closed.append(image)
    os.link(paths[0], plain := paths[0].removesuffix(".png"))  # no name of an image
    files = [open(path, "rb") for path in paths]  # noqa: SIM115
    files[0].seek(10)
    for X in (
        [os.fsencode(path) for path in [plain, *paths[1:]]],
        [pathlib.Path(path).as_uri() for path in paths],
        [io.BytesIO(pathlib.Path(path).read_bytes()) for path in paths],
        [memoryview(pathlib.Path(path).read_bytes()) for path in paths],
        files,
        closed,
    ):
        model = simclr().fit(X)
        np.testing.assert_array_equal(model.transform(X), expected)
    assert files[0].tell() == 10
    for file in files:
        file.close()


def test_errors_of_unreadable_items_name_a_way_out(paths):
    folder = os.path.dirname(paths[0])
    with Image.open(io.BytesIO(pathlib.Path(paths[0]).read_bytes())) as image:
        pass
    for item, message in {
        "~/cat.png": "expanduser",
        "data:image/png;base64,AA": "a URL",
        b"cat.png": "no such file",
        folder: r"a folder; sklearn_ssl.image_paths\(",
        folder + "/*.png": "a glob pattern.*glob.glob",
        "https://example.org/cat.png": "a URL.*download",
    }.items():
        with pytest.raises(ValueError, match=message):
            simclr().fit([item, item])
    with pytest.raises(ValueError, match=r"image_paths\("):
        simclr().fit([folder])
    with (
        open(paths[0], encoding="utf-8") as file,
        pytest.raises(ValueError, match="opened in text mode"),
    ):
        simclr().fit([file, file])
    with pytest.raises(ValueError, match="a closed file"):
        simclr().fit([file, file])
    for item, message in [
        (image, r"closed before its pixels were read.*load\(\)"),
        (io.StringIO("text"), "opened in text mode"),
    ]:
        with pytest.raises(ValueError, match=message):
            simclr().fit([item, item])
    with pytest.raises(ValueError, match="no images"):
        fitted(paths).transform([])
    with pytest.raises(ValueError, match="X is empty"):
        fitted(digits()[0][:50]).transform([])


def test_memory_identifies_urls_and_bytes_paths_by_their_files(paths, tmp_path):
    for name, form in {"address": lambda p: pathlib.Path(p).as_uri(), "bytes": os.fsencode}.items():
        copies = [tmp_path / f"{name}{i}.png" for i in range(6)]
        for copy, path in zip(copies, paths, strict=False):
            copy.write_bytes(pathlib.Path(path).read_bytes())
        settings = {"memory": tmp_path / "memory"}
        X = [form(str(copy)) for copy in copies]
        model = fitted(X, **settings)
        assert fitted(X[::-1], **settings).loss_curve_ != model.loss_curve_
        copies[0].write_bytes(pathlib.Path(paths[10]).read_bytes())
        assert fitted(X, **settings).loss_curve_ != model.loss_curve_


# -- tables ----------------------------------------------------------------------------------------


def table(**columns):
    return pd.DataFrame({"age": np.arange(30.0), "size": np.arange(30)[::-1]} | columns)


TABLES = {
    "words": (["red", "blue"] * 15, "Column 'more' of X holds text, such as 'red'.*OneHotEncoder"),
    "words, some missing": (["blue", None] * 15, "Column 'more' of X holds text, such as 'blue'"),
    "numbers as words": (["1", "x"] * 15, "Column 'more' of X holds text, such as '1'"),
    "categories": (pd.Categorical(["a", "b"] * 15), "Column 'more' of X holds text, such as 'a'"),
    "dates": (pd.date_range("2020", periods=30), "Column 'more' of X holds dates"),
    "times": (pd.timedelta_range("1h", periods=30), "Column 'more' of X holds dates"),
    "paths": (["a/1.jpg"] * 30, r"Column 'more' of X holds paths of images.*ColumnTransformer"),
    "missing dates": ([None] * 9 + [date(2020, 1, 1)] * 21, "Column 'more' of X holds dates.* 9"),
}
OBJECTS = {
    "a word at last": (
        [1.0] * 29 + ["n/a"],
        ValueError,
        "Column 'more' of X holds text, such as 'n/a' in sample 29",
    ),
    "periods": (pd.period_range("2020", periods=30), ValueError, "Column 'more' of X holds dates"),
    "lists": ([[1, 2]] * 30, TypeError, "Column 'more' of X holds values of type list"),
    "dicts": ([{"a": 1}] * 30, TypeError, "Column 'more' of X holds values of type dict"),
    "complex": (np.arange(30) * 1j, ValueError, "Complex data not supported: Column 'more'"),
    "Path": ([pathlib.Path("1.jpg")] * 30, ValueError, "Column 'more' .* paths of images"),
    "Pillow": ([Image.new("L", (3, 3))] * 30, ValueError, "Column 'more' .* images.*ColumnTr"),
    "missing": ([1, pd.NA] * 15, ValueError, "Input X contains NaN: sample 1 .*column 'more'"),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_that_are_not_numeric_are_named(name):
    values, message = TABLES[name]
    X = table(more=values)
    with pytest.raises(ValueError, match=message):
        simclr().fit(X)
    with pytest.raises(ValueError, match=message.replace("'more'", "2")):
        simclr().fit(X.to_numpy(dtype=object))
    with pytest.raises(ValueError, match=message):
        simclr().fit(pl.DataFrame({key: list(X[key]) for key in X}, strict=False))


@pytest.mark.parametrize("name", OBJECTS)
def test_columns_of_objects_are_named(name):
    values, error, message = OBJECTS[name]
    with pytest.raises(error, match=message):
        simclr().fit(table(more=values))
    with pytest.raises(error, match=message.replace("'more'", "2")):
        simclr().fit(table(more=values).to_numpy(dtype=object))


def test_arrays_of_objects_that_are_not_numbers():
    rows = np.random.default_rng(0).random((30, 3))
    for X, message in [
        (np.array([["a", "1"], ["b", "2"]]), "Column 0 of X holds text, such as 'a'"),
        ([[1, "a"], [2, "b"]], "Column 1 of X holds text, such as 'a'"),
        (np.zeros((30, 8, 8), "M8[D]"), r"dtype datetime64\[D\]"),
        (np.zeros(30, [("a", "f8"), ("b", "i4")]), "structured array.*DataFrame"),
        (pd.Series(list(rows)), "numpy.stack"),
        (pd.DataFrame(index=range(30)), "without columns"),
    ]:
        with pytest.raises(ValueError, match=message):
            simclr().fit(X)


def test_missing_values_name_sample_and_column():
    X = table()
    X.loc[4, "size"] = np.nan
    with pytest.raises(ValueError, match=r"contains NaN: sample 4 is the first.*column 'size'"):
        simclr().fit(X)
    with pytest.raises(ValueError, match=r"contains NaN: sample 4 is the first.*column 1"):
        simclr().fit(X.to_numpy())
    model = fitted(table())
    X.loc[4, "size"] = np.inf
    with pytest.raises(ValueError, match=r"contains infinity: sample 4.*column 'size'"):
        model.transform(X)
    with pytest.raises(ValueError, match=r"contains NaN: sample 1 .*column 'more'"):
        simclr().fit(table(more=pd.array([3, None] * 15, dtype="Int64")))
    assert fitted(table(more=pd.array([3, 4] * 15, dtype="Int64"))).n_features_in_ == 3
    with pytest.raises(ValueError, match="holds dates"):
        simclr().fit(np.array([["2020-01-01", "2020-01-02"]] * 30, dtype="datetime64[D]"))


# -- arrays on disk --------------------------------------------------------------------------------


class OnDisk:
    """An array with the restrictions of h5py's: parts by slices and by increasing indices."""

    def __init__(self, array):
        self.stored, self.shape, self.dtype = array, array.shape, array.dtype
        self.ndim, self.whole, self.largest = array.ndim, 0, 0

    def __len__(self):
        return len(self.stored)

    def __getitem__(self, indices):
        if not isinstance(indices, slice | int | np.integer):
            assert (np.diff(indices) > 0).all()
        part = self.stored[indices]
        self.largest = max(self.largest, len(part))
        return part

    def __array__(self, dtype=None, copy=None):
        self.whole += 1
        return self.stored


@pytest.mark.parametrize("layout", ["gray", "color", "channels first", "floats"])
def test_arrays_on_disk_are_read_by_parts(colors, layout, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.data.sources.CHUNK_VALUES", 4 * 40 * 48 * 3)
    monkeypatch.setattr("sklearn_ssl.inference.batches.EMBEDDING_BATCH", {"cpu": 8})
    monkeypatch.setattr("sklearn_ssl.data.sources.DIGEST_VALUES", 4 * 40 * 48 * 3)
    monkeypatch.setattr("sklearn_ssl.training.run.TRIAL_SAMPLES", 8)
    X = {
        "gray": colors[..., 0],
        "color": colors,
        "channels first": colors.transpose(0, 3, 1, 2),
        "floats": colors / 255,
    }[layout]
    stored = OnDisk(X)
    settings = {"batch_size": 5}
    model = fitted(stored, **settings)
    embedding = model.transform(stored)
    assert stored.whole == 0
    assert stored.largest <= 12
    np.testing.assert_array_equal(embedding, fitted(X, **settings).transform(X))
    small = fitted(stored, input=Images(size=16))
    assert stored.whole == 0
    np.testing.assert_array_equal(
        small.transform(stored), fitted(X, input=Images(size=16)).transform(X)
    )


@pytest.mark.parametrize("kind", ["f8", "u1"])
def test_tables_on_disk_are_read_by_parts(kind, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.data.sources.CHUNK_VALUES", 7 * 10)
    monkeypatch.setattr("sklearn_ssl.data.sources.DIGEST_VALUES", 7 * 10)
    monkeypatch.setattr("sklearn_ssl.inference.batches.EMBEDDING_BATCH", {"cpu": 10})
    monkeypatch.setattr("sklearn_ssl.training.run.TRIAL_SAMPLES", 8)
    X = (255 * np.random.default_rng(0).random((50, 7))).astype(kind)
    stored, settings = OnDisk(X), {"batch_size": 5}
    model = fitted(stored, **settings)
    assert model.n_features_in_ == 7
    np.testing.assert_array_equal(model.transform(stored), fitted(X, **settings).transform(X))
    images = fitted(stored, input=Images(shape=(7, 1)), **settings)
    assert images.image_shape_ == (7, 1, 1)
    assert stored.whole == 0
    assert stored.largest <= 10
    with pytest.raises(ValueError, match="X has 6 features, but SimCLRTransformer is expecting 7"):
        model.transform(OnDisk(X[:, :6]))


def test_arrays_on_disk_are_checked():
    X = np.random.default_rng(0).random((20, 8, 8))
    for stored, message in [
        (X * 1j, "dtype complex128"),
        (X[:, 0] * 1j, "dtype complex128"),
        (X[:1], r"1 sample\(s\).*minimum of 2"),
        (X[:1, 0], r"1 sample\(s\).*minimum of 2"),
        (np.where(X[:, 0] > 0.9, np.nan, X[:, 0]), "contains NaN: sample .*, in column"),
    ]:
        with pytest.raises(ValueError, match=message):
            simclr().fit(OnDisk(stored))


def test_arrays_on_disk_in_searches_and_fine_tuning(colors):
    stored, y = OnDisk(colors), np.arange(20) % 2
    y[::3] = -1
    FineTuneClassifier(simclr(), max_epochs=1).fit(stored, y).predict(stored)
    assert stored.whole == 0
    h5py = pytest.importorskip("h5py")
    with h5py.File("images.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("x", data=colors)
        np.testing.assert_array_equal(
            fitted(data).transform(data), fitted(colors).transform(colors)
        )
    with pytest.raises(ValueError, match="in a closed file"):
        simclr().fit(data)


def test_memory_maps_stay_on_disk(colors, tmp_path):
    np.save(tmp_path / "x.npy", colors)
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    search = GridSearchCV(simclr(), {"temperature": [0.1, 0.5]}, cv=KFold(2)).fit(X)
    assert np.isfinite(search.best_score_)
