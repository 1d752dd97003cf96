"""Image files of a folder and their labels."""

import os
from os import PathLike
from pathlib import Path

import numpy as np

# File extensions of the supported formats.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)


def image_paths(folder: str | bytes | PathLike):
    """List the image files of a folder with one subfolder per class.

    Parameters
    ----------
    folder : str, bytes or path
        The folder, in the layout of torchvision's ``ImageFolder``: ``folder/class/.../name.jpg``.
        Images directly in ``folder`` get the label "". A leading ``~`` is expanded to the home
        directory. Symbolic links to folders are followed, unless they lead back to a parent folder.

    Returns
    -------
    paths : ndarray of shape (n_images,) of str objects
        Sorted paths of all files with an image file extension. Hidden files are ignored.

    labels : ndarray of shape (n_images,) of str
        Name of the subfolder of ``folder`` that contains each image.

    Raises
    ------
    ValueError
        If the folder does not exist or contains no images.

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
        raise ValueError(f"Folder {folder!r} does not exist.")
    found, above = [], {folder: frozenset()}  # resolved parents of each folder
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        within = above.pop(parent)
        if real in within:  # circular links
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
            f"No images found in {folder!r} or its subfolders. Supported file extensions: "
            f"{', '.join(SUFFIXES)}; hidden files are ignored."
        )
    paths, labels = zip(*sorted(found), strict=True)
    return np.array(paths, dtype=object), np.array(labels)
