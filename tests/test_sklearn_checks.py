"""scikit-learn's own checks, of every estimator there is; none skipped, none expected to fail."""

import pytest
from common import ALL_METHODS, shrunk, taking_rows
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ssl import (
    EncoderTransformer,
    FineTuneClassifier,
    KNNProbe,
    LinearProbe,
    PatchKMeansTransformer,
    SimCLRTransformer,
)

# Products with eight columns, unlike six, do not round the last rows in another way.
PATCHES = {"n_centroids": 8, "n_patches": 60, "random_state": 0}
# All methods share their base, so that one of them stands for all in the quick tests.
METHODS_OF = {
    is_quick: [shrunk(taking_rows(m)) for m in ALL_METHODS if (m is SimCLRTransformer) == is_quick]
    for is_quick in (True, False)
}
SLOW = [taking_rows(PatchKMeansTransformer)(**PATCHES), EncoderTransformer(random_state=0)]
SLOW.append(FineTuneClassifier(shrunk(SimCLRTransformer), max_epochs=1, random_state=0))


@parametrize_with_checks([*METHODS_OF[True], KNNProbe(), LinearProbe()])
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([*METHODS_OF[False], *SLOW])
def test_sklearn_check_of_other_methods(estimator, check):
    check(estimator)
