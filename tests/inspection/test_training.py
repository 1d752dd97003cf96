"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from common import shrunk
from matplotlib.figure import Figure

from sklearn_ssl import (
    DINOTransformer,
    SimCLRTransformer,
)
from sklearn_ssl.inspection import (
    TrainingDisplay,
)


def test_training_curves_are_those_of_the_estimator(images):
    model = shrunk(SimCLRTransformer, max_epochs=4).fit(images)
    display = TrainingDisplay.from_estimator(model)
    drawn = [line.get_ydata() for line in display.lines_]
    health = model.health_
    expected = [model.loss_curve_, health["chance_loss"], [row["lr"] for row in model.history_]]
    expected += [health["embedding_std"], health["effective_rank"]]
    for curve, values in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(curve, values)
    with pytest.raises(ValueError, match="three axes"):
        display.plot(Figure().subplots(1, 2))


CONVERGED = 1 + 3 * np.exp(-np.arange(30) / 2)
ANNEALED = np.cos(np.linspace(0, np.pi / 2, 30))
LEVEL = np.full(30, 9.0)


@pytest.mark.parametrize(
    ("loss", "lr", "figures", "advice"),
    [
        (CONVERGED, ANNEALED, {}, ["fell from 4 to 1. It is flat"]),
        (CONVERGED[:4], ANNEALED[:4], {"effective_rank": LEVEL[:4]}, ["Fewer than 5 epochs"]),
        (CONVERGED[::-1], ANNEALED, {}, ["did not fall"]),
        (CONVERGED, np.ones(30), {}, ["ended before its planned end"]),
        (CONVERGED, ANNEALED, {"chance_loss": LEVEL}, ["fell from 4 to 1. It is flat"]),
        (CONVERGED, ANNEALED, {"chance_loss": LEVEL / 8.5}, ["fell from 4 to 1", "chance level"]),
        (
            *(CONVERGED, ANNEALED, {"effective_rank": np.linspace(20, 3, 30)}),
            ["fell from 4 to 1", "effective rank fell from 20 to 3"],
        ),
    ],
)
def test_advice(loss, lr, figures, advice):
    health = {"embedding_std": LEVEL / 10, "effective_rank": LEVEL} | figures
    health = {name: values[: len(loss)] for name, values in health.items()}
    display = TrainingDisplay(loss=loss, lr=lr, health=health).plot(Figure().subplots(1, 3))
    assert len(display.advice_) == len(advice)
    for said, expected in zip(display.advice_, advice, strict=True):
        assert expected in said


def test_advice_is_written_below_a_new_figure(images):
    model = shrunk(SimCLRTransformer, max_epochs=2).fit(images)
    display = TrainingDisplay.from_estimator(model)
    assert display.figure_.get_supxlabel() == "\n".join(display.advice_)
    plt.close(display.figure_)


def test_advice_is_near_chance_level_where_fit_is(images):
    """Losses of healthy fits of some methods are nearer to it than those of others."""
    model = shrunk(DINOTransformer, max_epochs=2).fit(images)
    display = TrainingDisplay.from_estimator(model, ax=Figure().subplots(1, 3))
    assert display.near_chance == model.objective_.near_chance > 0.9
    shown = {"loss": 0.95 * LEVEL, "lr": ANNEALED}
    shown["health"] = {"embedding_std": LEVEL, "effective_rank": LEVEL, "chance_loss": LEVEL}
    for near, said in ((0.9, True), (0.98, False)):
        display = TrainingDisplay(**shown, near_chance=near).plot(Figure().subplots(1, 3))
        assert any("near chance level" in text for text in display.advice_) == said
