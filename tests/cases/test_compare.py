"""Cases of users: names and marks in compare, output as data frames, callbacks, parameters."""

import inspect
import pickle
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import sklearn
import skorch.callbacks
from common import METHODS, digits, exhaustively, shrunk, slowly
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import f1_score, log_loss, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import (
    BatchScoring,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    InputShapeSetter,
    LRScheduler,
)

from sklearn_ssl import (
    EncoderTransformer,
    FineTuneClassifier,
    KNNProbe,
    LinearProbe,
    PatchKMeansTransformer,
    SimCLRTransformer,
    compare,
)
from sklearn_ssl.evaluation import comparison
from sklearn_ssl.inspection import (
    EmbeddingDisplay,
    LabelEfficiencyDisplay,
    NeighborsDisplay,
    TrainingDisplay,
)
from sklearn_ssl.metrics import rankme_scorer
from sklearn_ssl.persistence.fingerprint import fingerprint
from sklearn_ssl.views import ImageViews

mpl.use("Agg")
IMAGES, Y = (part[:120] for part in digits())
ROWS = IMAGES.reshape(120, -1)
PROBE = LinearProbe(C=0.1)
ONE_FOLD = [(np.arange(60), np.arange(60, 120))]


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def quick(estimators, X=ROWS, y=Y, **settings):
    return compare(estimators, X, y, **{"cv": 2, "probe": PROBE, "random_state": 0} | settings)


def names_of(found):
    return [row["name"] for row in found.rows]


@pytest.mark.parametrize("name", ["PCA", "raw values", "untrained mlp"])
def test_a_name_of_a_baseline_keeps_both_rows(name):
    models = {"PCA": PCA(1), "raw values": PCA(1), "untrained mlp": shrunk(SimCLRTransformer)}
    found, other = quick({name: models[name]}), quick({"other": models[name]})
    names = names_of(found)
    assert names[0] == name
    assert f"{name} (baseline)" in names
    assert len(set(names)) == len(names)
    for row, expected in zip(found.rows, other.rows, strict=True):
        np.testing.assert_array_equal(row["scores"], expected["scores"])


def test_estimators_of_a_list_and_odd_names():
    assert names_of(quick([PCA(2), PCA(5)])) == ["PCA", "PCA 2", "raw values", "PCA (baseline)"]
    names = names_of(quick({"PCA": PCA(2), "PCA (baseline)": PCA(5)}))
    assert names == ["PCA", "PCA (baseline)", "raw values", "PCA (baseline) 2"]
    with pytest.raises(TypeError, match=r"must be strings. Got 0"):
        quick({0: PCA(2)})


def macro(estimator, X, y):
    return f1_score(y, estimator.predict(X), average="macro")


SEARCH = GridSearchCV(PROBE, {"C": [0.1]}, scoring="f1_macro", cv=2)
METRICS = {
    "accuracy": {},
    "f1_macro": {"scoring": "f1_macro"},
    "neg_log_loss": {"scoring": "neg_log_loss"},
    "f1_score(average='macro')": {"scoring": make_scorer(f1_score, average="macro")},
    "neg_log_loss(labels=[0, 1])": {
        "scoring": make_scorer(
            log_loss, greater_is_better=False, response_method="predict_proba", labels=[0, 1]
        )
    },
    "macro": {"scoring": macro},
}


@pytest.mark.parametrize("metric", [*list(METRICS)[:2], *map(slowly, list(METRICS)[2:])])
def test_the_metric_is_named(metric):
    y = (Y > 4).astype(int)
    found = quick([PCA(5)], y=y, **METRICS[metric])
    assert metric in str(found).splitlines()[0]
    assert metric in found.plot().ax_.get_xlabel()
    several = quick([PCA(5)], y=y, n_labels=(1, 2), **METRICS[metric])
    assert several.plot().ax_.get_ylabel() == metric


