"""Plot of what a method sees of images and what it generates."""

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl.data.arrays import taken
from sklearn_ssl.inspection.pictures import (
    as_pictures,
    check_readable,
    chosen,
    grid_of_axes,
    rows_of,
    show,
)


class PretextDisplay:
    """Plot of what a method sees of images, what it generates from it, and the images.

    Use it after training to see what was learned: how masked regions are filled, colors predicted,
    small images upscaled or puzzles solved. Use images that were not in training.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, n_channels)
        The images, with values in [0, 1].

    inputs : ndarray of shape (n_samples, input_height, input_width, n_channels)
        What the network sees of them.

    outputs : ndarray of shape (n_samples, height, width, n_channels)
        What it generates.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples, 3)
        The axes that were drawn into: one row per sample, with input, output and image.

    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import InpaintingTransformer
    >>> from sklearn_ssl.inspection import PretextDisplay
    >>> images = load_digits().images
    >>> inpainting = InpaintingTransformer(max_epochs=1, random_state=0).fit(images[:200])
    >>> axes = Figure().subplots(4, 3)  # by default, a new figure
    >>> display = PretextDisplay.from_estimator(
    ...     inpainting, images[200:], n_samples=4, random_state=0, ax=axes
    ... )
    >>> display.outputs.shape
    (4, 8, 8, 1)
    """

    def __init__(self, *, images, inputs, outputs):
        self.images = images
        self.inputs = inputs
        self.outputs = outputs

    @classmethod
    def from_estimator(cls, estimator, X, *, n_samples=6, random_state=None, ax=None):
        """Draw random images, and plot what a method sees of them and generates.

        Parameters
        ----------
        estimator : SSLTransformer
            A fitted method that generates images, such as InpaintingTransformer.

        X : array-like, list or DataFrame
            Images as in fit, of the same shape.

        n_samples : int, default=6
            Number of images, drawn at random from X.

        random_state : int, RandomState instance or None, default=None
            Seed of the choice of images, and of what the method draws, such as masks.

        ax : array-like of matplotlib Axes of shape (n_samples, 3), default=None
            Axes to draw into. None creates a new figure. Rows at the end stay empty if images
            cannot be read.

        Returns
        -------
        display : PretextDisplay
            The display, with images, inputs and outputs as attributes.
        """
        check_is_fitted(estimator)
        objective = getattr(estimator, "objective_", None)
        if not hasattr(objective, "pictures"):
            raise ValueError(
                "PretextDisplay needs a method that generates images, such as "
                "InpaintingTransformer or JigsawTransformer. "
                f"{type(estimator).__name__} generates no images."
            )
        rng = check_random_state(random_state)
        indices = chosen(X, n_samples, rng)
        source, _ = estimator._read_again(taken(X, indices))
        check_readable(source, len(indices))
        ax = rows_of(ax, len(indices), source, 3)
        cpu = torch.device("cpu")
        images = estimator._scaling.on(cpu)(source.batch(slice(None), cpu))
        with isolated(cpu), torch.no_grad():
            seed_torch(cpu, rng.randint(np.iinfo(np.int32).max))
            seen, made = estimator._pictures(images)
        pictures = (as_pictures(batch) for batch in (images, seen, made))
        return cls(**dict(zip(("images", "inputs", "outputs"), pictures, strict=True))).plot(ax)

    def plot(self, ax=None):
        """Draw a row for each image: input, output and image.

        Parameters
        ----------
        ax : array-like of matplotlib Axes of shape (n_samples, 3), default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        self : PretextDisplay
            The display, with the artists as attributes.
        """
        columns = {"input": self.inputs, "output": self.outputs, "image": self.images}
        self.axes_ = grid_of_axes(ax, len(self.images), len(columns))
        self.figure_ = self.axes_[0, 0].figure
        for axes, (name, pictures) in zip(self.axes_.T, columns.items(), strict=True):
            axes[0].set_title(name, fontsize="small")
            for axis, picture in zip(axes, pictures, strict=True):
                show(axis, picture)
        return self
