"""Tabular data as X, and the scaling of its features."""

from sklearn_ssl.parameters import Recipe, recipe


@recipe
class Table(Recipe):
    """Tabular data in X, of shape (n_samples, n_features).

    Passed to an estimator as ``input=Table(...)``; the default "auto" treats every two-dimensional
    X as tabular data.

    Parameters
    ----------
    standardize : bool, default=True
        Whether to standardize features by their mean and standard deviation in fit. Set it to
        False for features that are already scaled or share a unit.

    Examples
    --------
    >>> from sklearn_ssl import SimCLRTransformer, Table
    >>> simclr = SimCLRTransformer(input=Table(standardize=False))
    """

    standardize: bool = True

    def __post_init__(self):
        if not isinstance(self.standardize, bool):
            raise ValueError(f"standardize must be a bool. Got {self.standardize!r} instead.")


def table_of(estimator):
    """Return the :class:`Table` of an estimator, with defaults if ``input`` is not one."""
    return estimator.input if isinstance(estimator.input, Table) else Table()
