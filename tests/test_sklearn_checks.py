"""scikit-learn's own checks, of every estimator there is; none skipped, none expected to fail."""

from common import METHODS, shrunk, taking_rows
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
ESTIMATORS = [shrunk(taking_rows(method)) for method in METHODS]
ESTIMATORS += [taking_rows(PatchKMeansTransformer)(**PATCHES), KNNProbe(), LinearProbe()]
ESTIMATORS.append(EncoderTransformer(random_state=0))
ESTIMATORS.append(FineTuneClassifier(shrunk(SimCLRTransformer), max_epochs=1, random_state=0))


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check):
    check(estimator)
