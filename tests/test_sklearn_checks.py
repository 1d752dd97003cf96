"""scikit-learn's own checks, of every estimator there is; none skipped, none expected to fail."""

import pytest
from common import ALL_METHODS, REPRESENTED, shrunk, taking_rows
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
# All methods share their base, so that one of them stands for all in the quick tests. Those with
# fitted attributes, networks or kinds of input of their own are with the slow ones.
ADAPTED = {method.__name__: shrunk(taking_rows(method)) for method in ALL_METHODS}
QUICK = [ADAPTED.pop("SimCLRTransformer"), KNNProbe(), LinearProbe()]
ALIKE = "ColorizationTransformer", "EMPSSLTransformer", "InpaintingTransformer"
EXHAUSTIVE = [ADAPTED.pop(name) for name in (*REPRESENTED, *ALIKE)]
SLOW = [*ADAPTED.values(), taking_rows(PatchKMeansTransformer)(**PATCHES)]
SLOW.append(EncoderTransformer(random_state=0))
SLOW.append(FineTuneClassifier(shrunk(SimCLRTransformer), max_epochs=1, random_state=0))


@parametrize_with_checks(QUICK)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(SLOW)
def test_sklearn_check_of_other_methods(estimator, check):
    check(estimator)


@pytest.mark.exhaustive
@parametrize_with_checks(EXHAUSTIVE)
def test_sklearn_check_of_represented_methods(estimator, check):
    check(estimator)
