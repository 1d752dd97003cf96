"""Progress bars: what they show, and in searches."""

from functools import partial

from common import digits, shrunk
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_ssl import SimCLRTransformer

simclr = partial(shrunk, SimCLRTransformer)


def test_progress_bar_shows_loss_speed_and_time_left(images, capsys):
    simclr(verbose=1, max_epochs=2).fit(images)
    bar = capsys.readouterr().err
    assert "400/400" in bar
    assert "img/s" in bar
    assert "epoch=2, loss=" in bar
    simclr().fit(images)
    assert capsys.readouterr() == ("", "")


def test_nested_progress_bars(capsys):
    X, y = (part[:100] for part in digits())
    pipeline = make_pipeline(simclr(max_epochs=2), LogisticRegression(max_iter=2000))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    bars = capsys.readouterr().out
    assert "SimCLRTransformer" in bars
    assert "GridSearchCV" in bars
