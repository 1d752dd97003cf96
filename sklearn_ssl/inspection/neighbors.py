"""Plot of images and their nearest neighbors in an embedding."""

import numpy as np
from sklearn.utils import check_array, check_random_state

from sklearn_ssl.data.arrays import taken
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
    """Plot of images and their nearest neighbors in an embedding (image retrieval).

    Use it to see which images are similar in an embedding: of the same class, or only of the same
    color and background. Neighbors are found by cosine similarity. With labels, those of the same
    class have a green frame and others a red one.

    Parameters
    ----------
    images : ndarray of shape (n_queries, 1 + n_neighbors, height, width, n_channels)
        Each query, followed by its neighbors, ordered by decreasing similarity, with values in
        [0, 1].

    similarity : ndarray of shape (n_queries, n_neighbors)
        Cosine similarities of queries and neighbors.

    right : ndarray of shape (n_queries, n_neighbors), bool, default=None
        Whether neighbors have the class of the query. None if there are no labels.

    labeled : ndarray of shape (n_queries, n_neighbors), bool, default=None
        Whether query and neighbor both have a label; others get a gray frame. None means all.

    Attributes
    ----------
    axes_ : ndarray of shape (n_queries, 1 + n_neighbors)
        The axes that were drawn into.

    figure_ : matplotlib Figure
        The figure of the axes.

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
        """Embed images, find nearest neighbors among them and plot them.

        Parameters
        ----------
        estimator : transformer
            A fitted transformer.

        X : array-like, list or DataFrame
            Images.

        y : array-like of shape (n_samples,), default=None
            Class labels.

        queries : int or array-like of int, default=5
            Number of random queries, or indices of the queries.

        n_neighbors : int, default=8
            Number of neighbors of each query, without the query itself.

        unlabeled : object, default="auto"
            Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which
            are two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this
            is None: then all samples must have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of random queries.

        ax : array-like of matplotlib Axes of shape (n_queries, 1 + n_neighbors), default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        display : NeighborsDisplay
            The display, with images and similarities as attributes.
        """
        settings = {"queries": queries, "n_neighbors": n_neighbors, "random_state": random_state}
        settings["unlabeled"] = unlabeled
        return cls._found(transformed(estimator, X), X, y, estimator, **settings).plot(ax)

    @classmethod
    def from_embeddings(
        cls, embedding, images, y=None, *, queries=5, n_neighbors=8, unlabeled="auto",
        random_state=None, ax=None
    ):  # fmt: skip
        """Find nearest neighbors in an embedding and plot the images.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, n_features)
            Embedding of the images.

        images : array-like, list or DataFrame
            The images, in the same order.

        y : array-like of shape (n_samples,), default=None
            Class labels.

        queries : int or array-like of int, default=5
            Number of random queries, or indices of the queries.

        n_neighbors : int, default=8
            Number of neighbors of each query, without the query itself.

        unlabeled : object, default="auto"
            Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which
            are two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this
            is None: then all samples must have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of random queries.

        ax : array-like of matplotlib Axes of shape (n_queries, 1 + n_neighbors), default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        display : NeighborsDisplay
            The display, with images and similarities as attributes.
        """
        settings = {"queries": queries, "n_neighbors": n_neighbors, "random_state": random_state}
        settings["unlabeled"] = unlabeled
        return cls._found(embedding, images, y, None, **settings).plot(ax)

    @classmethod
    def _found(
        cls, embedding, images, y, estimator, *, queries, n_neighbors, unlabeled, random_state
    ):
        """Return a display of the nearest neighbors in an embedding."""
        embedding = check_array(
            embedding, dtype=[np.float32, np.float64], ensure_all_finite=False, ensure_min_samples=2
        )
        n = len(embedding)
        if len(images) != n or (y is not None and len(y) != n):
            raise ValueError(
                f"The embedding has {n} samples, but there are {len(images)} images"
                + (f" and {len(y)} labels. " if y is not None else ". ")
                + "Pass them for the same samples, in the same order."
            )
        places = np.flatnonzero(readable_rows(embedding))  # without unreadable images
        embedding = check_array(embedding[places], ensure_min_samples=2)
        if np.ndim(queries) == 0:
            query_indices = chosen(embedding, queries, check_random_state(random_state))
        else:
            unreadable = np.setdiff1d(np.arange(n)[np.asarray(queries)], places)
            if len(unreadable):
                raise ValueError(f"Image {unreadable[0]} of queries could not be read.")
            query_indices = np.searchsorted(places, np.arange(n)[np.asarray(queries)])
        k = min(n_neighbors, len(places) - 1)
        found, similarity = nearest(embedding[query_indices], embedding, k + 1)
        # Without the query itself, which may follow equal images, or be missing.
        order = np.argsort(found == query_indices[:, None], axis=1, kind="stable")[:, :k]
        found, similarity = (np.take_along_axis(a, order, axis=1) for a in (found, similarity))
        query_indices, found = places[query_indices], places[found]
        shown = np.concatenate([query_indices[:, None], found], axis=1)
        pictures = pictures_of(taken(images, shown.ravel()), estimator)
        right = labeled = None
        if y is not None:
            _, codes = codes_of(y, unlabeled)
            right = codes[found] == codes[query_indices][:, None]
            labeled = (codes[found] >= 0) & (codes[query_indices] >= 0)[:, None]
            right &= labeled
        pictures = pictures.reshape(*shown.shape, *pictures.shape[1:])
        return cls(images=pictures, similarity=similarity, right=right, labeled=labeled)

    def plot(self, ax=None):
        """Draw a row for each query: the image, then its neighbors.

        Parameters
        ----------
        ax : array-like of matplotlib Axes of shape (n_queries, 1 + n_neighbors), default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        self : NeighborsDisplay
            The display, with the artists as attributes.
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
