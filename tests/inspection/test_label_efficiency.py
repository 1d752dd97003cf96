"""Displays: the curves equal what scikit-learn's metrics give, and every panel is drawn."""

import numpy as np

from sklearn_ssl import (
    LinearProbe,
    PatchKMeansTransformer,
)
from sklearn_ssl.inspection import (
    LabelEfficiencyDisplay,
)


def test_label_efficiency_is_a_comparison(data):
    X, y = data
    model = PatchKMeansTransformer(n_centroids=8, patch_size=4, random_state=0)
    display = LabelEfficiencyDisplay.from_estimator(
        {"patches": model}, X, y, n_labels=(1, 4), cv=2, probe=LinearProbe(C=0.1), random_state=0
    )
    drawn = {line.get_label(): line.get_ydata() for line in display.ax_.lines}
    rows = display.comparison.rows
    assert set(drawn) == {row["name"] for row in rows}
    for name, curve in drawn.items():
        np.testing.assert_allclose(curve, [row["mean"] for row in rows if row["name"] == name])
