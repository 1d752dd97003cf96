"""X as files, columns and data sets: results as from arrays, and what becomes of bad ones."""

import collections
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars
import pytest
import torch
from common import each_image_method, shrunk, slowly
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.helpers import simclr, source_of
from sklearn_ssl import DeepClusterEstimator, Images, RotationTransformer
from sklearn_ssl.data.image_lists import StoredImages, listed_images
from sklearn_ssl.data.images import LARGEST_SIZE
from sklearn_ssl.data.sources import ArraySource

N = 48


class DataSet(torch.utils.data.Dataset):
    """Gives an item at a time, and nothing else."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        assert type(index) is int
        return self.items[index]


def opened(paths):
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(image.copy())
    return images


def tensors(paths):
    return [torch.tensor(np.asarray(x)).permute(2, 0, 1) / 255 for x in opened(paths)]


KINDS = {
    "list of str": lambda paths: paths,
    "tuple of Path": lambda paths: tuple(map(Path, paths)),
    "array of str": lambda paths: np.array(paths),
    "array of objects": lambda paths: np.array(paths, dtype=object),
    "column of an array": lambda paths: np.array(paths, dtype=object)[:, None],
    "StringDType": lambda paths: np.array(paths, dtype=np.dtypes.StringDType()),
    "Series": lambda paths: pd.Series(paths, index=range(7, 7 + len(paths))),
    "Series of Path": lambda paths: pd.Series([Path(path) for path in paths]),
    "DataFrame": lambda paths: pd.DataFrame({"path": paths}),
    "categories": lambda paths: pd.DataFrame({"path": pd.Categorical(paths)}),
    "polars Series": polars.Series,
    "polars DataFrame": lambda paths: polars.DataFrame({"path": paths}),
    "images": opened,
    "Series of images": lambda paths: pd.Series(opened(paths)),
    "bytes": lambda paths: [Path(path).read_bytes() for path in paths],
    "DataFrame of bytes": lambda paths: pd.DataFrame({"x": [Path(p).read_bytes() for p in paths]}),
    "polars DataFrame of bytes": lambda paths: polars.DataFrame(
        {"x": [Path(path).read_bytes() for path in paths]}
    ),
    "data set of images": lambda paths: DataSet(opened(paths)),
    "data set of pairs": lambda paths: DataSet([(x, 3) for x in opened(paths)]),
    "data set of tensors": lambda paths: DataSet([(x, 3) for x in tensors(paths)]),
    "data set of dicts": lambda paths: DataSet([{"label": 3, "image": x} for x in opened(paths)]),
    "data set of dicts, another name": lambda paths: DataSet(
        [{"label": "china", "photo": x} for x in opened(paths)]
    ),
    "data set of encoded images": lambda paths: DataSet(
        [{"image": {"bytes": Path(p).read_bytes(), "path": None}} for p in paths]
    ),
    "rows of one path": lambda paths: [[path] for path in paths],
    "pairs with paths": lambda paths: [(path, "china") for path in paths],
    "bytearrays": lambda paths: [bytearray(Path(path).read_bytes()) for path in paths],
    "list of pairs": lambda paths: [(x, 3) for x in opened(paths)],
    "list of dicts": lambda paths: [{"img": x, "label": 3} for x in opened(paths)],
    "pairs of arrays": lambda paths: [(np.asarray(x), 3) for x in opened(paths)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_what_the_array_gives(kind, paths, expected):
    """Images of 32 pixels are not resized, so that every bit is the same."""
    X = KINDS[kind](paths)
    model = simclr().fit(X)
    assert model.image_shape_ == (32, 32, 3)
    assert model.n_features_in_ == 1
    np.testing.assert_array_equal(model.transform(X), expected)


def test_fit_on_one_kind_transforms_another(paths, array, expected):
    model = simclr().fit(array)
    np.testing.assert_array_equal(model.transform(paths), expected)
    model = simclr().fit(paths)
    np.testing.assert_array_equal(model.transform(array), expected)
    np.testing.assert_array_equal(model.transform(opened(paths)), expected)
    assert model.score(paths) == model.score(array)


def test_images_of_any_size_become_those_of_fit(paths, array, expected):
    model = simclr().fit(paths)
    large = [Image.fromarray(x).resize((96, 96), Image.Resampling.BICUBIC) for x in array]
    close = model.transform(large)
    difference = np.linalg.norm(close - expected) / np.linalg.norm(expected)
    assert 0 < difference < 0.4
    ragged = [x[: 32 + i % 5 - 5] for i, x in enumerate(array)]
    assert model.transform(ragged).shape == expected.shape


@pytest.mark.parametrize("n_jobs", [2, -1])
@pytest.mark.parametrize("backend", ["threading", slowly("loky")])
def test_jobs_change_nothing(n_jobs, backend, paths, expected):
    with joblib.parallel_config(backend):
        model = simclr(input=Images(n_jobs=n_jobs)).fit(paths)
        np.testing.assert_array_equal(model.transform(paths), expected)


@each_image_method
def test_every_method_reads_files(method, paths, array):
    model = shrunk(method)
    from_files = model.fit(paths).transform(paths)
    np.testing.assert_array_equal(from_files, clone(model).fit(array).transform(array))


@pytest.mark.parametrize(
    ("sides", "device", "size"),
    [([28], "cpu", 28), ([100], "cpu", 64), ([40, 50, 63], "cpu", 32), ([33, 64, 65], "cpu", 64)],
)
def test_size_is_chosen_from_the_files(sides, device, size, capsys):
    images = [Image.effect_noise((side, side + 9), 60) for side in sides * 4]
    model = simclr(device=device).fit(images)
    assert model.image_shape_ == (size, size, 1)
    assert capsys.readouterr().out == ""
    simclr(device=device, verbose=1).fit(images)
    assert f"resized to {size} x {size} pixels" in capsys.readouterr().out


@pytest.mark.parametrize(("largest", "size"), [(224, 192), (128, 128)])
def test_size_has_a_limit(largest, size, monkeypatch):
    monkeypatch.setitem(LARGEST_SIZE, "cpu", largest)
    images = [Image.effect_noise((210, 300), 60)] * 3
    assert source_of(images).shape == (1, size, size)


@pytest.mark.slow
def test_size_of_the_user(paths, array):
    assert simclr(input=Images(size=20)).fit(paths).image_shape_ == (20, 20, 3)
    with pytest.raises(ValueError, match=r'size must be "auto" or an int, at least 1. Got 0'):
        Images(size=0)
    from_files = simclr(input=Images(size=20)).fit_transform(paths)
    for X in (array, array / 255, array.transpose(0, 3, 1, 2), torch.from_numpy(array)):
        np.testing.assert_array_equal(simclr(input=Images(size=20)).fit_transform(X), from_files)
    flat = simclr(input=Images(size=20, shape=(32, 32, 3))).fit_transform(array.reshape(N, -1))
    np.testing.assert_array_equal(flat, from_files)
    model = simclr(input=Images(size=32)).fit(array)  # nothing to do
    assert model.n_features_in_ == 3072
    with pytest.raises(
        ValueError, match=r"1 or 3 channels can be resized.* have 4, of dtype uint8"
    ):
        simclr(input=Images(size=20)).fit(np.zeros((2, 32, 32, 4), "u1"))


def test_after_files_all_number_types_mean_the_same(paths, array, expected):
    """Pixels were read as bytes, and are then, whatever the shapes and sizes in one X."""
    model = simclr().fit(paths)
    for X in (array / 255, torch.from_numpy(array).permute(0, 3, 1, 2) / 255, list(array / 255)):
        np.testing.assert_array_equal(model.transform(X), expected)
    large = [x.repeat(2, 0).repeat(2, 1) for x in array[:5]]
    one_by_one = [model.transform([x])[0] for x in large]
    np.testing.assert_allclose(one_by_one, model.transform(large), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one_by_one, model.transform(np.stack(large)), rtol=1e-4, atol=1e-5)
    ragged = simclr().fit([array[0, :31], *array[1:]])
    embedding = ragged.transform(list(array / 255))
    np.testing.assert_array_equal(embedding, ragged.transform(array))


def test_training_sees_the_ends_of_long_images_and_transform_the_middle():
    ramp = np.arange(96, dtype=np.uint8)[None].repeat(32, 0)  # twice as long after the middle
    source = source_of([ramp, ramp.T, ramp[:, :50], ramp[:, :32]] * 5)
    assert source.shape == (1, 32, 32)
    middle = source.batch(slice(0, 4))
    assert middle[0, 0, 0, 0] == 32
    torch.testing.assert_close(middle[1], middle[0].mT)
    assert middle[2, 0, 0, 0] == 9
    order, seen = np.arange(20)[None], []
    for epoch in range(200):
        (batch,) = source.batches(order, torch.device("cpu"), np.random.default_rng(epoch))
        assert (batch[3::4, 0, 0, 0] == 0).all()
        seen.append(batch[0::4, 0, 0, 0])
        torch.testing.assert_close(torch.diff(batch[0, 0, 0]), torch.ones(31, dtype=torch.uint8))
    starts = torch.cat(seen) - 16
    assert set(starts.tolist()) == set(range(33))  # 64 pixels are kept, the outer 32 cut off
    counts = np.bincount(starts)
    assert counts.min() > 10
    assert counts.max() < 60
    assert len({tuple(x.tolist()) for x in seen}) > 190
    (again,) = source.batches(order, torch.device("cpu"), np.random.default_rng(199))
    torch.testing.assert_close(again, batch)
    (still,) = source.batches(order, torch.device("cpu"))
    torch.testing.assert_close(still, source.batch(order[0]))


@pytest.mark.slow
def test_training_on_long_images_is_reproducible_and_resumable(array, monkeypatch):
    X = [x[:, : 20 + i % 12] for i, x in enumerate(array)]
    one = simclr(max_epochs=2).fit(X).transform(X)
    np.testing.assert_array_equal(simclr(max_epochs=2).fit(X).transform(X), one)
    twice = simclr().partial_fit(X).partial_fit(X).transform(X)
    again = pickle.loads(pickle.dumps(simclr().partial_fit(X))).partial_fit(X)
    np.testing.assert_array_equal(again.transform(X), twice)
    # Other parts of the images are seen in the second epoch: not those of the first again.
    monkeypatch.setattr(StoredImages, "moved", lambda self, rng: self)
    assert not np.array_equal(simclr(max_epochs=2).fit(X).transform(X), one)


def test_squares_lie_on_a_gpu_that_has_room(paths, array, monkeypatch, capsys):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (10**9, None))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda gpu: 0)
    source = source_of(paths)
    moved = source.moved(torch.device("cpu"))
    np.testing.assert_array_equal(moved.array.permute(0, 2, 3, 1), array)
    monkeypatch.setattr(ArraySource, "moved", lambda self, device: (len(self), device))
    assert source.near(gpu, verbose=1) == (N, gpu)
    assert "is stored on cuda:0" in capsys.readouterr().out
    long = source_of([x[:20] for x in array], input=Images(size=20))
    assert long.near(gpu, verbose=1) is long
    assert "its images are not square" in capsys.readouterr().out
    assert long.near(torch.device("cpu")) is long


def test_gray_and_color_in_one_list(array):
    gray = [Image.fromarray(x).convert("L") for x in array]
    mixed = [g if i % 3 else Image.fromarray(array[i]) for i, g in enumerate(gray)]
    source = source_of(mixed)
    assert source.shape == (3, 32, 32)
    batch = source.batch(slice(0, N)).numpy()
    np.testing.assert_array_equal(batch[0], array[0].transpose(2, 0, 1))
    np.testing.assert_array_equal(batch[1], np.stack([np.asarray(gray[1])] * 3))
    # All gray: one channel, and colors at transform become gray as Pillow makes them.
    model = simclr().fit(gray)
    assert model.image_shape_ == (32, 32, 1)
    embedding = model.transform(gray)
    difference = np.linalg.norm(model.transform(mixed) - embedding) / np.linalg.norm(embedding)
    assert difference < 0.02


def test_one_error_names_all_that_is_bad(some_bad, paths, tmp_path):
    message = (
        r"3 of the 48 images in X could not be read:\n"
        r"  3, '.*empty.jpg': an empty file of 0 bytes\n"
        r"  11, '.*short.png': corrupted or truncated \(.*\)\n  19: a missing value, None .*\n"
        r'Fix or remove them, or set input=Images\(on_error="skip"\)'
    )
    with pytest.raises(ValueError, match=message):
        simclr().fit(some_bad)
    model = simclr().fit(paths)
    for method in (model.transform, model.score, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(some_bad)
    many = [*paths, *(f"{i}.jpg" for i in range(25))]
    with pytest.raises(ValueError, match=r"25 of the 73 images") as raised:
        simclr().fit(many)
    assert "'9.jpg': no such file" in str(raised.value)
    assert "'10.jpg'" not in str(raised.value)
    assert "and 15 more" in str(raised.value)


@pytest.mark.parametrize("on_error", ["skip", "warn"])
def test_what_is_bad_is_left_out(on_error, some_bad, paths):
    bad = [3, 11, 19]
    good = [path for i, path in enumerate(paths) if i not in bad]
    expected = simclr().fit(good).transform(good)
    model = simclr(input=Images(on_error=on_error))

    def calling(function):
        if on_error == "skip":
            return function(some_bad)
        with pytest.warns(UserWarning, match="3 of the 48 images"):
            return function(some_bad)

    calling(model.fit)
    embedding = calling(model.transform)
    assert embedding.shape == (48, 1536)
    assert np.isnan(embedding[bad]).all()
    np.testing.assert_array_equal(np.delete(embedding, bad, axis=0), expected)
    assert calling(model.score) == clone(model).fit(good).score(good)


@each_image_method
def test_rows_stay_aligned(method, some_bad):
    model = shrunk(method, input=Images(on_error="skip")).fit(some_bad)
    embedding = model.transform(some_bad)
    assert np.isnan(embedding).all(axis=1).nonzero()[0].tolist() == [3, 11, 19]
    assert np.isfinite(np.delete(embedding, [3, 11, 19], axis=0)).all()
    none = model.transform(["a.jpg", "b.jpg"])
    assert none.shape == embedding[:2].shape
    assert np.isnan(none).all()
    assert none.dtype == np.float32
    for X in ([None, None], pd.Series([None, np.nan]), polars.Series([None, None])):
        assert np.isnan(model.transform(X)).all()
    for name in ("score", "score_pretext"):
        if hasattr(model, name):
            with pytest.raises(ValueError, match="None of the images in X could be read"):
                getattr(model, name)(["a.jpg", "b.jpg"])
    for name in ("predict", "predict_pretext"):
        if hasattr(model, name):
            assert (getattr(model, name)(["a.jpg", "b.jpg"]) == -1).all()


def test_whole_numbers_of_bad_rows(some_bad):
    clusters = shrunk(DeepClusterEstimator, n_clusters=3, input=Images(on_error="skip"))
    labels = clusters.fit_predict(some_bad)
    assert (labels == -1).nonzero()[0].tolist() == [3, 11, 19]
    np.testing.assert_array_equal(clusters.predict(some_bad), labels)
    assert clusters.cluster_sizes_[-1].sum() == 45
    assert clusters.assignments_.shape == (2, 48)
    np.testing.assert_array_equal(clusters.assignments_[-1], labels)
    assert (clusters.assignments_[0] == -1).sum() == 3
    rotation = shrunk(RotationTransformer, input=Images(on_error="skip")).fit(some_bad)
    told = rotation.predict_pretext(some_bad)
    assert (told == -1).nonzero()[0].tolist() == [3, 11, 19]
    good = [x for i, x in enumerate(some_bad) if i not in (3, 11, 19)]
    assert rotation.score_pretext(some_bad) == rotation.score_pretext(good)


@pytest.mark.parametrize("on_error", ["raise", "skip", "warn"])
def test_too_few_are_left(on_error, paths):
    with pytest.raises(ValueError, match=r"2 of the 3 images in X could not be read"):
        simclr(input=Images(on_error=on_error)).fit([paths[0], "a.jpg", "b.jpg"])
    if on_error != "raise":
        with pytest.raises(ValueError, match=r"At least 2 are needed for training, 1 are left"):
            simclr(input=Images(on_error=on_error)).fit([paths[0], "a.jpg", "b.jpg"])
    with pytest.raises(ValueError, match="lists 1 images; at least 2 are needed"):
        simclr(input=Images(on_error=on_error)).fit(paths[:1])


def test_data_sets_that_raise(array):
    class Broken(DataSet):
        def __getitem__(self, index):
            if index == 5:
                raise KeyError("the fifth")
            return super().__getitem__(index)

    with pytest.raises(
        ValueError, match=r"1 of the 48 .*\n  5: the dataset .*KeyError: 'the fifth'"
    ):
        simclr().fit(Broken(array))


def test_a_data_set_is_read_by_one_thread(array):
    """As torch's own loaders do: it may be the position in one file that an item is read from."""

    class OneFile(DataSet):
        position = 0

        def __getitem__(self, index):
            self.position = index
            time.sleep(1e-4)
            return super().__getitem__(self.position)

    source = source_of(OneFile(array), input=Images(n_jobs=4))
    np.testing.assert_array_equal(source.batch(slice(0, N)).permute(0, 2, 3, 1), array)


