"""Durations, and a clock that runs during a fit only."""

import time

import pytest
from common import digits

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.training.clock import Clock, seconds_of


@pytest.mark.parametrize(
    ("max_time", "seconds"),
    [(600, 600), (0.5, 0.5), ("90s", 90), ("90 sec", 90), ("10min", 600), ("1.5h", 5400)],
)
def test_times(max_time, seconds):
    assert seconds_of(max_time) == seconds


@pytest.mark.parametrize("max_time", ["ten", "10", "10 days", "0s", "-3s", "", "s", 0, -1, [1]])
def test_what_is_no_time(max_time):
    with pytest.raises(ValueError, match="max_time"):
        SimCLRTransformer(max_time=max_time).fit(digits()[0])


def test_a_clock_stands_still_while_others_work(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    ours = Clock(10)
    now[0] = 5
    assert ours.elapsed == 0
    with ours.running():
        now[0] = 7
        assert ours.left == 8
    now[0] = 100
    assert ours.elapsed == 2
