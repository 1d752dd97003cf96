"""compare: the same folds and probe for all, and nothing that could fool it."""

import numpy as np
import pytest
import torch
from common import digits, shrunk
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import (
    DINOTransformer,
    EncoderTransformer,
    Images,
    LinearProbe,
    MAETransformer,
    PatchKMeansTransformer,
    SimCLRTransformer,
    base,
    compare,
)
from sklearn_ssl.evaluation import comparison

IMAGES, Y = (part[:300] for part in digits())
FLAT = IMAGES.reshape(300, -1)
PATCHES = PatchKMeansTransformer(n_centroids=30, patch_size=4, random_state=0)
PROBE = LinearProbe(C=0.1)


class Watched(TransformerMixin, BaseEstimator):
    """Gives samples as they are, and writes down what it was given."""

    def __init__(self, calls):
        self.calls = calls

    def __sklearn_clone__(self):
        return self

    def fit(self, X, y=None):
        self.calls.append(("fit", len(X), y))
        return self

    def transform(self, X):
        self.calls.append(("transform", len(X), None))
        return np.asarray(X).reshape(len(X), -1)


def by_name(comparison):
    return {(row["name"], row["labels"]): row for row in comparison.rows}


def test_scores_are_those_of_cross_validation(monkeypatch):
    monkeypatch.setattr(comparison, "N_COMPONENTS", 20)
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    found = by_name(compare({"patches": PATCHES}, IMAGES, Y, cv=cv, probe=PROBE, random_state=0))
    expected = cross_val_score(make_pipeline(PATCHES, PROBE), IMAGES, Y, cv=cv)
    np.testing.assert_allclose(found["patches", None]["scores"], expected)
    expected = cross_val_score(make_pipeline(StandardScaler(), PROBE), FLAT, Y, cv=cv)
    np.testing.assert_allclose(found["raw values", None]["scores"], expected, atol=0.011)
    expected = cross_val_score(make_pipeline(PCA(20), PROBE), FLAT, Y, cv=cv)
    np.testing.assert_allclose(found["PCA", None]["scores"], expected, atol=0.03)


def test_components_are_turned_so_that_none_is_small():
    """The last one counts for as little as it does in PCA, also where features are standardized."""
    pixels = EncoderTransformer(backbone=torch.nn.Flatten()).fit(IMAGES)
    ours = comparison.Components(pixels, 0).fit(IMAGES).transform(IMAGES)
    plain = PCA().fit_transform(FLAT / FLAT.std())
    np.testing.assert_allclose(ours @ ours.T, plain @ plain.T, atol=1e-2)
    spread, before = ours.std(axis=0), plain.std(axis=0)
    assert spread.max() < 4 * spread.min()
    assert before.max() > 100 * before[: ours.shape[1]].min()
    few = np.concatenate([np.flatnonzero(c == Y)[:3] for c in range(10)])
    rest = np.setdiff1d(np.arange(len(Y)), few)
    told, untold = (
        PROBE.fit(x[few], Y[few]).score(x[rest], Y[rest]) for x in (ours, plain[:, : ours.shape[1]])
    )
    assert told > untold + 0.1


def test_components_of_rounding_errors_are_excluded():
    """Of 64 pixels a few are the same in all digits."""
    rows = by_name(compare([PATCHES], IMAGES, Y, cv=3, probe=PROBE, random_state=0))
    assert rows["PCA", None]["mean"] > rows["raw values", None]["mean"] - 0.02


def test_differences_are_paired_with_the_best_baseline():
    rows = compare([PATCHES], IMAGES, Y, cv=3, probe=PROBE, random_state=0).rows
    best = max((row for row in rows if row["is_baseline"]), key=lambda row: row["mean"])
    assert best["difference"] == best["difference_std"] == 0
    for row in rows:
        assert row["mean"] == pytest.approx(np.mean(row["scores"]))
        assert row["std"] == pytest.approx(np.std(row["scores"]))
        difference = row["scores"] - best["scores"]
        assert row["difference"] == pytest.approx(difference.mean())
        assert row["difference_std"] == pytest.approx(difference.std())


