"""Fixtures that the tests of this folder share."""

from pathlib import Path

import pytest
from common import photo_patches
from PIL import Image

from data.helpers import simclr
from sklearn_ssl import image_paths

N = 48


@pytest.fixture(scope="module")
def array():
    return photo_patches(N, 32)


@pytest.fixture(scope="module")
def folder(array, tmp_path_factory):
    """A folder of lossless files, in a subfolder for each of two photographs."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("china", "flower"):
        (folder / name).mkdir()
    for i, image in enumerate(array):
        name = "china" if i < N // 2 else "flower"
        Image.fromarray(image).save(folder / name / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    return image_paths(folder)[0].tolist()


@pytest.fixture(scope="module")
def expected(array):
    return simclr().fit_transform(array)


@pytest.fixture
def some_bad(paths, tmp_path):
    """Paths of which three of the first twenty give no image."""
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "short.png").write_bytes(Path(paths[0]).read_bytes()[:300])
    X = list(paths)
    X[3], X[11], X[19] = str(tmp_path / "empty.jpg"), tmp_path / "short.png", None
    return X


@pytest.fixture
def decoded(monkeypatch):
    """How many images were decoded so far."""
    import sklearn_ssl.data.image_lists

    count = []
    real = sklearn_ssl.data.image_lists.read_image
    monkeypatch.setattr(
        "sklearn_ssl.data.image_lists.read_image",
        lambda *args: count.append(args[0]) or real(*args),
    )
    return count


# At this learning rate the rounding of a scale is not blown up by the steps that follow.
LOW = 1e-4


@pytest.fixture(scope="module")
def full_range(photos):
    """Photographs in which black and white both occur, so that every scale means the same."""
    photos = photos.copy()
    photos[0, 0, 0], photos[0, 0, 1] = 0, 255
    return photos


@pytest.fixture(scope="module")
def embedded(full_range):
    return simclr(lr=LOW).fit_transform(full_range)
