"""Metrics, compared with slow references, published values and other libraries."""

import numpy as np
import pytest
import torch
from common import shrunk
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import RotationTransformer, SimCLRTransformer, metrics


@pytest.mark.parametrize("scoring", [metrics.rankme_scorer, metrics.alignment_uniformity_scorer])
@pytest.mark.slow
def test_searches_need_no_labels(scoring, images):
    """Each setting is scored on samples that were held out."""
    model, temperatures = shrunk(SimCLRTransformer), [0.05, 1.0]
    search = GridSearchCV(model, {"temperature": temperatures}, scoring=scoring, cv=KFold(2))
    search.fit(images)
    expected = []
    for temperature in temperatures:
        model.set_params(temperature=temperature)
        folds = KFold(2).split(images)
        scores = [scoring(model.fit(images[train]), images[test]) for train, test in folds]
        expected.append(np.mean(scores))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
    assert search.best_params_["temperature"] == temperatures[np.argmax(expected)]


def test_rankme_scorer_takes_any_transformer(images):
    model = make_pipeline(shrunk(SimCLRTransformer), StandardScaler()).fit(images)
    expected = metrics.rankme(model.transform(images))
    assert metrics.rankme_scorer(model, images) == expected


def test_alignment_and_uniformity_are_of_views(images):
    model = shrunk(SimCLRTransformer, backbone="small_convnet").fit(images)
    score = metrics.alignment_uniformity_scorer(model, images)
    before = torch.get_rng_state()
    assert metrics.alignment_uniformity_scorer(model, images) == score
    assert torch.equal(torch.get_rng_state(), before)
    # Views that change nothing are all alike, and aligned as well as can be.
    model.views_ = lambda batch: [batch, batch]
    same = metrics.alignment_uniformity_scorer(model, images)
    embedding = model.set_params(flip_tta=False).transform(images)
    assert same == pytest.approx(-metrics.uniformity(embedding), abs=1e-4)
    with pytest.raises(ValueError, match="recipe of RotationTransformer gives one"):
        metrics.alignment_uniformity_scorer(shrunk(RotationTransformer).fit(images), images)
