"""Scatter plot of an embedding in two dimensions."""

import numpy as np
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state

from sklearn_ssl._runtime.decompositions import fit_pca
from sklearn_ssl.data.arrays import taken
from sklearn_ssl.data.labels import as_labels, codes_of, readable_rows
from sklearn_ssl.inference.batches import transformed
from sklearn_ssl.inspection.pictures import chosen, pictures_of

N_CLASSES = 20  # with different colors


class EmbeddingDisplay:
    """Scatter plot of an embedding in two dimensions, by PCA, t-SNE or UMAP.

    Use it to see whether samples form groups. Some of the images are shown at their positions, and
    with labels, points are colored by class. Two dimensions leave out most of an embedding:
    evaluate it with a probe.

    Parameters
    ----------
    positions : ndarray of shape (n_samples, 2)
        Positions in two dimensions.

    y : ndarray of shape (n_samples,), default=None
        Class labels. Samples without a label are gray.

    pictures : ndarray of shape (n_samples, height, width, n_channels), default=None
        The images, with values in [0, 1].

    title : str, default=None
        Title of the plot, the name of the method.

    unlabeled : object, default="auto"
        Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which are
        two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this is None:
        then all samples must have a label.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn into.

    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl.inspection import EmbeddingDisplay
    >>> X, y = load_digits().images[:200], load_digits().target[:200]
    >>> display = EmbeddingDisplay.from_embeddings(
    ...     X.reshape(200, -1), X, y, method="pca", ax=Figure().subplots()
    ... )
    >>> display.positions.shape
    (200, 2)
    """

    def __init__(self, *, positions, y=None, pictures=None, title=None, unlabeled="auto"):
        self.positions = positions
        self.y = y
        self.pictures = pictures
        self.title = title
        self.unlabeled = unlabeled

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, method="tsne", n_samples=2000, unlabeled="auto",
        random_state=None, ax=None
    ):  # fmt: skip
        """Embed samples and plot them in two dimensions.

        Parameters
        ----------
        estimator : transformer
            A fitted transformer.

        X : array-like, list or DataFrame
            Samples. Tabular data is shown as points, without images.

        y : array-like of shape (n_samples,), default=None
            Class labels.

        method : {"pca", "tsne", "umap"}, default="tsne"
            Dimensionality reduction: the first two principal components, t-SNE, which preserves
            neighbors, or UMAP, which needs umap-learn.

        n_samples : int, default=2000
            Maximum number of samples, drawn at random.

        unlabeled : object, default="auto"
            Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which
            are two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this
            is None: then all samples must have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the choice of samples and of the dimensionality reduction.

        ax : matplotlib Axes, default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        display : EmbeddingDisplay
            The display, with positions, labels and images as attributes.
        """
        rng = check_random_state(random_state)
        some = chosen(X, n_samples, rng)
        X, y = taken(X, some), None if y is None else as_labels(y)[some]
        pictures = pictures_of(X, estimator) if hasattr(estimator, "image_shape_") else None
        return cls._mapped(transformed(estimator, X), pictures, y, unlabeled, method, rng).plot(ax)

    @classmethod
    def from_embeddings(
        cls, embedding, images=None, y=None, *, method="tsne", n_samples=2000, unlabeled="auto",
        random_state=None, ax=None
    ):  # fmt: skip
        """Plot an embedding in two dimensions.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, n_features)
            Embedding; features are standardized.

        images : array-like, list or DataFrame, default=None
            The images, in the same order. None shows points only.

        y : array-like of shape (n_samples,), default=None
            Class labels.

        method : {"pca", "tsne", "umap"}, default="tsne"
            Dimensionality reduction: the first two principal components, t-SNE, which preserves
            neighbors, or UMAP, which needs umap-learn.

        n_samples : int, default=2000
            Maximum number of samples, drawn at random.

        unlabeled : object, default="auto"
            Value in y of samples without a label. "auto" is -1, unless y has only -1 and 1, which
            are two classes then. Missing values (None, NaN, NA) are unlabeled as well, unless this
            is None: then all samples must have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the choice of samples and of the dimensionality reduction.

        ax : matplotlib Axes, default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        display : EmbeddingDisplay
            The display, with positions, labels and images as attributes.
        """
        rng = check_random_state(random_state)
        some = chosen(embedding, n_samples, rng)
        embedding, y = np.asarray(embedding)[some], None if y is None else as_labels(y)[some]
        pictures = None if images is None else pictures_of(taken(images, some))
        return cls._mapped(embedding, pictures, y, unlabeled, method, rng).plot(ax)

    @classmethod
    def _mapped(cls, embedding, pictures, y, unlabeled, method, rng):
        """Return a display of an embedding, after dimensionality reduction."""
        names = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
        if method not in names:
            raise ValueError(f'method must be "pca", "tsne" or "umap". Got {method!r} instead.')
        readable = readable_rows(embedding)
        embedding = check_array(
            embedding[readable], dtype=[np.float32, np.float64], ensure_min_samples=3
        )
        if pictures is not None and len(pictures) == len(
            readable
        ):  # else without unreadable images
            pictures = pictures[readable]
        if y is not None:
            y = y[readable]
            codes_of(y, unlabeled)  # raises before t-SNE, which takes time
        seed = rng.randint(np.iinfo(np.int32).max)
        # t-SNE takes less time with fewer dimensions.
        values = transformed(StandardScaler().fit(embedding), embedding)
        values = transformed(fit_pca(values, min(50, *values.shape), seed), values)
        if method == "umap":
            try:
                from umap import UMAP
            except ImportError as error:
                raise ImportError(
                    'method="umap" needs umap-learn: pip install umap-learn.'
                ) from error
            positions = UMAP(random_state=seed).fit(values).embedding_
        elif method == "tsne":
            perplexity = min(30, (len(values) - 1) / 3)
            positions = TSNE(perplexity=perplexity, random_state=seed).fit(values).embedding_
        else:
            positions = values[:, :2]
        title = names[method]
        return cls(positions=positions, y=y, pictures=pictures, title=title, unlabeled=unlabeled)

    def plot(self, ax=None, *, n_pictures=80):
        """Draw the points, and images that do not overlap.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None creates a new figure.

        n_pictures : int, default=80
            Maximum number of images.

        Returns
        -------
        self : EmbeddingDisplay
            The display, with the artists as attributes.
        """
        import matplotlib.pyplot as plt
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        if ax is None:
            ax = plt.subplots(figsize=(6.4, 6), layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        x, y = self.positions.T
        if self.y is None:
            ax.scatter(x, y, s=6, color="gray", alpha=0.6)
        else:
            classes, codes = codes_of(self.y, self.unlabeled)
            if (codes < 0).any():
                unlabeled = codes < 0
                ax.scatter(x[unlabeled], y[unlabeled], s=6, color="lightgray", label="unlabeled")
            colors = plt.get_cmap("tab10" if len(classes) <= 10 else "tab20")
            for code, name in enumerate(classes):
                of_class = codes == code
                ax.scatter(
                    x[of_class], y[of_class], s=6, color=colors(code % N_CLASSES), label=name
                )
            if len(classes) <= N_CLASSES:
                ax.legend(
                    fontsize="small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5)
                )
        if self.pictures is not None:
            span = np.ptp(self.positions, axis=0)
            side = np.sqrt(0.5 / max(1, n_pictures))  # together they cover half of the axes
            zoom = 22 / max(self.pictures.shape[1:3])
            for i in _apart(self.positions / np.where(span > 0, span, 1), side, n_pictures):
                picture = self.pictures[i]
                picture = picture.squeeze(-1) if picture.shape[-1] == 1 else picture
                image = OffsetImage(picture, zoom=zoom, cmap="gray")
                ax.add_artist(AnnotationBbox(image, self.positions[i], frameon=False))
        ax.set(xticks=[], yticks=[], title=self.title)
        return self


def _apart(positions, distance, n):
    """Return indices of at most n positions with a minimum distance between them."""
    chosen = []
    for i, position in enumerate(positions):
        if len(chosen) == n:
            break
        if not chosen or np.abs(positions[chosen] - position).max(axis=1).min() > distance:
            chosen.append(i)
    return chosen
