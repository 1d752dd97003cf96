"""Samples beside those that an embedding takes for most similar."""

import numpy as np
from sklearn.utils import check_array, check_random_state

from sklearn_ssl.data.inputs import taken
from sklearn_ssl.data.labels import codes_of, readable_rows
from sklearn_ssl.inference.batches import transformed
from sklearn_ssl.inspection.pictures import (
    RIGHT,
    UNKNOWN,
    WRONG,
    chosen,
    grid_of_axes,
    pictures_of,
    show,
)
from sklearn_ssl.metrics.nearest import nearest


class NeighborsDisplay:
    """Images beside their nearest neighbours in an embedding.

    Use it to see what an embedding takes for similar: kinds of things, or colours and backgrounds
    alone. Similarity is the cosine. With labels, neighbours of the same class have a green frame
    and others a red one.

    Parameters
    ----------
    images : ndarray of shape (n_queries, 1 + n_neighbors, height, width, n_channels)
        The images that were asked for, and behind each its neighbours, the most similar one first,
        from 0 to 1.

    similarity : ndarray of shape (n_queries, n_neighbors)
        Cosines of the embeddings.

    right : ndarray of shape (n_queries, n_neighbors), bool, default=None
        Whether neighbours are of the same class. None where there are no labels.

    labeled : ndarray of shape (n_queries, n_neighbors), bool, default=None
        Whether query and neighbour both have a label; others get a gray frame. None is all.

    Attributes
    ----------
    axes_ : ndarray of shape (n_queries, 1 + n_neighbors)
        The axes that were drawn on.

    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl.inspection import NeighborsDisplay
    >>> X, y = load_digits().images, load_digits().target
    >>> display = NeighborsDisplay.from_embeddings(
    ...     X.reshape(len(X), -1), X, y, queries=2, n_neighbors=3, random_state=0,
    ...     ax=Figure().subplots(2, 4)
    ... )
    >>> display.right.shape
    (2, 3)
    """

    def __init__(self, *, images, similarity, right=None, labeled=None):
        self.images = images
        self.similarity = similarity
        self.right = right
        self.labeled = labeled

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, queries=5, n_neighbors=8, unlabeled="auto",
        random_state=None, ax=None
    ):  # fmt: skip
        """Embed images, find neighbours among them, and show them.

        Parameters
        ----------
        estimator : transformer
            A fitted one.

        X : array-like, list or DataFrame
            Images.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        queries : int or array-like of int, default=5
            Number of images that are drawn and asked for, or their indices.

        n_neighbors : int, default=8
            Number of neighbours of each, which is never its own.

        unlabeled : object, default="auto"
            What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y
            holds, which are two classes then. Missing values, None, NaN and NA, count as unlabeled
            as well. None says that all samples have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the draw.

        ax : array-like of matplotlib Axes of shape (n_queries, 1 + n_neighbors), default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : NeighborsDisplay
            The display, with what was found as attributes.
        """
        settings = {"queries": queries, "n_neighbors": n_neighbors, "random_state": random_state}
        settings["unlabeled"] = unlabeled
        return cls._found(transformed(estimator, X), X, y, estimator, **settings).plot(ax)

    @classmethod
    def from_embeddings(
        cls, embedding, images, y=None, *, queries=5, n_neighbors=8, unlabeled="auto",
        random_state=None, ax=None
    ):  # fmt: skip
        """Find neighbours in an embedding, and show the images.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, n_features)
            What is compared.

        images : array-like, list or DataFrame
            The images, in the same order.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        queries : int or array-like of int, default=5
            Number of images that are drawn and asked for, or their indices.

        n_neighbors : int, default=8
            Number of neighbours of each, which is never its own.

        unlabeled : object, default="auto"
            What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y
            holds, which are two classes then. Missing values, None, NaN and NA, count as unlabeled
            as well. None says that all samples have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the draw.

        ax : array-like of matplotlib Axes of shape (n_queries, 1 + n_neighbors), default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : NeighborsDisplay
            The display, with what was found as attributes.
        """
        settings = {"queries": queries, "n_neighbors": n_neighbors, "random_state": random_state}
        settings["unlabeled"] = unlabeled
        return cls._found(embedding, images, y, None, **settings).plot(ax)

    @classmethod
    def _found(
        cls, embedding, images, y, estimator, *, queries, n_neighbors, unlabeled, random_state
    ):
        """Return a display of the neighbours in an embedding."""
        embedding = check_array(
            embedding, dtype=[np.float32, np.float64], ensure_all_finite=False, ensure_min_samples=2
        )
        n = len(embedding)
        if len(images) != n or (y is not None and len(y) != n):
            raise ValueError(
                f"There are {n} rows in the embedding and {len(images)} images"
                + (f", and {len(y)} labels. " if y is not None else ". ")
                + "Pass them for the same samples, in the same order."
            )
        places = np.flatnonzero(readable_rows(embedding))  # not those of unreadable images
        embedding = check_array(embedding[places], ensure_min_samples=2)
        if np.ndim(queries) == 0:
            asking = chosen(embedding, queries, check_random_state(random_state))
        else:
            unreadable = np.setdiff1d(np.arange(n)[np.asarray(queries)], places)
            if len(unreadable):
                raise ValueError(f"Image {unreadable[0]} of queries could not be read.")
            asking = np.searchsorted(places, np.arange(n)[np.asarray(queries)])
        k = min(n_neighbors, len(places) - 1)
        found, similarity = nearest(embedding[asking], embedding, k + 1)
        # All but the sample itself, which may stand behind its equals, or not be there at all.
        order = np.argsort(found == asking[:, None], axis=1, kind="stable")[:, :k]
        found, similarity = (np.take_along_axis(a, order, axis=1) for a in (found, similarity))
        asking, found = places[asking], places[found]
        shown = np.concatenate([asking[:, None], found], axis=1)
        pictures = pictures_of(taken(images, shown.ravel()), estimator)
        right = labeled = None
        if y is not None:
            _, codes = codes_of(y, unlabeled)
            right = codes[found] == codes[asking][:, None]
            labeled = (codes[found] >= 0) & (codes[asking] >= 0)[:, None]
            right &= labeled
        pictures = pictures.reshape(*shown.shape, *pictures.shape[1:])
        return cls(images=pictures, similarity=similarity, right=right, labeled=labeled)

    def plot(self, ax=None):
        """Draw a row for each image: the image, then its neighbours.

        Parameters
        ----------
        ax : array-like of matplotlib Axes of shape (n_queries, 1 + n_neighbors), default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        self : NeighborsDisplay
            The display, with the drawn parts as attributes.
        """
        self.axes_ = grid_of_axes(ax, *self.images.shape[:2])
        self.figure_ = self.axes_[0, 0].figure
        for i, (row, pictures) in enumerate(zip(self.axes_, self.images, strict=True)):
            for j, (axis, picture) in enumerate(zip(row, pictures, strict=True)):
                frame = None
                if j and self.right is not None:
                    frame = RIGHT if self.right[i, j - 1] else WRONG
                    if self.labeled is not None and not self.labeled[i, j - 1]:
                        frame = UNKNOWN
                show(axis, picture, frame)
        self.axes_[0, 0].set_title("image", fontsize="small")
        self.axes_[0, 1].set_title("most similar", fontsize="small", loc="left")
        return self
