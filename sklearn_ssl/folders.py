"""The images in a folder."""

import os
from os import PathLike
from pathlib import Path

import numpy as np

# How the names of files end of the formats that are read.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)


def image_paths(folder: str | PathLike):
    """List the image files in a folder that has a subfolder for each class.

    Parameters
    ----------
    folder : str or path
        The folder, in torchvision's ImageFolder layout: ``folder/class/.../name.jpg``. Images
        that lie in no subfolder have the label "".

    Returns
    -------
    paths : ndarray of shape (n_images,) of str objects
        Paths of all files whose names end as image files' do, sorted. Hidden files are left out.

    labels : ndarray of shape (n_images,) of str
        Name of the subfolder of ``folder`` that each lies in.

    Raises
    ------
    ValueError
        If there is no such folder, or no image in it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn_ssl import image_paths
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         (Path(folder) / name).mkdir()
    ...         Image.new("RGB", (40, 30)).save(Path(folder) / name / "1.png")
    ...     paths, labels = image_paths(folder)
    >>> labels
    array(['cat', 'dog'], dtype='<U3')
    >>> Path(paths[0]).name
    '1.png'
    """
    if not Path(folder).is_dir():
        raise ValueError(f"There is no folder {os.fspath(folder)!r}.")
    found, seen = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        real = os.path.realpath(parent)
        if real in seen:  # links may lead in circles
            folders.clear()
            continue
        seen.add(real)
        label = os.path.relpath(parent, folder).split(os.sep)[0]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                found.append((os.path.join(parent, name), "" if label == "." else label))
    if not found:
        raise ValueError(
            f"There is no image in {os.fspath(folder)!r} or its subfolders: no visible file has a "
            f"name that ends in one of {', '.join(SUFFIXES)}."
        )
    paths, labels = zip(*sorted(found), strict=True)
    return np.array(paths, dtype=object), np.array(labels)
