"""Tabular data as X: its checks, and the scaling of its features."""

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_ssl.data.arrays import (
    check_finite,
    checked,
    column_error,
    is_missing,
    is_temporal,
)
from sklearn_ssl.data.modality import Modality
from sklearn_ssl.data.on_disk import OnDisk
from sklearn_ssl.data.sources import ArraySource, learn_standardization
from sklearn_ssl.data.spec import TableSpec
from sklearn_ssl.parameters import recipe


@recipe
class Table(Modality):
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

    kind, noun = "table", "tabular data"
    forms = "Pass an array (n_samples, n_features)."

    def __post_init__(self):
        if not isinstance(self.standardize, bool):
            raise ValueError(f"standardize must be a bool. Got {self.standardize!r} instead.")

    @classmethod
    def accepts(cls, given):
        """Return whether X is an array of two dimensions, which lists no images."""
        return given.listed is None and len(given.array.shape) <= 2

    def find(self, given, request):
        """Check X; return its source."""
        if given.listed is not None:
            raise ValueError(
                f"X lists images, but input={self!r} is for tabular data. Give an array "
                "(n_samples, n_features), or input=Images(...)."
            )
        shape, seen = tuple(given.array.shape), request.seen
        if len(shape) > 2:
            raise ValueError(
                f"X has shape {shape}, but input={self!r} is for tabular data, "
                "(n_samples, n_features). Give such an array, or input=Images(...)."
            )
        if len(shape) == 1:
            _check_column(given.array)
        if seen is not None and seen.kind != self.kind:
            raise ValueError(
                f"X is tabular data, of shape {shape}, but {request.name} was fitted on "
                f"{seen.described()}. {seen.remedy}"
            )
        rows, spec = checked_rows(given.array, request)
        source = ArraySource(rows, rows.shape[1:], spec=spec)
        check_finite(source, spec.names)
        return source

    def learn(self, source):
        """Return the scaling of the features."""
        return learn_standardization(source, self.standardize)


def checked_rows(X, request):
    """Return a two-dimensional X as validated by scikit-learn, and its spec.

    Errors contain the name of the column.
    """
    header = request.header()
    how = {"reset": request.seen is None}
    if isinstance(X, OnDisk):
        rows = validate_data(header, checked(X, request), skip_check_array=True, **how)
    else:
        if hasattr(X, "columns"):
            if not len(X.columns):
                raise ValueError("X is a data frame without columns.")
            if any(is_temporal(dtype) for dtype in X.dtypes):
                raise column_error(X)  # dates would be converted to numbers together with others
        try:
            how |= {"ensure_all_finite": False, "ensure_min_samples": request.min_samples}
            rows = validate_data(header, X, **how)
            if rows.dtype.kind in "mM":
                raise column_error(rows)
            rows = rows.astype(np.float64) if rows.dtype == object else rows
        except (TypeError, ValueError) as error:
            raise column_error(X, error) from error
    names = getattr(header, "feature_names_in_", None)
    return rows, TableSpec(rows.shape[1:], rows.shape[1], names)


def _check_column(X):
    """Raise if an array (n,) has no samples, or contains arrays that have to be stacked."""
    if not len(X):
        raise ValueError("X is empty: it has no samples.")
    if getattr(X.dtype, "names", None):
        raise ValueError("X is a structured array. Give a data frame: pandas.DataFrame(X).")
    first = next((value for value in X if not is_missing(value)), None)
    if first is None:
        raise ValueError("X is a column of missing values alone. Remove or replace these samples.")
    if np.ndim(first) == 1 and not isinstance(first, str):
        raise ValueError("X is a column of arrays. Give one array, with numpy.stack(X).")
