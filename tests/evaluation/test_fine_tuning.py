"""Fine-tuning: where it starts, what it trains, and which samples teach it."""

import io
import pickle

import numpy as np
import pytest
import torch
from common import digits, each_method_long, shrunk, takes, taking_rows
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from torch.nn.functional import cross_entropy

from sklearn_ssl import (
    EncoderTransformer,
    FineTuneClassifier,
    Images,
    LinearProbe,
    SemiSupervisedSplit,
    SimCLRTransformer,
    base,
)
from sklearn_ssl.evaluation import fine_tuning
from sklearn_ssl.views import ImageViews

IMAGES, Y = (part[:300] for part in digits())
ROWS = IMAGES.reshape(300, -1)


@pytest.fixture(scope="module")
def pretrained():
    return shrunk(SimCLRTransformer).fit(IMAGES)


def tuned(estimator, X=IMAGES, y=Y, **parameters):
    """Return a classifier with few epochs that begins with a fitted estimator."""
    settings = {"max_epochs": 2, "random_state": 0} | parameters
    return FineTuneClassifier(FrozenEstimator(estimator), **settings).fit(X, y)


def weights(module):
    """Return a module's parameters and buffers, by name."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 10])
def test_it_begins_with_the_probe_of_the_frozen_embedding(pretrained, n_classes):
    some = n_classes > Y
    X, y = IMAGES[some], Y[some]
    model = tuned(pretrained, X, y, lr=1e-12, max_epochs=1)
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    probe = LinearProbe(random_state=seed).fit(pretrained.transform(X), y)
    expected = probe.predict_proba(pretrained.transform(X))
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-4)
    expected = probe.decision_function(pretrained.transform(X))
    np.testing.assert_allclose(model.decision_function(X), expected, atol=2e-3)


@each_method_long
def test_all_of_the_network_is_trained_but_statistics(method):
    """Also that of a teacher, which no gradient reached in pretraining."""
    X = IMAGES if takes(method, "image") else ROWS
    estimator = shrunk(method).fit(X)
    before = weights(estimator.encoder_)
    model = tuned(estimator, X)
    after = weights(model.transformer_.encoder_)
    trained = dict(estimator.encoder_.named_parameters())
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]) == (name not in trained), name
    for name, tensor in weights(estimator.encoder_).items():
        assert torch.equal(tensor, before[name]), name  # the estimator itself stays as it was
    assert not model.transformer_.encoder_.training


@pytest.mark.slow
@pytest.mark.exhaustive
def test_labels_teach_the_network(pretrained):
    """More than they teach a linear model; with other labels, others."""
    X, y = digits()
    crops = ImageViews(
        scale=(0.5, 1.0), color_jitter=0.0, grayscale=0.0, gaussian_blur=0.0, n_views=1
    )
    few = {"max_epochs": 60, "lr": 2e-3, "views": crops}
    model = tuned(pretrained, IMAGES, Y, **few)
    probe = LinearProbe(random_state=0).fit(pretrained.transform(IMAGES), Y)
    frozen = probe.score(pretrained.transform(X[300:]), y[300:])
    assert model.score(X[300:], y[300:]) > frozen + 0.02
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 2
    assert len(model.history_) == model.max_epochs_ == 60
    shuffled = tuned(pretrained, IMAGES, np.random.default_rng(0).permutation(Y), **few)
    assert shuffled.score(X[300:], y[300:]) < 0.3


def test_its_loss_is_cross_entropy_of_all_views():
    encoder = torch.nn.Linear(4, 3)
    rng = np.random.default_rng(0)
    coef, intercept = rng.normal(size=(5, 3)), rng.normal(size=5)
    scale = rng.random(3)
    objective = fine_tuning.ClassesObjective(encoder, coef, intercept, scale, 0.3, None, np.ones(5))
    views = [torch.randn(6, 4), torch.randn(6, 4)]
    codes = torch.tensor([0, 1, 2, 3, 4, 0])
    expected = sum(
        cross_entropy(
            encoder(view) @ torch.tensor(coef).float().T + torch.tensor(intercept).float(), codes
        )
        for view in views
    )
    expected = expected / 2 + 0.3 / 2 * np.square(coef * scale).sum()
    assert torch.allclose(objective(views, codes)["loss"], expected.float(), atol=1e-5)


@pytest.mark.slow
def test_samples_without_labels_teach_only_the_pretraining(pretrained):
    y = Y.copy()
    y[::3] = -1
    known = y != -1
    with_all, with_known = tuned(pretrained, y=y), tuned(pretrained, IMAGES[known], y[known])
    np.testing.assert_array_equal(with_all.coef_, with_known.coef_)
    assert with_all.classes_.tolist() == list(range(10))
    model = FineTuneClassifier(shrunk(SimCLRTransformer), max_epochs=2, random_state=0)
    np.testing.assert_array_equal(model.fit(IMAGES, y).coef_, with_all.coef_)
    assert not hasattr(model.estimator, "encoder_")


@pytest.mark.slow
def test_minus_one_and_one_are_two_classes(pretrained):
    y = np.where(Y % 2, 1, -1)
    assert tuned(pretrained, y=y).classes_.tolist() == [-1, 1]
    with pytest.raises(ValueError, match=r"at least two classes.* 1 class: \[1\]"):
        tuned(pretrained, y=y, unlabeled=-1)
    some = np.where(Y < 3, Y, -1)  # 0, 1, 2 and unknown
    assert tuned(pretrained, y=some).classes_.tolist() == [0, 1, 2]
    assert tuned(pretrained, y=some, unlabeled=None).classes_.tolist() == [-1, 0, 1, 2]


def test_labels_may_be_words(pretrained):
    words = np.array(["zero", "one", "two", ""])[np.minimum(Y, 3)]
    model = tuned(pretrained, y=words, unlabeled="")
    assert model.classes_.tolist() == ["one", "two", "zero"]
    assert set(model.predict(IMAGES)) == {"one", "two", "zero"}


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.full(300, -1), "All of y is unlabeled, which is -1"),
        (np.where(Y == 0, 3, -1), r"1 class: \[3\]"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.linspace(0, 1, 300), "Unknown label type"),
    ],
)
def test_uninformative_labels(pretrained, y, match):
    model = FineTuneClassifier(FrozenEstimator(pretrained))
    with pytest.raises(ValueError, match=match):
        model.fit(IMAGES, y)
    assert not hasattr(model, "classes_")


def test_labels_are_checked_before_pretraining(monkeypatch):
    monkeypatch.setattr(base, "train", None)
    with pytest.raises(ValueError, match="All of y is unlabeled, which is -1"):
        FineTuneClassifier(SimCLRTransformer()).fit(IMAGES, np.full(300, -1))
    with pytest.raises(ValueError, match=r"1 class: \[3\]"):
        FineTuneClassifier(SimCLRTransformer()).fit(IMAGES, np.where(Y == 0, 3, -1))


def test_only_networks_can_be_tuned():
    with pytest.raises(TypeError, match=r"trains a network.*PCA"):
        FineTuneClassifier(PCA()).fit(ROWS, Y)


def png(image):
    """Return an image's file, as bytes."""
    file = io.BytesIO()
    Image.fromarray((image * 15).astype(np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.mark.slow
def test_images_that_cannot_be_read():
    files = [png(image) for image in IMAGES[:60]]
    broken = [*files[:20], b"no image", *files[20:]]
    y = np.insert(Y[:60], 20, 7).astype(np.uint8)
    reading = EncoderTransformer(input=Images(on_error="skip", size=16), random_state=0)
    model, whole = (
        FineTuneClassifier(reading, max_epochs=2, random_state=0).fit(X, labels)
        for X, labels in [(broken, y), (files, Y[:60])]
    )
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    told, shares = model.predict(broken), model.predict_proba(broken)
    assert told[20] == -1
    assert np.isnan(shares[20]).all()
    np.testing.assert_array_equal(np.delete(told, 20), whole.predict(files))
    assert np.isfinite(np.delete(shares, 20, axis=0)).all()
    words = np.array([f"digit {i}" for i in y])
    told = FineTuneClassifier(reading, max_epochs=1, unlabeled="?").fit(broken, words)
    assert told.predict(broken)[20] == "?"


@pytest.mark.exhaustive
def test_views_flip_where_the_estimator_does(pretrained, monkeypatch):
    recipes, train = [], fine_tuning.train
    monkeypatch.setattr(
        fine_tuning, "train", lambda *a, **k: recipes.append(a[0].views) or train(*a, **k)
    )
    tuned(pretrained, max_epochs=1)
    FineTuneClassifier(EncoderTransformer(random_state=0), max_epochs=1).fit(IMAGES, Y)
    tuned(pretrained, views=ImageViews(n_views=2), max_epochs=1)
    still = shrunk(SimCLRTransformer, views=ImageViews(hflip=0.0), flip_tta=True).fit(IMAGES)
    model = tuned(still)
    mirrored = IMAGES[:, :, ::-1]
    np.testing.assert_allclose(
        model.predict_proba(mirrored), model.predict_proba(IMAGES), atol=1e-5
    )
    still.flip_tta = False
    tuned(still, max_epochs=1)
    assert [recipe.hflip for recipe in recipes] == [0.5, 0.0, 0.5, 0.5, 0.0]
    assert [recipe.n_views for recipe in recipes] == [1, 1, 2, 1, 1]
    own = ImageViews(n_views=2)
    with pytest.raises(ValueError, match="are for images, but X holds tabular data"):
        tuned(shrunk(SimCLRTransformer).fit(ROWS), ROWS, views=own)


@pytest.mark.exhaustive
def test_auto_epochs(pretrained):
    some = IMAGES[:90], Y[:90]
    assert tuned(pretrained, *some, max_epochs="auto", batch_size=2).max_epochs_ == 7  # of 45 steps
    assert tuned(pretrained, max_epochs="auto", batch_size=4).max_epochs_ == 5  # of 75 steps


@pytest.mark.parametrize("n_classes", [2, 10])
def test_training_starts_from_the_optimal_linear_model(n_classes, monkeypatch):
    """With the penalty of the probe, whose minimum it is, also of two classes."""
    made, train = [], fine_tuning.train
    monkeypatch.setattr(
        fine_tuning, "train", lambda *a, **k: made.append(train(*a, **k)) or made[0]
    )
    probe = LinearProbe(tol=1e-7, max_iter=5000, C=0.1)
    monkeypatch.setattr(fine_tuning, "LinearProbe", lambda **k: probe.set_params(**k))
    some = n_classes > Y
    model = EncoderTransformer(random_state=0).fit(IMAGES)
    tuned(model, IMAGES[some], Y[some], lr=1e-12, max_epochs=1)
    objective = made[0].objective
    objective.zero_grad()
    objective([torch.from_numpy(IMAGES[some]).float()[:, None] / 16], objective.codes)[
        "loss"
    ].backward()
    by_standardized = objective.classify.weight.grad / objective.scale.clamp(min=1e-3)
    held = objective.penalty * objective.classify.weight.detach() * objective.scale
    assert by_standardized.abs().max() < 0.02 * held.abs().max()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_classifier(pretrained):
    first, second, other = (tuned(pretrained, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.coef_, second.coef_)
    assert np.any(first.coef_ != other.coef_)
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again.predict_proba(IMAGES), first.predict_proba(IMAGES))


@pytest.mark.parametrize(
    "other", [{"lr": 1e-3}, {"weight_decay": 0.5}, {"batch_size": 100}, {"random_state": 1}]
)
def test_parameters_of_training(pretrained, other, monkeypatch):
    """Also the seed of the order of samples, where the probe is the same."""
    monkeypatch.setattr(fine_tuning, "LinearProbe", lambda **k: LinearProbe(C=0.1))
    settings = {"max_epochs": 1, "views": lambda batch: [batch]}
    first, second = tuned(pretrained, **settings), tuned(pretrained, **settings)
    np.testing.assert_array_equal(first.coef_, second.coef_)
    assert np.any(tuned(pretrained, **settings, **other).coef_ != first.coef_)


@pytest.mark.slow
def test_a_search_pretrains_once_a_fold(tmp_path, monkeypatch):
    trained, train = [], base.train
    monkeypatch.setattr(base, "train", lambda *a, **k: trained.append(1) or train(*a, **k))
    y = np.where(np.arange(300) % 2, Y, -1)
    model = FineTuneClassifier(
        shrunk(SimCLRTransformer, memory=tmp_path), max_epochs=1, random_state=0
    )
    grid = {"lr": [1e-4, 1e-3], "estimator__temperature": [0.2]}
    search = GridSearchCV(model, grid, cv=SemiSupervisedSplit(2), refit=False).fit(IMAGES, y)
    assert len(trained) == 2
    assert search.best_score_ > 0.5


@pytest.mark.slow
def test_rows_and_clones():
    estimator = shrunk(taking_rows(SimCLRTransformer)).fit(ROWS)
    model = clone(tuned(estimator, ROWS)).fit(ROWS, Y)
    assert model.transformer_.transform(ROWS).dtype == np.float32
    assert model.n_features_in_ == 64
    assert model.score(ROWS, Y) > 0.8