def test_the_metric_of_a_search_is_named():
    found = quick([PCA(5)], probe=SEARCH)
    assert "f1_macro" in str(found).splitlines()[0]
    assert "accuracy" not in str(found)


def test_more_than_one_metric_is_an_error():
    with pytest.raises(ValueError, match="scoring must be one metric"):
        quick([PCA(5)], scoring=["accuracy", "f1_macro"])
    with pytest.raises(ValueError, match="scoring must return one number"):
        quick([PCA(5)], scoring=lambda *_: {"a": 1.0})


def test_fewer_labels_than_requested_are_reported():
    few = np.concatenate([np.flatnonzero(c == Y)[: 6 if c == 0 else 10] for c in range(10)])
    found = quick([PCA(5)], X=ROWS[few], y=Y[few], n_labels=(2, 10, None))
    used = {row["labels"]: row["labels_used"] for row in found.rows}
    assert used == {2: 2, 10: 3, None: 3}
    assert "10 (3 available)" in str(found)
    assert "2 (" not in str(found)
    assert found.to_pandas()["labels_used"].tolist() == [2] * 3 + [3] * 6
    ticks = [label.get_text() for label in found.plot().ax_.get_xticklabels()]
    assert ticks == ["2", "10\n(3 available)", "all"]


@pytest.mark.slow
def test_rows_are_grouped_by_number_of_labels():
    found = quick([PCA(5), PCA(6)], n_labels=(5, 1))
    assert [row["labels"] for row in found.rows] == [5] * 4 + [1] * 4
    assert names_of(found) == ["PCA", "PCA 2", "raw values", "PCA (baseline)"] * 2


@pytest.mark.parametrize("n_labels", [0.1, [0.1, 0.5], True, 10.0, "10", -1])
def test_numbers_of_labels_have_to_be_whole(n_labels):
    with pytest.raises(ValueError, match=r"labels per class.*Fractions are not supported"):
        quick([PCA(5)], n_labels=n_labels)


def test_differences_within_noise_are_marked():
    """By the standard error of Nadeau and Bengio, here computed by its formula."""
    found = quick({"bad": PCA(1), "like": PCA(30)}, cv=3)
    rows = {row["name"]: row for row in found.rows}
    best = max((row for row in found.rows if row["is_baseline"]), key=lambda row: row["mean"])
    for row in found.rows:
        difference = row["scores"] - best["scores"]
        error = np.sqrt(1 / 3 + 40 / 80) * max(difference.std(ddof=1), 1 / 40)
        assert row["within_noise"] == (abs(difference.mean()) <= 2 * error)
    assert (rows["bad"]["within_noise"], rows["like"]["within_noise"]) == (False, True)
    lines = {line.split("  ")[0]: line for line in str(found).splitlines()}
    assert "~" in lines["like"]
    assert "~" not in lines["bad"] + lines[best["name"]]
    assert "within noise of best baseline" in str(found)
    drawn = [text.get_text() for text in found.plot().ax_.texts]
    assert ["~" in text for text in drawn[:2]] == [False, True]


def test_equal_differences_of_two_folds_are_not_taken_for_certain():
    """As one sample of forty in each; of other metrics nobody knows what one sample is."""
    within = comparison._within_noise
    difference = np.array([0.025, 0.025])
    assert within(difference, 1.0, 1 / 40)
    assert not within(difference, 1.0, 0.0)
    assert not within(difference + 0.5, 1.0, 1 / 40)


def test_a_metric_that_does_not_suit_the_classes_fails_before_training():
    model = shrunk(SimCLRTransformer, max_epochs=10**6)
    for scoring in ("roc_auc", "f1"):
        with pytest.raises(ValueError, match=f"scoring='{scoring}' cannot be used for this y"):
            quick({"ours": model}, scoring=scoring)


def test_one_fold_has_no_spread():
    found = quick({"bad": PCA(1)}, cv=ONE_FOLD)
    assert [row["within_noise"] for row in found.rows] == [None] * 3
    assert np.isnan([[row["std"], row["difference_std"]] for row in found.rows]).all()
    assert "±" not in str(found)
    assert "standard deviations of scores and differences are unknown" in str(found)
    found.plot()