def test_estimators_learn_from_the_training_part_without_labels():
    calls = []
    compare({"watched": Watched(calls)}, IMAGES, Y, cv=KFold(3), probe=PROBE)
    assert [call for call in calls if call[0] == "fit"] == [("fit", 200, None)] * 3
    assert [n for kind, n, _ in calls if kind == "transform"] == [200, 100] * 3


def test_transductive_is_reported():
    calls = []
    given = {"watched": Watched(calls)}
    found = compare(given, IMAGES, Y, cv=KFold(3), probe=PROBE, transductive=True)
    assert [call for call in calls if call[0] == "fit"] == [("fit", 300, None)] * 3
    assert "also trained on test samples" in by_name(found)["watched", None]["note"]
    assert "Transductive" in str(found)
    assert "ransductive" not in str(compare(given, IMAGES, Y, cv=2, probe=PROBE))


def test_samples_without_labels_are_trained_on_and_not_scored():
    calls, y = [], Y.copy()
    y[::2] = -1
    found = compare({"watched": Watched(calls)}, IMAGES, y, cv=KFold(3), probe=PROBE)
    assert [call for call in calls if call[0] == "fit"] == [("fit", 250, None)] * 3
    assert [n for kind, n, _ in calls if kind == "transform"] == [100, 50] * 3
    assert by_name(found)["watched", None]["mean"] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["of nothing", "of samples"])
def test_labels_at_random_are_at_chance(labels):
    """Whatever the row: nothing sees a test label before it is judged."""
    y = np.random.default_rng(0).permutation(Y)
    model = shrunk(SimCLRTransformer, max_epochs=2)
    given = {"patches": PATCHES, "SimCLR": model, "frozen": FrozenEstimator(model.fit(IMAGES))}
    y = y if labels == "of nothing" else Y
    found = compare(given, IMAGES, y, cv=3, probe=PROBE, random_state=0)
    for row in found.rows:
        assert (row["mean"] < 0.2) == (labels == "of nothing")


@pytest.mark.slow
def test_an_encoder_that_saw_test_samples_is_named():
    saw_half = shrunk(SimCLRTransformer).fit(IMAGES[:150])
    saw_none = shrunk(SimCLRTransformer).fit(digits()[0][300:400])
    given = {"half": FrozenEstimator(saw_half), "none": FrozenEstimator(saw_none)}
    found = compare(given, IMAGES, Y, cv=3, probe=PROBE, random_state=0)
    assert by_name(found)["half", None]["note"] == "trained on 150 of the test samples"
    assert by_name(found)["none", None]["note"] == ""
    assert "trained on 150 of the test samples" in str(found)
    assert np.isnan(by_name(found)["half", None]["minutes"])


@pytest.mark.slow
def test_untrained_encoders_are_baselines():
    """One for each different one, and none for what has no encoder."""
    small = {"backbone": "small_resnet"}
    given = {
        "a": shrunk(SimCLRTransformer),
        "b": shrunk(DINOTransformer),
        "c": shrunk(SimCLRTransformer, **small),
        "d": PATCHES,
    }
    names = [row["name"] for row in compare(given, IMAGES, Y, cv=2, probe=PROBE).rows]
    untrained = ["untrained small_convnet", "untrained small_resnet"]
    assert names == [*"abcd", "raw values", "PCA", *untrained]


@pytest.mark.parametrize("flip_tta", [True, False])
def test_encoders_before_training_are_read_as_those_after(photos, flip_tta):
    from sklearn_ssl.evaluation.comparison import _as_it_is

    model = shrunk(SimCLRTransformer, flip_tta=flip_tta, layer="stage3", backbone="small_convnet")
    model.fit(photos[:40])
    before = _as_it_is(model, seed=0).fit(photos[:40])
    assert before.flip_tta == flip_tta
    assert before.transform(photos[:40]).shape == model.transform(photos[:40]).shape
    tokens = shrunk(MAETransformer, flip_tta=flip_tta).fit(photos[:40])
    before = _as_it_is(tokens, seed=0)
    assert (before.layer, before.flip_tta) == ("encoder.ln", flip_tta)


