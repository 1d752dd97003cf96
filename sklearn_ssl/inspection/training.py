"""Plot of a training."""

import numpy as np
from sklearn.utils.validation import check_is_fitted


class TrainingDisplay:
    """Plot of a training by epoch: loss, learning rate, and collapse of the embedding.

    Use it to see whether training converged, or failed: a loss at chance level, an embedding that
    is equal for all samples (``embedding_std`` near 0, complete collapse), or that uses few of its
    dimensions (``effective_rank`` near 1, dimensional collapse).

    Parameters
    ----------
    loss : ndarray of shape (n_epochs,)
        Mean loss of each epoch.

    lr : ndarray of shape (n_epochs,)
        Learning rate at the end of each epoch.

    health : dict of ndarray of shape (n_epochs,)
        Figures of each epoch, as in ``health_`` of an estimator.

    near_chance : float, default=0.9
        Share of the chance level above which a loss is near it; from an estimator, as in its fit.

    Attributes
    ----------
    advice_ : list of str
        What the curves say: whether training reached its planned end, and what may have failed.
        They cannot say whether the features are useful, for which labels are needed.

    axes_ : ndarray of shape (3,)
        The axes that were drawn into.

    figure_ : matplotlib Figure
        The figure of the axes.

    lines_ : list of matplotlib Line2D
        The curves: loss, chance level if the method has one, learning rate, ``embedding_std`` and
        ``effective_rank``.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ssl import SimCLRTransformer
    >>> from sklearn_ssl.inspection import TrainingDisplay
    >>> simclr = SimCLRTransformer(max_epochs=3, random_state=0).fit(load_digits().images[:100])
    >>> display = TrainingDisplay.from_estimator(simclr, ax=Figure().subplots(1, 3))
    >>> len(display.loss)
    3
    """

    def __init__(self, *, loss, lr, health, near_chance=0.9):
        self.loss = loss
        self.lr = lr
        self.health = health
        self.near_chance = near_chance

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Plot the training of a fitted estimator.

        Parameters
        ----------
        estimator : SSLTransformer
            A fitted method.

        ax : array-like of three matplotlib Axes, default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        display : TrainingDisplay
            The display, with the curves as attributes.
        """
        check_is_fitted(estimator)
        lr = np.array([row["lr"] for row in estimator.history_])
        loss = np.array(estimator.loss_curve_)
        near = estimator.objective_.near_chance
        return cls(loss=loss, lr=lr, health=estimator.health_, near_chance=near).plot(ax)

    def plot(self, ax=None):
        """Draw three panels: loss, learning rate, and figures of the embedding.

        Parameters
        ----------
        ax : array-like of three matplotlib Axes, default=None
            Axes to draw into. None creates a new figure.

        Returns
        -------
        self : TrainingDisplay
            The display, with the artists as attributes.
        """
        import matplotlib.pyplot as plt

        ours = ax is None
        if ours:
            ax = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")[1]
        axes = np.ravel(ax)
        if len(axes) != 3:
            raise ValueError(
                f"ax must contain three axes. Got {len(axes)}. None creates a new figure."
            )
        self.axes_, self.figure_, self.lines_ = axes, axes[0].figure, []
        epochs = np.arange(1, len(self.loss) + 1)
        self.lines_ += axes[0].plot(epochs, self.loss, ".-", label="loss")
        chance = self.health.get("chance_loss")
        if chance is not None and np.isfinite(chance).any():
            self.lines_ += axes[0].plot(epochs, chance, "--", color="gray", label="chance level")
            axes[0].legend(fontsize="small")
        axes[0].set(title="Loss")
        self.lines_ += axes[1].plot(epochs, self.lr, ".-")
        axes[1].set(title="Learning rate", ylim=(0, None))
        self.lines_ += axes[2].plot(epochs, self.health["embedding_std"], ".-", color="C0")
        axes[2].set(title="Embedding", ylim=(0, 1.05))
        axes[2].set_ylabel("embedding_std", color="C0")
        ranks = axes[2].twinx()
        self.lines_ += ranks.plot(epochs, self.health["effective_rank"], ".-", color="C1")
        ranks.set(ylim=(0, None))
        ranks.set_ylabel("effective_rank", color="C1")
        for axis in axes:
            axis.set_xlabel("epoch")
            axis.locator_params(axis="x", integer=True)
        self.advice_ = _advice(self.loss, self.lr, self.health, self.near_chance)
        if ours:
            self.figure_.supxlabel("\n".join(self.advice_), fontsize="small")
        return self


def _advice(loss, lr, health, near_chance):
    """Return what curves of a training say, as sentences."""
    chance, ranks = health.get("chance_loss", [np.nan]), health["effective_rank"]
    found = []
    if len(loss) < 5:
        found.append("Fewer than 5 epochs are too few to judge the training.")
    elif not loss.min() < loss[0]:
        found.append("The loss did not fall. Change lr, or use weaker augmentations in views.")
    elif lr[-1] > 0.1 * lr.max():
        found.append(
            "Training ended before its planned end, at a large learning rate. Features are better "
            "after a whole fit, with fewer epochs if need be."
        )
    else:
        found.append(
            f"The loss fell from {loss[0]:.3g} to {loss[-1]:.3g}. It is flat at the end of every "
            "schedule: only a fit of more epochs, and its score on samples that were not in fit, "
            "shows whether longer training helps."
        )
    if loss[-1] > near_chance * chance[-1] > 0:
        found.append("The loss is near chance level: little was learned from X.")
    if ranks[-1] < 0.5 * np.nanmax(ranks):
        found.append(
            f"The embedding lost dimensions: its effective rank fell from {np.nanmax(ranks):.3g} "
            f"to {ranks[-1]:.3g}. Lower lr, or use weaker augmentations in views."
        )
    return found