@pytest.mark.slow
def test_curves_show_noise_and_leave_room_for_the_legend():
    ax = quick({"bad": PCA(1), "like": PCA(60)}, cv=3, n_labels=(1, 5)).plot().ax_
    ax.figure.draw_without_rendering()
    legend = ax.get_legend()
    assert legend.get_window_extent().x0 >= ax.get_window_extent().x1
    assert [text.get_text() for text in legend.get_texts()][-1] == comparison.NOISE_NOTE
    white = [points.get_facecolor().tolist() == [[1, 1, 1, 1]] for points in ax.collections]
    assert any(white)


def test_the_chance_level_is_that_of_the_most_frequent_class():
    y = (Y > 6).astype(int)
    found = quick(
        [PCA(5)], y=y, cv=[(np.arange(60), np.arange(60, 120)), (np.arange(60), np.arange(60, 80))]
    )
    expected = ((y[60:] == 0).mean() + (y[60:80] == 0).mean()) / 2
    assert found.chance_level == pytest.approx(expected)
    (line,) = (line for line in found.plot().ax_.lines if line.get_label() == "chance level")
    np.testing.assert_allclose(line.get_xdata(), expected)
    assert quick([PCA(5)], y=y, scoring="f1").chance_level is None


def test_names_in_the_picture_of_a_training():
    display = TrainingDisplay.from_estimator(shrunk(SimCLRTransformer).fit(IMAGES))
    legend = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert legend == ["loss", "chance level"]
    assert [ax.get_ylabel() for ax in display.figure_.axes[2:]] == [
        "embedding_std",
        "effective_rank",
    ]


@pytest.mark.slow
def test_verbose_names_fold_and_labels(capsys):
    quick({"ours": PCA(5)}, n_labels=(1, 3, None), verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"fold 1 of 2, 1 label per class: ours \d\.\d{3}", lines[0])
    assert lines[1].startswith("fold 1 of 2, 3 labels per class: ours ")
    assert lines[2].startswith("fold 1 of 2, all labels: ours ")
    assert lines[-1].startswith("fold 2 of 2, all labels: PCA ")


@pytest.mark.slow
def test_methods_in_pipelines_have_their_baselines():
    """Which see what the method does: here images that only a step makes of rows."""
    reshaped = FunctionTransformer(lambda X: np.reshape(X, (-1, 8, 8)))
    model = make_pipeline(reshaped, shrunk(SimCLRTransformer), StandardScaler())
    found = quick({"ours": model})
    assert names_of(found) == ["ours", "raw values", "PCA", "untrained small_convnet"]
    alone = quick({"ours": shrunk(SimCLRTransformer)}, X=IMAGES)
    for row, expected in zip(found.rows[1:], alone.rows[1:], strict=True):
        np.testing.assert_allclose(row["scores"], expected["scores"], atol=0.02)
    frozen = make_pipeline(reshaped, FrozenEstimator(shrunk(SimCLRTransformer).fit(IMAGES[:60])))
    rows = quick({"step": frozen, "all": FrozenEstimator(frozen.fit(ROWS))}).rows[:2]
    assert [row["note"] for row in rows] == ["trained on 60 of the test samples"] * 2


