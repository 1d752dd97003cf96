"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import numpy as np
import pytest
from common import shrunk
from matplotlib.figure import Figure

from sklearn_ssl import (
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
