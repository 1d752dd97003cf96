"""VIME: its loss beside a slow reference, and the values that it imputes."""

import math
import pickle

import numpy as np
import pytest
import torch
from common import check_inputs, digits, shrunk
from sklearn.datasets import load_breast_cancer, load_wine

import sklearn_ssl
from sklearn_ssl import VIMETransformer
from sklearn_ssl.methods.generative.vime import VIMEObjective
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.views import TableViews


@pytest.fixture(scope="module", params=[load_breast_cancer, load_wine])
def table(request):
    """Standardized rows to learn from, and others, with a fifth of their values missing."""
    X = request.param().data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    rng = np.random.default_rng(0)
    X = X[rng.permutation(len(X))]
    train, test = X[len(X) // 4 :], X[: len(X) // 4]
    return train, test, np.where(rng.random(test.shape) < 0.2, np.nan, test)


@pytest.mark.slow
def test_missing_values_are_filled_better_than_by_the_mean(table):
    train, test, missing = table
    model = VIMETransformer(max_epochs=60, random_state=0).fit(train)
    unknown = np.isnan(missing)
    told = model.impute(missing)
    assert told.dtype == np.float64
    np.testing.assert_array_equal(told[~unknown], test[~unknown])
    error, mean = (
        np.sqrt(np.mean(np.square(x - test)[unknown]))
        for x in (told, train.mean(axis=0) + 0 * test)
    )
    print("root mean squared error of missing values: told, mean", error, mean)
    assert error < 0.9 * mean
    assert np.isnan(missing).any()  # X is left as it was
    np.testing.assert_array_equal(model.impute(test), test)
    one_by_one = np.concatenate([model.impute(missing[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(one_by_one, told[:5], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.impute(torch.from_numpy(missing)), told)


@pytest.mark.slow
def test_missing_indicators_are_about_as_frequent_as_they_are():
    """Of columns that are 1 in a tenth of the rows: alone, and where another one tells of it."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1000, 6))
    dependent = values + 0.3 * rng.normal(size=values.shape) > 1.35
    X = np.column_stack([values, dependent, rng.random((1000, 6)) < 0.1, np.full(1000, 5.0)])
    train, test = X[:800], X[800:]
    model = shrunk(VIMETransformer, max_epochs=40, decoder_dim=64).fit(train)
    for columns, least, most in ((slice(6, 12), 0.5, 0.9), (slice(12, 18), 0.9, 1.1)):
        missing = test.copy()
        missing[:, columns.start] = np.nan
        error, mean = (
            np.sqrt(np.mean(np.square(x - test[:, columns.start])))
            for x in (model.impute(missing)[:, columns.start], train[:, columns.start].mean())
        )
        print("root mean squared error of missing indicators: told, mean", error, mean)
        assert least * mean < error < most * mean
    missing = np.where(np.arange(19) == 18, np.nan, test)
    np.testing.assert_allclose(model.impute(missing)[:, 18], 5.0, atol=0.1)


def test_missing_values_are_in_units_of_their_columns(table):
    train, _, missing = table
    scale, offset = 10.0 ** np.arange(train.shape[1]) ** 0.5, np.arange(train.shape[1])
    plain = shrunk(VIMETransformer, max_epochs=3).fit(train).impute(missing)
    other = shrunk(VIMETransformer, max_epochs=3).fit(train * scale + offset)
    np.testing.assert_allclose(
        (other.impute(missing * scale + offset) - offset) / scale, plain, rtol=1e-2, atol=1e-2
    )


def test_tables_with_names(table):
    pd = pytest.importorskip("pandas")
    train, _, missing = table
    names = [f"column {i}" for i in range(train.shape[1])]
    model = shrunk(VIMETransformer).fit(pd.DataFrame(train, columns=names))
    told = model.impute(pd.DataFrame(missing, columns=names))
    np.testing.assert_array_equal(told, shrunk(VIMETransformer).fit(train).impute(missing))
    with pytest.raises(ValueError, match="feature names"):
        model.impute(pd.DataFrame(missing, columns=names[::-1]))


def test_losses_of_rows_are_in_the_history(table):
    row = shrunk(VIMETransformer).fit(table[0]).history_[-1]
    expected = row["mask_loss"] + 2 * row["squared_error"]
    assert row["train_loss"] == pytest.approx(expected, rel=1e-4)


def test_vime():
    torch.manual_seed(0)
    encoder = make_encoder("mlp", (4,), [], [])
    net = VIMEObjective(encoder, 256, 0.5, 8, 1).double().eval()
    rows, _ = check_inputs()
    seen = rows.clone()
    seen[0, 1], seen[2, [0, 3]], seen[5] = rows[1, 1], rows[4, [0, 3]], rows[3]
    seen[1, 2] = rows[1, 2]  # replaced by the same value: nothing to tell
    loss, squared, guesses = net([rows, seen])["loss"], [], []
    for row, other in zip(rows, seen, strict=True):
        told = net.decode(encoder(other[None]))[0]
        for k in range(4):
            p = torch.sigmoid(told[4 + k])
            squared.append((told[k] - row[k]) ** 2)
            guesses.append(-torch.log(1 - p if row[k] == other[k] else p))
    assert (rows != seen).sum() == 7
    expected = sum(guesses) / len(guesses) + 2 * sum(squared) / len(squared)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_imputations_are_the_same_after_saving(table, tmp_path):
    train, _, missing = table
    model = shrunk(VIMETransformer).fit(train)
    model.save(tmp_path / "model.safetensors")
    for other in (
        sklearn_ssl.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
    ):
        np.testing.assert_array_equal(other.impute(missing), model.impute(missing))


def test_images_and_wrong_views_are_refused(table):
    train, _, missing = table
    tabular = shrunk(VIMETransformer).fit(train)
    message = "needs tabular data.*images use a method such as SimCLRTransformer or SimMIM"
    with pytest.raises(ValueError, match=message):
        shrunk(VIMETransformer).fit(digits()[0][:20])
    with pytest.raises(
        ValueError, match="X holds images, but VIMETransformer was fitted on tabular data"
    ):
        tabular.impute(digits()[0][:5])
    with pytest.raises(ValueError, match="Use NaN for missing values"):
        tabular.impute(np.where(np.isnan(missing), np.inf, missing))
    with pytest.raises(ValueError, match="contains NaN"):
        tabular.transform(missing)
    with pytest.raises(ValueError, match="a copy with values replaced; the view recipe gave 1"):
        shrunk(VIMETransformer, views=TableViews(n_views=1)).fit(train)
    with pytest.raises(ValueError, match=r"leave out the sample as it is, .* Set keep_first=True"):
        shrunk(VIMETransformer, views=TableViews(keep_first=False)).fit(train)
    assert shrunk(VIMETransformer, mask_ratio=0.4).fit(train).views_ == TableViews(corruption=0.4)


def test_who_guesses_has_the_loss_of_chance():
    torch.manual_seed(0)
    rows = torch.randn(5000, 10)
    net = VIMEObjective(make_encoder("mlp", (10,), [], []), 256, 0.3, 16, 1)
    net.predict = lambda seen: (0.7 * seen, torch.full_like(seen, math.log(0.3 / 0.7)), seen)
    loss = net(TableViews(corruption=0.3)(rows))["loss"].item()
    assert loss == pytest.approx(net.chance_loss(5000), rel=0.02)
    for share in (0.6, 0.8):  # of the one who knows no better
        net.predict = lambda seen, share=share: (share * seen, torch.zeros_like(seen), seen)
        assert net(TableViews(corruption=0.3)(rows))["squared_error"] > 0.515
    given = shrunk(VIMETransformer, views=TableViews(corruption=0.8)).fit(rows[:100].numpy())
    assert given.objective_.mask_ratio == 0.8