class Sparse(TransformerMixin, BaseEstimator):
    """Gives sparse matrices."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        return csr_array(np.asarray(X))


class Short(Sparse):
    def transform(self, X):
        return np.asarray(X)[1:]


class Words(Sparse):
    def transform(self, X):
        return np.full((len(X), 2), "a", dtype=object)


def test_what_compare_takes():
    pandas = pytest.importorskip("pandas")
    words = np.array(["zero", "one"])[(Y > 4).astype(int)]
    expected = quick({"ours": Sparse()}, y=(Y > 4).astype(int)).rows[0]["scores"]
    for X in (ROWS, ROWS.tolist(), pandas.DataFrame(ROWS, columns=[f"p{i}" for i in range(64)])):
        np.testing.assert_array_equal(
            quick({"ours": Sparse()}, X=X, y=words).rows[0]["scores"], expected
        )
    with pytest.raises(
        ValueError, match=r"'ours' must return a row for each sample. Got 59 and 59"
    ):
        quick({"ours": Short()})
    with pytest.raises(ValueError, match=r"Words.transform must return an array of numbers"):
        quick({"ours": Words()})
    with pytest.raises(ValueError, match="without labels, but 'lda' requires y"):
        quick({"lda": LinearDiscriminantAnalysis()})


@pytest.mark.slow
@pytest.mark.parametrize("output", [exhaustively("pandas"), "polars"])
def test_output_as_data_frames_changes_nothing(output):
    pytest.importorskip(output)
    model = shrunk(SimCLRTransformer).fit(IMAGES)
    patches = PatchKMeansTransformer(n_centroids=8, patch_size=4, random_state=0)
    scaled = make_pipeline(StandardScaler(), PCA(5))

    def all_there_is():
        tuned = FineTuneClassifier(FrozenEstimator(model), max_epochs=1, random_state=0)
        tuned.fit(IMAGES, Y)
        settings = {"n_samples": 60, "random_state": 0}
        return [
            tuned.predict(IMAGES),
            tuned.predict_proba(IMAGES),
            tuned.score(IMAGES, Y),
            *(row["scores"] for row in quick({"a": model, "b": patches}, X=IMAGES).rows),
            *(row["scores"] for row in quick({"c": scaled}).rows),
            EmbeddingDisplay.from_estimator(model, IMAGES, Y, method="pca", **settings).positions,
            EmbeddingDisplay.from_estimator(model, IMAGES, Y, **settings).positions,
            NeighborsDisplay.from_estimator(model, IMAGES, Y, random_state=0).similarity,
            LabelEfficiencyDisplay.from_estimator(
                [patches], IMAGES, Y, cv=2, n_labels=(1,), probe=PROBE, random_state=0
            ).comparison.rows[0]["scores"],
            rankme_scorer(model, IMAGES),
        ]

    expected = all_there_is()
    with sklearn.config_context(transform_output=output):
        found = all_there_is()
    model, patches = model.set_output(transform=output), patches.set_output(transform=output)
    scaled.set_output(transform=output)
    for part, again, before in zip(found, all_there_is(), expected, strict=True):
        np.testing.assert_array_equal(part, before)
        np.testing.assert_array_equal(again, before)


def test_displays_take_sparse_output():
    model = Sparse().fit(ROWS)
    display = EmbeddingDisplay.from_estimator(model, ROWS, Y, method="pca", random_state=0)
    assert display.positions.shape == (120, 2)
    assert rankme_scorer(model, ROWS) > 1


@pytest.mark.slow
def test_errors_of_numpy_that_raise_leave_a_fit_alone():
    tiny = ROWS * 1e-300
    expected = shrunk(SimCLRTransformer).fit(tiny).transform(tiny)
    with np.errstate(all="raise"):
        found = shrunk(SimCLRTransformer).fit(tiny).transform(tiny)
        assert len(quick({"ours": shrunk(SimCLRTransformer)}, n_labels=1).rows) == 4
    np.testing.assert_array_equal(found, expected)


class Recorded(skorch.callbacks.Callback):
    """Records a score of its own."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("valid_loss", 1.0)


