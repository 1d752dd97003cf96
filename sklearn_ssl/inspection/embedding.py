"""An embedding as a map."""

import numpy as np
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state

from sklearn_ssl._runtime.decompositions import fit_pca
from sklearn_ssl.data.inputs import taken
from sklearn_ssl.data.labels import as_labels, codes_of, readable_rows
from sklearn_ssl.inference.batches import transformed
from sklearn_ssl.inspection.pictures import chosen, pictures_of

N_CLASSES = 20  # that have a colour of their own


class EmbeddingDisplay:
    """A map of an embedding, in which similar samples lie close together.

    Use it to see whether samples fall into groups, and what the groups are: with images, some of
    them are shown where they lie; with labels, points have the colours of their classes. A map in
    two dimensions leaves out most of an embedding: judge one by a probe.

    Parameters
    ----------
    positions : ndarray of shape (n_samples, 2)
        Places in the map.

    y : ndarray of shape (n_samples,), default=None
        Classes. Samples without a label are gray.

    pictures : ndarray of shape (n_samples, height, width, n_channels), default=None
        The images, from 0 to 1.

    title : str, default=None
        How the map was made.

    unlabeled : object, default="auto"
        What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y holds,
        which are two classes then. Missing values, None, NaN and NA, count as unlabeled as well.
        None says that all samples have a label.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.

    figure_ : matplotlib Figure
        Its figure.

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
        """Embed samples, and show the map.

        Parameters
        ----------
        estimator : transformer
            A fitted one.

        X : array-like, list or DataFrame
            Images, or rows, which are points alone.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        method : {"pca", "tsne", "umap"}, default="tsne"
            How places are found: by the two directions of largest variance; by t-SNE, which keeps
            neighbours; or by UMAP, if umap-learn is installed.

        n_samples : int, default=2000
            Largest number of samples, drawn at random.

        unlabeled : object, default="auto"
            What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y
            holds, which are two classes then. Missing values, None, NaN and NA, count as unlabeled
            as well. None says that all samples have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the draw and of the map.

        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : EmbeddingDisplay
            The display, with the map as attributes.
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
        """Make a map of an embedding, and show it.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, n_features)
            What is shown; features are standardised.

        images : array-like, list or DataFrame, default=None
            The images, in the same order. With None there are points alone.

        y : array-like of shape (n_samples,), default=None
            Classes.

        method : {"pca", "tsne", "umap"}, default="tsne"
            How places are found: by the two directions of largest variance; by t-SNE, which keeps
            neighbours; or by UMAP, if umap-learn is installed.

        n_samples : int, default=2000
            Largest number of samples, drawn at random.

        unlabeled : object, default="auto"
            What y has for samples without a label. "auto" is -1, unless -1 and 1 are all that y
            holds, which are two classes then. Missing values, None, NaN and NA, count as unlabeled
            as well. None says that all samples have a label.

        random_state : int, RandomState instance or None, default=None
            Seed of the draw and of the map.

        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : EmbeddingDisplay
            The display, with the map as attributes.
        """
        rng = check_random_state(random_state)
        some = chosen(embedding, n_samples, rng)
        embedding, y = np.asarray(embedding)[some], None if y is None else as_labels(y)[some]
        pictures = None if images is None else pictures_of(taken(images, some))
        return cls._mapped(embedding, pictures, y, unlabeled, method, rng).plot(ax)

    @classmethod
    def _mapped(cls, embedding, pictures, y, unlabeled, method, rng):
        """Return a display of the map of an embedding."""
        names = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
        if method not in names:
            raise ValueError(f'method must be "pca", "tsne" or "umap". Got {method!r} instead.')
        readable = readable_rows(embedding)
        embedding = check_array(
            embedding[readable], dtype=[np.float32, np.float64], ensure_min_samples=3
        )
        if pictures is not None and len(pictures) == len(readable):  # else without unreadable ones
            pictures = pictures[readable]
        if y is not None:
            y = y[readable]
            codes_of(y, unlabeled)  # raises before minutes of a map
        seed = rng.randint(np.iinfo(np.int32).max)
        # t-SNE would take long over distances in all dimensions.
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
        """Draw the points, and some of the images where no other one lies.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        n_pictures : int, default=80
            Largest number of images.

        Returns
        -------
        self : EmbeddingDisplay
            The display, with the drawn parts as attributes.
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
            side = np.sqrt(0.5 / max(1, n_pictures))  # all together cover half of the map
            zoom = 22 / max(self.pictures.shape[1:3])
            for i in _apart(self.positions / np.where(span > 0, span, 1), side, n_pictures):
                picture = self.pictures[i]
                picture = picture.squeeze(-1) if picture.shape[-1] == 1 else picture
                image = OffsetImage(picture, zoom=zoom, cmap="gray")
                ax.add_artist(AnnotationBbox(image, self.positions[i], frameon=False))
        ax.set(xticks=[], yticks=[], title=self.title)
        return self


def _apart(positions, distance, n):
    """Return indices of at most n positions, none nearer to another than a distance."""
    chosen = []
    for i, position in enumerate(positions):
        if len(chosen) == n:
            break
        if not chosen or np.abs(positions[chosen] - position).max(axis=1).min() > distance:
            chosen.append(i)
    return chosen
