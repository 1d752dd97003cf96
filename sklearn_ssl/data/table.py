"""Tabular data as X, and how its columns are scaled."""

from dataclasses import dataclass

from sklearn_ssl.parameters import Recipe


@dataclass(frozen=True)
class Table(Recipe):
    """Tabular data in X: samples in rows, features in columns.

    Give it to an estimator as ``input=Table(...)``; "auto" takes every X with two dimensions for
    tabular data.

    Parameters
    ----------
    standardize : bool, default=True
        Whether features are standardized with the mean and standard deviation that they have in
        fit. With False the network sees the values as they are, for features that were scaled
        before or have a common unit.

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
    """Return how tabular data in X is described to an estimator."""
    return estimator.input if isinstance(estimator.input, Table) else Table()
