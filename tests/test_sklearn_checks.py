"""scikit-learn's own checks, of every method there is; none skipped, none expected to fail."""

from common import METHODS, shrunk, taking_rows
from sklearn.utils.estimator_checks import parametrize_with_checks


@parametrize_with_checks([shrunk(taking_rows(method)) for method in METHODS])
def test_sklearn_check(estimator, check):
    check(estimator)
