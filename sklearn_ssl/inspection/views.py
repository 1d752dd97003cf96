"""Plot of images and their random views."""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl.data.arrays import taken
from sklearn_ssl.inference.batches import views_of
from sklearn_ssl.inspection.pictures import (
    as_pictures,
    check_images,
    check_readable,
    chosen,
    grid_of_axes,
    rows_of,
    show,
)


class ViewsDisplay:
    """Plot of images and the random views (augmentations) that a method trains on.

    Use it before training to check the augmentations, which the features become invariant to: if
    views are too strong, the content of the images is lost; if they are too weak, there is little
    to learn.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, n_channels)
        The images, with values in [0, 1].

    views : list of ndarray of shape (n_samples, height, width, n_channels)
        Their views, one array per view; heights and widths may differ.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples, 1 + n_views)
        The axes that were drawn into: one row per sample, with the image first.

    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SimCLRTransformer
    >>> from sklearn_ssl.inspection import ViewsDisplay
    >>> axes = Figure().subplots(3, 3)  # by default, a new figure
    >>> display = ViewsDisplay.from_estimator(
    ...     SimCLRTransformer(), load_digits().images, n_samples=3, random_state=0, ax=axes
    ... )
    >>> [view.shape for view in display.views]
    [(3, 8, 8, 1), (3, 8, 8, 1)]
    """

    def __init__(self, *, images, views):
        self.images = images
        self.views = views

    @classmethod
    def from_estimator(cls, estimator, X, *, n_samples=6, random_state=None, ax=None):
        """Draw views of random images and plot them.

        Parameters
        ----------
        estimator : SSLTransformer
            A fitted or unfitted method. If it is not fitted, "auto" is resolved for X.

        X : array-like, list or DataFrame
            Images as in fit.

        n_samples : int, default=6
            Number of images, drawn at random from X.

        random_state : int, RandomState instance or None, default=None
            Seed of the choice of images and of their views.

        ax : array-like of matplotlib Axes of shape (n_samples, 1 + n_views), default=None
            Axes to draw into. None creates a new figure. Rows at the end stay empty if images
            cannot be read.

        Returns
        -------
        display : ViewsDisplay
            The display, with images and views as attributes.
        """
        rng = check_random_state(random_state)
        indices = chosen(X, n_samples, rng)
        fitted, cpu = hasattr(estimator, "encoder_"), torch.device("cpu")
        model = estimator if fitted else clone(estimator)
        source = model._find(taken(X, indices), reset=not fitted).read()
        check_images(source)
        check_readable(source, len(indices))
        scale = (model._scaling if fitted else model._learn_scaling(source)).on(cpu)
        recipe = model.views_ if fitted else model._resolve_views(source.spec)
        batch = source.batch(slice(None), cpu)
        with isolated(cpu):
            seed_torch(cpu, rng.randint(np.iinfo(np.int32).max))
            views = views_of(recipe, scale, batch)
        ax = rows_of(ax, len(indices), source, 1 + len(views))
        return cls(images=as_pictures(scale(batch)), views=list(map(as_pictures, views))).plot(ax)

    def plot(self, ax=None):
        """Draw a row for each image: the image, then its views.

        Parameters
        ----------
        ax : array-like of matplotlib Axes of shape (n_samples, 1 + n_views), default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        self : ViewsDisplay
            The display, with the artists as attributes.
        """
        self.axes_ = grid_of_axes(ax, len(self.images), 1 + len(self.views))
        self.figure_ = self.axes_[0, 0].figure
        for column, pictures in zip(self.axes_.T, [self.images, *self.views], strict=True):
            for axis, picture in zip(column, pictures, strict=True):
                show(axis, picture)
        self.axes_[0, 0].set_title("image", fontsize="small")
        for i, axis in enumerate(self.axes_[0, 1:], start=1):
            axis.set_title(f"view {i}", fontsize="small")
        return self
