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


def image_paths(folder: str | bytes | PathLike):
    """List the image files in a folder that has a subfolder for each class.

    Parameters
    ----------
    folder : str, bytes or path
        The folder, in torchvision's ImageFolder layout: ``folder/class/.../name.jpg``. Images
        that lie in no subfolder have the label "". A leading ``~`` is the home directory. Links to
        folders are followed; only one that leads back to a folder that it lies in is left out.

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
    folder = os.path.expanduser(os.fsdecode(folder))
    if not Path(folder).is_dir():
        raise ValueError(f"There is no folder {folder!r}.")
    found, above = [], {folder: frozenset()}  # the real folders that each folder lies in
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        within = above.pop(parent)
        if real in within:  # links may lead in circles
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        above |= {os.path.join(parent, name): within | {real} for name in folders}
        label = os.path.relpath(parent, folder).split(os.sep)[0]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                found.append((os.path.join(parent, name), "" if label == "." else label))
    if not found:
        raise ValueError(
            f"There is no image in {folder!r} or its subfolders: no visible file has a "
            f"name that ends in one of {', '.join(SUFFIXES)}."
        )
    paths, labels = zip(*sorted(found), strict=True)
    return np.array(paths, dtype=object), np.array(labels)