ROWS = np.random.default_rng(0).normal(size=(10, 4))


NO_IMAGES = {
    "rows": ROWS,
    "list of rows": ROWS.tolist(),
    "list of tuples": list(map(tuple, ROWS)),
    "deque": collections.deque(ROWS.tolist()),
    "UserList of arrays": collections.UserList(ROWS),
    "objects": ROWS.astype(object),
    "one column": ROWS[:, :1],
    "one column of a frame": pd.DataFrame({"x": [np.nan, 1.0, 2.0]}),
    "polars": polars.DataFrame({"x": [1.0, 2.0]}),
    "tensor": torch.from_numpy(ROWS),
    "numbers": ROWS[:, 0],
    "list of numbers": ROWS[:, 0].tolist(),
    "Series": pd.Series(ROWS[:, 0]),
    "memory": memoryview(ROWS[0]),
    "range": range(5),
    "images": np.zeros((5, 8, 8)),
    "list of images": [np.zeros((8, 8))] * 5,
    "list of planes": [(np.zeros((8, 8)), np.zeros((8, 8)))] * 5,
    "words": [["a", "b"], ["c", "d"]],
    "empty": [],
    "nothing": [None, None],
    "dict": {"a": [1, 2]},
    "generator": (x for x in ROWS),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_arrays_are_not_taken_for_lists_of_images(name):
    assert listed_images(NO_IMAGES[name]) is None


def test_what_lists_no_images(paths, folder, array):
    with pytest.raises(ValueError, match=r"X is one path, .*image_paths lists"):
        simclr().fit(folder)
    with pytest.raises(ValueError, match=r"X is one path"):
        simclr().fit(str(folder))
    with pytest.raises(ValueError, match=r"Column 'a' of X holds paths of images.*ColumnTransf"):
        simclr().fit(pd.DataFrame({"a": paths, "b": paths}))
    rows = pd.DataFrame({"number": np.arange(20.0)})
    assert simclr().fit(rows).n_features_in_ == 1
    with pytest.raises(ValueError, match=r"fitted on tabular data with 1 features"):
        simclr().fit(rows).transform(paths)
    model = simclr().fit(array / 128)
    with pytest.raises(ValueError, match=r"read as bytes.*fitted on values from 0 to 1\.9"):
        model.transform(paths)


def test_results_do_not_pile_up(paths, monkeypatch):
    """However slow the disk is, only so many images are decoded before they are written."""
    from sklearn_ssl.data import image_lists as reading

    decoded, ahead = [], []
    real_read, real_add = reading.read_image, reading.ImageStore.add
    monkeypatch.setattr(reading, "read_image", lambda *args: decoded.append(1) or real_read(*args))

    def add(self, *args):
        ahead.append(len(decoded) - len(ahead))
        time.sleep(0.002)
        return real_add(self, *args)

    monkeypatch.setattr(reading.ImageStore, "add", add)
    monkeypatch.setattr(reading, "TASK", 4)
    monkeypatch.setattr(reading, "TASKS", 2)
    source_of(paths * 3, input=Images(n_jobs=2))
    assert max(ahead) <= 16


KEPT = """
import sys, threading
import numpy as np
import sklearn_ssl.data.decoded_images
from sklearn_ssl import Images, SimCLRTransformer
from sklearn_ssl.data.sources import learn_scaling

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

class Photos:
    def __init__(self, n):
        self.n = n
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        return np.random.default_rng(i).integers(0, 256, (64, 66, 3), np.uint8)

sklearn_ssl.data.decoded_images.BLOCK_BYTES = 2**22
sklearn_ssl.data.decoded_images.MEMORY_BYTES = 2**23
learn_scaling(SimCLRTransformer()._find(Photos(64), reset=True).read())
before = peak = anonymous()
ended = threading.Event()
def watch():
    global peak
    while not ended.wait(0.01): peak = max(peak, anonymous())
thread = threading.Thread(target=watch)
thread.start()
simclr = SimCLRTransformer(input=Images(n_jobs=2))
source = simclr._find(Photos(int(sys.argv[1])), reset=True).read()
order = np.arange(len(source)).reshape(-1, 100)
for batch in source.batches(order, "cpu", np.random.default_rng(0)):
    pass
ended.set()
thread.join()
print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")
def test_memory_does_not_grow_with_the_number_of_images():
    """8,000 images of 64 pixels take 101 MB."""
    command = [sys.executable, "-c", KEPT, "8000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60


@pytest.fixture(params=["pandas", "polars"])
def table(request, paths):
    columns = {"path": paths, "size": [float(os.stat(path).st_size) for path in paths]}
    return (polars if request.param == "polars" else pd).DataFrame(columns)


LABELS = np.repeat([0, 1], N // 2)


def photo_and_size(**parameters):
    columns = ColumnTransformer(
        [
            ("photo", simclr(max_epochs=2, **parameters), ["path"]),
            ("size", StandardScaler(), ["size"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=200))


@pytest.mark.slow
def test_column_of_images_and_column_of_numbers(table, tmp_path):
    model = photo_and_size(input=Images(cache=tmp_path))
    scores = cross_val_score(model, table, LABELS, cv=3)
    assert scores.mean() > 0.7
    train, test, y_train, y_test = train_test_split(table, LABELS, random_state=0)
    model.fit(train, y_train)
    assert model.score(test, y_test) > 0.7
    names = model[0].get_feature_names_out()
    assert names[0] == "photo__simclr0"
    assert len(names) == 1537
    assert model[0].named_transformers_["photo"].feature_names_in_.tolist() == ["path"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sequential", "loky"])
def test_searches_on_columns_and_paths(table, paths, tmp_path, backend):
    grid = {"logisticregression__C": [0.1, 1.0]}
    with joblib.parallel_config(backend, n_jobs=2):
        search = GridSearchCV(photo_and_size(input=Images(cache=tmp_path)), grid, cv=2).fit(
            table, LABELS
        )
        assert search.best_score_ > 0.7
        pipeline = make_pipeline(
            simclr(input=Images(cache=tmp_path)), LogisticRegression(max_iter=200)
        )
        for X in (paths, np.array(paths), pd.Series(paths)):
            assert cross_val_score(pipeline, X, LABELS, cv=2).mean() > 0.6


def test_output_is_a_data_frame(table):
    model = simclr(input=Images(on_error="skip")).set_output(
        transform=type(table).__module__.split(".")[0]
    )
    frame = model.fit_transform(table[["path"]])
    assert list(frame.columns)[:2] == ["simclr0", "simclr1"]
    assert len(frame) == N


def test_column_names_are_checked(paths):
    model = simclr().fit(pd.DataFrame({"path": paths}))
    assert model.get_feature_names_out(["path"])[0] == "simclr0"
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(pd.DataFrame({"file": paths}))
    model.fit(paths)
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.slow
def test_pickles_hold_no_images(paths, tmp_path):
    few, many = simclr().fit(paths[:8]), simclr().fit(paths * 20)
    sizes = []
    for i, model in enumerate((few, many)):
        joblib.dump(model, tmp_path / str(i))
        sizes.append((tmp_path / str(i)).stat().st_size)
    assert abs(sizes[0] - sizes[1]) < 2000
