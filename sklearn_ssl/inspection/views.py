"""Samples beside their random views."""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl.data import images_of, table_of
from sklearn_ssl.data.inputs import taken
from sklearn_ssl.data.sources import learn_scaling
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
    """Images beside the random views that a method trains on.

    Use it before training, to check what the features will learn not to notice: a view in which you
    cannot tell what is in the image any more teaches the network not to tell either, and if all
    views look alike there is nothing to learn. ``from_estimator`` draws the views, and shows them.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, n_channels)
        The samples, from 0 to 1.

    views : list of ndarray of shape (n_samples, height, width, n_channels)
        Their views, one array for each; heights and widths may differ.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples, 1 + n_views)
        The axes that were drawn on: a row for each sample, which comes first.

    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SimCLRTransformer
    >>> from sklearn_ssl.inspection import ViewsDisplay
    >>> axes = Figure().subplots(3, 3)  # without ax=axes, there is a new figure
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
        """Draw views of some images, and show them.

        Parameters
        ----------
        estimator : SSLTransformer
            Fitted or not: an estimator that is not takes what depends on samples from X.

        X : array-like, list or DataFrame
            Images as in fit.

        n_samples : int, default=6
            Number of images that are shown, drawn from X.

        random_state : int, RandomState instance or None, default=None
            Seed of the images and of their views.

        ax : array-like of matplotlib Axes of shape (n_samples, 1 + n_views), default=None
            Where to draw. None makes a new figure. Images that cannot be read leave rows at the end
            empty.

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
        scale = (
            model._scaling
            if fitted
            else learn_scaling(source, images_of(model).value_range, table_of(model).standardize)
        ).on(cpu)
        recipe = model.views_ if fitted else model._resolve_views(source)
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
            Where to draw. None makes a new figure.

        Returns
        -------
        self : ViewsDisplay
            The display, with the drawn parts as attributes.
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