@pytest.mark.slow
def test_more_labels_teach_more():
    numbers = 1, 5, None
    found = compare([PATCHES], IMAGES, Y, cv=3, probe=PROBE, n_labels=numbers, random_state=0)
    means = [by_name(found)["PatchKMeansTransformer", n]["mean"] for n in numbers]
    assert means[0] + 0.1 < means[1] < means[2]
    assert len(found.rows) == 3 * 3
    again = compare([PATCHES], IMAGES, Y, cv=3, probe=PROBE, n_labels=[*numbers], random_state=0)
    assert [row["mean"] for row in again.rows] == [row["mean"] for row in found.rows]


def test_the_probe_gets_so_many_labels_of_each_class():
    sizes = []

    class Counted(KNeighborsClassifier):
        def fit(self, X, y):
            sizes.append(np.bincount(y).tolist())
            return super().fit(X, y)

    compare([PATCHES], IMAGES, Y, cv=2, probe=Counted(1), n_labels=[2])
    assert sizes == [[2] * 10] * (2 * 3 * 5)  # folds, rows, draws


def test_scoring_is_as_requested():
    found = compare([PATCHES], IMAGES, Y, cv=2, probe=PROBE, scoring="neg_log_loss")
    assert all(row["mean"] < 0 for row in found.rows)


@pytest.mark.slow
def test_one_training_a_fold_with_memory(tmp_path, monkeypatch):
    trained, train = [], base.train
    monkeypatch.setattr(base, "train", lambda *a, **k: trained.append(1) or train(*a, **k))
    model = shrunk(SimCLRTransformer, memory=tmp_path)
    settings = {"cv": 3, "probe": PROBE, "random_state": 0}
    first = compare({"SimCLR": model}, IMAGES, Y, **settings)
    assert len(trained) == 3
    again = compare({"SimCLR": model}, IMAGES, Y, **settings)
    assert len(trained) == 3
    assert [row["mean"] for row in again.rows] == [row["mean"] for row in first.rows]


def test_files_that_cannot_be_read_count_nothing(photos, tmp_path):
    paths = []
    for i, photo in enumerate(photos[:60]):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(photo).save(paths[-1])
    (tmp_path / "5.png").write_bytes(b"broken")
    y = np.arange(60) % 2
    model = PATCHES.__class__(n_centroids=8, input=Images(on_error="skip", size=16), random_state=0)
    given = {
        "SimCLR": shrunk(SimCLRTransformer, input=Images(on_error="skip", size=16)),
        "k": model,
    }
    found = compare(given, paths, y, cv=2, probe=PROBE)
    assert all(0 <= row["mean"] <= 1 for row in found.rows)


@pytest.mark.slow
def test_tables_and_pictures():
    import matplotlib as mpl

    mpl.use("Agg")
    found = compare({"ours": PATCHES}, IMAGES, Y, cv=2, probe=PROBE, random_state=0)
    lines = str(found).splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["ours", "raw values", "PCA"]
    row = found.rows[0]
    assert f"{row['mean']:.3f} ± {row['std']:.3f}" in lines[1]
    assert repr(found).startswith("<Comparison of 3 embeddings>")
    frame = found.to_pandas()
    assert frame["name"].tolist() == ["ours", "raw values", "PCA"]
    bars = found.plot()
    assert [label.get_text() for label in bars.ax_.get_yticklabels()] == frame["name"].tolist()
    np.testing.assert_allclose([patch.get_width() for patch in bars.ax_.patches], frame["mean"])
    several = compare({"ours": PATCHES}, IMAGES, Y, cv=2, probe=PROBE, n_labels=(1, 10))
    curves = several.plot(ax=mpl.figure.Figure().subplots())
    drawn = {line.get_label(): line.get_ydata() for line in curves.ax_.lines}
    expected = [row["mean"] for row in several.rows if row["name"] == "ours"]
    np.testing.assert_allclose(drawn["ours"], expected)


WRONG = {
    "needs transformers": lambda: compare({"probe": PROBE}, IMAGES, Y),
    "at least one estimator": lambda: compare([], IMAGES, Y),
    "probe must be a classifier": lambda: compare([PATCHES], IMAGES, Y, probe=PATCHES),
    "n_labels must be": lambda: compare([PATCHES], IMAGES, Y, n_labels=[0, 1]),
    "or None for all": lambda: compare([PATCHES], IMAGES, Y, n_labels=[1.5]),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_told(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message]()
