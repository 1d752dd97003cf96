"""The estimators as parts of scikit-learn: pipelines, searches, names, pickles, callbacks."""

import pickle
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from common import digits, each_image_method, each_method, sentences, shrunk
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import sklearn_ssl
from sklearn_ssl import Images, SimCLRTransformer
from sklearn_ssl.data import sources

simclr = partial(shrunk, SimCLRTransformer)


@pytest.fixture(scope="module")
def labeled():
    images, y = digits()
    return images[:300], y[:300]


@each_image_method
def test_pipeline_and_cross_validation(method, labeled):
    X, y = labeled
    classifier = make_pipeline(shrunk(method), LogisticRegression(max_iter=2000))
    scores = cross_val_score(classifier, X, y, cv=3)
    # Chance is 0.1; a vision transformer learns slowly.
    assert scores.mean() > (0.3 if method.__name__ == "MAETransformer" else 0.5)


@pytest.mark.exhaustive
def test_grid_search_over_own_and_classifier_parameters(labeled):
    X, y = labeled
    pipeline = Pipeline([("ssl", simclr()), ("clf", LogisticRegression(max_iter=2000))])
    grid = {"ssl__temperature": [0.1, 0.5], "clf__C": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.score(X, y) > 0.8


def test_grid_search_without_labels(labeled):
    search = GridSearchCV(simclr(), {"projection_dim": [8, 16]}, cv=2).fit(labeled[0])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_feature_union_and_column_transformer(labeled):
    X, _ = labeled
    rows = X.reshape(len(X), -1)
    union = FeatureUnion([("a", simclr(input=Images(shape=(8, 8)))), ("b", simclr(random_state=1))])
    width = simclr().fit(X)._n_features_out + simclr().fit(rows)._n_features_out
    assert union.fit_transform(rows).shape == (300, width)
    frame = pd.DataFrame(rows, columns=[f"pixel{i}" for i in range(64)]).assign(size=1.0 * len(X))
    columns = ColumnTransformer(
        [
            ("photo", simclr(input=Images(shape=(8, 8))), [f"pixel{i}" for i in range(64)]),
            ("numbers", StandardScaler(), ["size"]),
        ]
    ).set_output(transform="pandas")
    out = columns.fit_transform(frame)
    assert out.columns[0] == "photo__simclr0"
    assert out.columns[-1] == "numbers__size"


def test_k_means_on_the_embedding(labeled):
    X, _ = labeled
    labels = make_pipeline(simclr(), KMeans(10, n_init=1, random_state=0)).fit_predict(X)
    assert len(np.unique(labels)) == 10


@each_image_method
def test_names_and_pandas_output(method, labeled):
    X, _ = labeled
    frame = pd.DataFrame(X.reshape(len(X), -1)).rename(columns=str)
    frame.index = np.arange(len(X)) + 7
    model = shrunk(method, input=Images(shape=(8, 8))).set_output(transform="pandas")
    out = model.fit_transform(frame)
    prefix = method.__name__.removesuffix("Transformer").removesuffix("Estimator").lower()
    assert list(out.columns[:2]) == [f"{prefix}0", f"{prefix}1"]
    assert list(out.columns) == list(model.get_feature_names_out())
    assert out.index.equals(frame.index)
    assert set(out.dtypes) == {np.dtype(np.float32)}
    assert list(model.feature_names_in_[:2]) == ["0", "1"]
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        model.get_feature_names_out(frame.columns[::-1])
    model.set_output(transform="default").fit(X)
    assert not hasattr(model, "feature_names_in_")


@each_image_method
def test_clone_and_pickle(method, labeled, tmp_path):
    X, _ = labeled
    model = shrunk(method).fit(X)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert not hasattr(copied, "encoder_")
    np.testing.assert_array_equal(copied.fit_transform(X), model.transform(X))
    joblib.dump(model, tmp_path / "model")
    for loaded in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model")):
        np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
        assert loaded.score(X) == model.score(X)


@each_image_method
def test_fitted_tensors_are_on_the_cpu(method, labeled):
    """A pickle from a machine with a GPU opens on one without."""
    model = shrunk(method).fit(labeled[0])
    tensors = [*model.objective_.parameters(), *model.objective_.buffers()]
    for state in model._optimizer_state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    assert len(tensors) > 10
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    of_encoder, of_objective = (
        {id(p) for p in module.parameters()}
        for module in (model.encoder_, model.objective_.encoder)
    )
    assert of_encoder == of_objective


def test_not_fitted(images):
    for call in (simclr().transform, simclr().score):
        with pytest.raises(NotFittedError):
            call(images)
    with pytest.raises(NotFittedError):
        simclr().get_feature_names_out()


@each_method
def test_signature_is_explicit(method):
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_epoch'"):
        method(max_epoch=3)
    with pytest.raises(TypeError, match="positional"):
        method(0.5)
    assert repr(method()) == f"{method.__name__}()"
    assert method.__name__ in estimator_html_repr(method())


def test_auto_is_stored_resolved(images, photos):
    model = simclr().fit(images)
    assert model.backbone_ == "small_convnet"
    assert model.batch_size_ == 64
    assert model.optimizer_ == "adamw"
    assert model.lr_ == 0.002
    assert model.weight_decay_ == 1e-4
    assert model.warmup_epochs_ == 0.1
    assert model.device_ in ("cpu", "cuda:0")
    assert model.precision_ == "float32"
    assert model.views_.gaussian_blur == 0
    assert model.views_.hue == 0
    assert simclr(optimizer="sgd", batch_size=128).fit(photos).lr_ == pytest.approx(0.06)
    assert simclr().fit(photos.reshape(len(photos), -1)[:, :20]).backbone_ == "mlp"
    assert simclr().fit(sentences(20)[0]).lr_ == pytest.approx(0.0003)
    assert simclr(lr=0.002).fit(sentences(20)[0]).lr_ == 0.002


def test_history(images):
    model = simclr(max_epochs=3).fit(images)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == 3
    assert set(model.history_[0]) == {"train_loss_best", "lr", "dur", "progress", *model.health_}
    assert all(isinstance(value, float) for value in model.loss_curve_)


@pytest.mark.slow
def test_warm_start_continues_from_the_weights(images):
    first = simclr(max_epochs=3).fit(images)
    warm = simclr(max_epochs=3, warm_start=True).fit(images)
    np.testing.assert_array_equal(warm.transform(images), first.transform(images))
    warm.set_params(max_epochs=2, temperature=0.3).fit(images)
    assert warm.n_iter_ == len(warm.loss_curve_) == 5
    assert warm.objective_.temperature == 0.3
    assert [row["epoch"] for row in warm.history_] == [1, 2, 3, 4, 5]
    still = simclr(max_epochs=3, warm_start=True).fit(images)
    still.set_params(lr=1e-12, max_epochs=1).fit(images)
    torch.testing.assert_close(
        list(still.encoder_.parameters()), list(first.encoder_.parameters()), atol=1e-6, rtol=0
    )
    with pytest.raises(ValueError, match=r"fitted on \(8, 8, 1\)"):
        warm.fit(images[:, :6, :6])
    with pytest.raises(ValueError, match="with backbone='small_convnet' of the previous fit"):
        warm.set_params(backbone="small_resnet").fit(images)
    warm.set_params(backbone="small_convnet").fit(images)
    with pytest.raises(ValueError, match="Set it back, or fit a clone"):
        warm.set_params(projection_dim=8).fit(images)
    assert warm.n_iter_ == 7


def test_fit_without_warm_start_forgets(images):
    model = simclr().fit(images)
    np.testing.assert_array_equal(
        model.fit(images).transform(images), simclr().fit_transform(images)
    )
    assert model.n_iter_ == 1


class Tasks:
    """Records the tasks that scikit-learn's callbacks are told of; stops after some epochs."""

    def __init__(self, stop_after=99):
        self.begun, self.ended, self.embeddings, self.stop_after = [], [], [], stop_after

    def setup(self, estimator, context):
        self.begun.append("setup")

    def teardown(self, estimator, context):
        self.ended.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.ended.append(context.task_name)
        if context.task_name == "epoch":
            self.embeddings.append(fitted_estimator.transform(X))
        return context.task_name == "epoch" and len(self.embeddings) >= self.stop_after


def test_scikit_learn_callbacks_see_epochs(images):
    tasks = Tasks()
    model = simclr(max_epochs=3).set_callbacks(tasks).fit(images)
    assert tasks.begun == ["setup", "fit", "epoch", "epoch", "epoch"]
    assert tasks.ended == ["epoch", "epoch", "epoch", "fit", "teardown"]
    np.testing.assert_array_equal(tasks.embeddings[-1], model.transform(images))
    assert not np.allclose(tasks.embeddings[0], tasks.embeddings[1])
    np.testing.assert_array_equal(
        model.transform(images), simclr(max_epochs=3).fit_transform(images)
    )


def test_scikit_learn_callbacks_can_stop(images):
    model = simclr(max_epochs=9).set_callbacks(Tasks(stop_after=2)).fit(images)
    assert model.n_iter_ == 2


def test_teardown_after_a_failed_fit(images):
    tasks = Tasks()
    with pytest.raises(ValueError, match="compares two views"):
        simclr(views=lambda batch: [batch]).set_callbacks(tasks).fit(images)
    assert tasks.ended == ["teardown"]


def test_scoring_monitor(images):
    monitor = ScoringMonitor(scoring=lambda estimator, X, y=None: estimator.score(X))
    model = simclr(max_epochs=2).set_callbacks(monitor).fit(images)
    assert model.n_iter_ == 2


@each_image_method
def test_flip_tta_is_the_mean_over_an_image_and_its_mirror_image(method, images, tmp_path):
    model = shrunk(method).fit(images)
    plain = [model.transform(images), model.transform(images[:, :, ::-1])]
    assert not np.allclose(*plain, atol=1e-2)
    model.flip_tta = True
    embedding, mirrored = model.transform(images), model.transform(images[:, :, ::-1])
    np.testing.assert_allclose(embedding, mirrored, atol=1e-5)
    np.testing.assert_allclose(embedding, (plain[0] + plain[1]) / 2, atol=1e-5)
    model.save(tmp_path / "saved")
    loaded = sklearn_ssl.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.transform(images), embedding)