def quiet(callback, *given, **settings):
    return callback(*given, sink=str, **settings)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (EarlyStopping(), r"EarlyStopping\(monitor='valid_loss'\).*Set monitor='train_loss'"),
        (EarlyStopping, "Set monitor='train_loss'"),
        (("stop", EarlyStopping()), "Set monitor='train_loss'"),
        (Checkpoint(), "Set monitor='train_loss_best'"),
        (LRScheduler("ReduceLROnPlateau", monitor="valid_loss"), "Set monitor='train_loss'"),
        (EpochScoring("accuracy"), "EpochScoring, which scores predicted labels"),
        (BatchScoring("accuracy", on_train=True), "BatchScoring, which scores predicted"),
        (InputShapeSetter(), "fit sets the shape of samples"),
    ],
)
def test_callbacks_that_need_validation_or_labels(callback, message):
    """Before training, and before X is looked at."""
    with pytest.raises(ValueError, match=message):
        shrunk(SimCLRTransformer, callbacks=[callback]).fit("no samples")


def test_callbacks_that_monitor_what_is_recorded():
    for monitor, others in (("valid_loss", [Recorded()]), ("train_loss", []), ("lr", [])):
        stop = quiet(EarlyStopping, monitor)
        assert shrunk(SimCLRTransformer, callbacks=[*others, stop]).fit(ROWS).n_iter_ == 1
    for callback in (
        EarlyStopping("los"),
        Checkpoint("los"),
        LRScheduler("ReduceLROnPlateau", "los"),
    ):
        with pytest.raises(
            ValueError, match=r"one of \['los'\]. Recorded names are .*'train_loss'"
        ):
            shrunk(SimCLRTransformer, callbacks=[callback]).fit(ROWS)


@pytest.mark.parametrize(
    ("cls", "given", "meant"),
    [
        *((method, "epochs", "'max_epochs'") for method in METHODS),
        (SimCLRTransformer, "learning_rate", "'lr'"),
        (SimCLRTransformer, "temprature", "'temperature'"),
        (SimCLRTransformer, "seed", "'random_state'"),
        (SimCLRTransformer, "batchsize", "'batch_size'"),
        (EncoderTransformer, "pretrained", "'weights'"),
        (PatchKMeansTransformer, "n_clusters", "'n_centroids'"),
        (LinearProbe, "c", "'C'"),
        (KNNProbe, "neighbors", "'n_neighbors'"),
        (ImageViews, "rotate", "'rotation'"),
    ],
)
def test_a_mistyped_parameter_names_the_one_that_was_meant(cls, given, meant):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{given}'.*{meant}"):
        cls(**{given: 1})


def test_mistyped_parameters_of_fine_tuning_and_of_subclasses():
    with pytest.raises(TypeError, match=r"'epochs'. Did you mean 'max_epochs'"):
        FineTuneClassifier(SimCLRTransformer(), epochs=1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'estimator'"):
        FineTuneClassifier()

    class Mine(SimCLRTransformer):
        """One more parameter."""

        sharpness: float = 1.0

    class Own(SimCLRTransformer):
        """An __init__ of its own."""

        def __init__(self, *, width=3):
            super().__init__(n_epochs=width)

    with pytest.raises(TypeError, match=r"Mine.*'sharpnes'. Did you mean 'sharpness'"):
        Mine(sharpnes=1)
    with pytest.raises(TypeError, match=r"Own.*'n_epochs'. Did you mean 'max_epochs'"):
        Own()
    with pytest.raises(TypeError, match=r"Own.*'x'. The parameters are width"):
        Own(x=3)


def test_constructors_are_as_they_were():
    model = pickle.loads(pickle.dumps(clone(SimCLRTransformer(lr=0.1))))
    assert model.get_params()["lr"] == 0.1
    signature = inspect.signature(SimCLRTransformer)
    assert set(signature.parameters) == set(SimCLRTransformer().get_params())
    assert {p.kind for p in signature.parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_code_of_the_user_in_a_wrapper_of_ours_counts():
    def classes(value):
        class Own(SimCLRTransformer):
            def __init__(self, *, width=3):
                self.width = width + value

        return Own

    assert fingerprint(classes(1)) != fingerprint(classes(2))
    assert fingerprint(classes(1)) == fingerprint(classes(1))
