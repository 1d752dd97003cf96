"""Images of samples, and grids of them in a figure."""

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklearn_ssl.data.recognition import recognized
from sklearn_ssl.methods.baselines.encoder import EncoderTransformer

RIGHT, WRONG, UNKNOWN = "tab:green", "tab:red", "lightgray"


def pictures_of(X, estimator=None):
    """Return images (n, h, w, c) in [0, 1], scaled as by a fitted estimator, if one is given."""
    if not hasattr(estimator, "_read_again"):  # none, or without a scale
        estimator = EncoderTransformer()
        source = estimator._find(X, reset=True).read()
        check_images(source)
        scaling = estimator._learn_scaling(source)
    else:
        source, _ = estimator._read_again(X)
        check_images(source)
        scaling = estimator._scaling
    cpu = torch.device("cpu")
    return as_pictures(scaling.on(cpu)(source.batch(slice(None), cpu)))


def check_images(source):
    """Raise if the samples are tabular data."""
    if source.spec.kind != "image":
        raise ValueError(
            f"X holds {source.spec.described()}, without images to show. Pass images, or an "
            "estimator with input=Images(shape=...)."
        )


def as_pictures(images):
    """Return a batch of float images (n, c, h, w) as an array (n, h, w, c) in [0, 1]."""
    images = images.permute(0, 2, 3, 1).numpy()
    if images.shape[3] not in (1, 3):  # multispectral: the mean of the channels
        images = images.mean(axis=3, keepdims=True)
    return images.clip(0, 1)


def show(ax, picture, frame=None):
    """Draw an image into axes, with an optional colored frame."""
    ax.imshow(
        picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1
    )
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=frame is not None, color=frame, linewidth=2.5)


def grid_of_axes(ax, n_rows, n_columns, side=0.9):
    """Return axes (n_rows, n_columns) of a grid of images: the given ones, or of a new figure."""
    if ax is not None:
        axes = np.asarray(ax)
        if axes.shape != (n_rows, n_columns):
            raise ValueError(
                f"ax must be an array of axes of shape {n_rows, n_columns}, one per image. Got "
                f"{axes.shape}. None creates a new figure."
            )
        return axes
    import matplotlib.pyplot as plt

    size = (side * n_columns + 0.2, side * n_rows + 0.4)
    return plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")[1]


def check_readable(source, n_drawn):
    """Raise if none of the images that were drawn could be read."""
    if not len(source):
        raise ValueError(
            f"None of the {n_drawn} images drawn from X could be read, so there is nothing to show."
        )


def rows_of(ax, n_drawn, source, n_columns):
    """Return the rows of given axes for those of n_drawn images that could be read."""
    return ax if ax is None else grid_of_axes(ax, n_drawn, n_columns)[: len(source)]


def chosen(X, n, random_state):
    """Return sorted indices of at most n random samples of X."""
    rng, total = check_random_state(random_state), len(recognized(X))
    return np.sort(rng.choice(total, min(n, total), replace=False))
