"""Splits of samples of which few have labels."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_ssl import KNNProbe, LinearProbe, SemiSupervisedSplit

X, Y = load_digits(return_X_y=True)
FEW = np.where(np.random.default_rng(0).random(len(Y)) < 0.1, Y, -1)


@pytest.mark.parametrize("cv", [3, KFold(4), ShuffleSplit(2, random_state=0)])
def test_unlabeled_samples_are_in_every_training_part_and_in_no_test(cv):
    splitter = SemiSupervisedSplit(cv)
    folds = list(splitter.split(X, FEW))
    assert len(folds) == splitter.get_n_splits(X, FEW) == splitter.get_n_splits()
    for train, test in folds:
        assert set(np.flatnonzero(FEW == -1)) <= set(train)
        assert (FEW[test] != -1).all()
        assert not set(train) & set(test)
        assert (np.diff(train) > 0).all()
    if not isinstance(cv, ShuffleSplit):
        tested = np.concatenate([test for _, test in folds])
        assert sorted(tested) == np.flatnonzero(FEW != -1).tolist()


def test_an_int_keeps_the_shares_of_classes():
    y = np.repeat([0, 1, -1], [30, 10, 60])
    for _, test in SemiSupervisedSplit(5).split(y, y):
        assert np.bincount(y[test]).tolist() == [6, 2]


def test_groups_stay_together():
    groups = np.arange(len(FEW)) % 7
    splitter = SemiSupervisedSplit(GroupKFold(3))
    assert splitter.get_n_splits(X, FEW, groups) == 3
    for train, test in splitter.split(X, FEW, groups):
        labeled = train[FEW[train] != -1]
        assert not set(groups[labeled]) & set(groups[test])


def test_nothing_with_a_label_is_refused():
    with pytest.raises(ValueError, match=r"All of y is unlabeled, which is -1"):
        next(SemiSupervisedSplit().split(X, np.full(len(X), -1)))


@pytest.mark.slow
@pytest.mark.parametrize("probe", [LinearProbe(random_state=0), KNNProbe()])
def test_probes_leave_out_what_has_no_label(probe):
    has_label, leaves_out = FEW != -1, clone(probe).set_params(unlabeled=-1)
    left_out = leaves_out.fit(X, FEW)
    assert left_out.classes_.tolist() == list(range(10))
    alone = clone(probe).fit(X[has_label], FEW[has_label])
    np.testing.assert_allclose(left_out.predict_proba(X), alone.predict_proba(X), atol=1e-6)
    assert -1 not in clone(probe).fit(X, FEW).classes_
    assert -1 in clone(probe).set_params(unlabeled=None).fit(X, FEW).classes_
    with pytest.raises(ValueError, match="All of y is unlabeled, which is -1"):
        leaves_out.fit(X, np.full(len(X), -1))


def test_pipeline_sees_all_samples_and_is_scored_on_labels():
    seen = []

    class Watched(PCA):
        def fit_transform(self, X, y=None):
            seen.append(len(X))
            return super().fit_transform(X, y)

    model = make_pipeline(Watched(10), KNNProbe(unlabeled=-1))
    scores = cross_validate(model, X, FEW, cv=SemiSupervisedSplit(3))["test_score"]
    assert min(scores) > 0.8
    n_labeled = (FEW != -1).sum()
    assert all(abs(n - (len(X) - n_labeled / 3)) < 2 for n in seen)