def test_flip_tta_leaves_tabular_data_as_it_is(images):
    rows = images.reshape(len(images), -1)
    embeddings = [
        shrunk(SimCLRTransformer, flip_tta=flip).fit(rows).transform(rows) for flip in (True, False)
    ]
    np.testing.assert_array_equal(*embeddings)


@pytest.mark.parametrize("layout", ["images", "bytes", "rows", "tensor"])
def test_samples_that_were_learned_from_are_known(images, layout, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_VALUES", 64 * 30)  # several parts
    given = {
        "images": images,
        "bytes": (images * 15).astype(np.uint8)[:, :7, :7],  # 49, no multiple of 4
        "rows": images.reshape(len(images), -1),
        "tensor": torch.from_numpy(images),
    }[layout]
    model = shrunk(SimCLRTransformer).fit(given[:120])
    assert model.has_seen(given).tolist() == [True] * 120 + [False] * 80
    assert model.has_seen(given[[130, 3]]).tolist() == [False, True]
    model.partial_fit(given[150:160])
    assert np.flatnonzero(model.has_seen(given)).tolist() == [*range(120), *range(150, 160)]
    model.fit(given[:50])
    assert model.has_seen(given).sum() == 50


def test_one_changed_pixel_is_another_sample(images):
    model = shrunk(SimCLRTransformer).fit(images)
    changed = images.copy()
    changed[np.arange(len(images)), 3, 4] += 1
    assert not model.has_seen(changed).any()
    assert not model.has_seen(images[:, ::-1]).any()  # nor the same pixels in another order
