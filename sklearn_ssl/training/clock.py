"""Time limits of fits."""

import contextlib
import re
import time
from numbers import Real

UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600}


def seconds_of(max_time):
    """Return a time limit in seconds, from a number or text such as "90s", "10min" or "1.5h"."""
    if isinstance(max_time, Real):
        return float(max_time)
    found = re.fullmatch(rf"\s*(\d+\.?\d*|\.\d+)\s*({'|'.join(UNITS)})\s*", max_time)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not seconds:
        raise ValueError(
            f"max_time={max_time!r} must be a positive duration: seconds, such as 600, or a number "
            'with a unit "s", "min" or "h", such as "10min".'
        )
    return seconds


class Clock:
    """Stopwatch of a time limit in seconds; waiting for other fits does not count."""

    def __init__(self, seconds):
        self.seconds, self.spent, self.since = seconds, 0.0, None
        self.origin = 0.0  # time elapsed before training

    @property
    def elapsed(self):
        """Elapsed seconds."""
        return self.spent + (0.0 if self.since is None else time.perf_counter() - self.since)

    @property
    def left(self):
        """Remaining seconds."""
        return self.seconds - self.elapsed

    @contextlib.contextmanager
    def running(self):
        """Context in which time counts; inside of another one it has no effect."""
        if self.since is not None:
            yield
            return
        self.since = time.perf_counter()
        try:
            yield
        finally:
            self.spent, self.since = self.elapsed, None
