"""Paths of the images in folders."""

import os
from pathlib import Path

import pytest

from sklearn_ssl import image_paths

N = 48


def test_image_paths(folder, tmp_path):
    paths, labels = image_paths(str(folder))
    assert len(paths) == N
    assert list(paths) == sorted(paths)
    assert all(Path(path).parent.name == label for path, label in zip(paths, labels, strict=True))
    for name in (
        "b/2.JPG",
        "b/deeper/1.webp",
        "a/x.png",
        "b/notes.txt",
        "a/.hidden.png",
        "top.gif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.png").touch()
    (tmp_path / "b" / "around").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(folder / "china")
    paths, labels = image_paths(tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in paths[:3]] == [
        "a/x.png",
        "b/2.JPG",
        "b/deeper/1.webp",
    ]
    assert labels.tolist() == ["a", "b", "b", *["c"] * (N // 2), ""]
    assert paths[-1] == str(tmp_path / "top.gif")


def test_folders_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"Folder '.*nothing' does not exist"):
        image_paths(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"No images found in .*\.jpg, "):
        image_paths(tmp_path)
