"""Limits of training in epochs and time."""

import math
import time

from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl._runtime.world import world
from sklearn_ssl.training.callbacks.users import StopTraining
from sklearn_ssl.training.clock import Clock

# The duration of an epoch is estimated from this many steps, or until this share of the time limit.
TRIAL_STEPS, TRIAL_SHARE = 5, 0.01


class TimeBudget(Callback):
    """Ends training after ``n_epochs``, which may be infinite, or within the time of a clock."""

    def __init__(self, n_epochs, clock=None):
        self.n_epochs, self.clock = n_epochs, clock or Clock(math.inf)
        self.step_seconds = self.before_seconds = 0.0  # of a step, and of preparing an epoch
        self.moments = []  # ends of the steps of this epoch

    def has_time(self, seconds):
        """Return whether more than this time is left, in all processes."""
        if self.clock.seconds == math.inf:
            return True
        return world().largest(seconds - self.clock.left) < 0

    def allows_step(self):
        """Return whether there is time for another step; for the first one there always is."""
        first = len(self.moments) == 1
        return first or self.has_time(self.step_seconds / 2 + self.before_seconds)

    def allows_epoch(self, net):
        """Return whether to train another epoch."""
        if len(net.history) >= self.n_epochs:
            return False
        return not net.history or net.epoch is not None or self._has_time_for_epoch()

    def extends_epoch(self, net):
        """Return whether the last epoch goes on, until the time is up."""
        ended = not self.is_timed(net) or len(net.history) >= self.n_epochs
        return not (ended or self._has_time_for_epoch())

    def _has_time_for_epoch(self):
        """Return whether there is time for another epoch.

        Finishing an objective takes about as long as preparing an epoch, and the steps of the epoch
        should take at least as long.
        """
        return self.has_time(3 * self.before_seconds + self.step_seconds / 2)

    def is_timed(self, net):
        """Return whether training is limited by time."""
        return self.clock.seconds < math.inf and net.settings.anneal

    def position(self, net, epochs):
        """Return the position in the schedule, in epochs, by elapsed epochs or time."""
        if not self.is_timed(net):
            return epochs
        usable = self.clock.seconds - self.before_seconds - self.clock.origin
        if world().largest(-usable) >= 0:  # for the single step
            return epochs
        share = world().largest((self.clock.elapsed - self.clock.origin) / usable)
        return net.settings.max_epochs * min(1.0, max(share, epochs / self.n_epochs))

    def begin_steps(self, before_seconds=None):
        """Note that an epoch is prepared, in this time if it was not resumed."""
        if before_seconds is not None:
            self.before_seconds = before_seconds
        self.moments = [time.perf_counter()]

    def on_batch_end(self, net, **kwargs):
        """Estimate the duration of a step."""
        moments = self.moments
        moments.append(time.perf_counter())
        if len(moments) > 2:
            self.step_seconds = (moments[-1] - moments[1]) / (len(moments) - 2)
        elif net.settings.compile and len(net.history) == 1:
            self.clock.origin = self.clock.elapsed  # the first step includes compilation
        else:
            self.step_seconds = moments[1] - moments[0]

    def on_epoch_end(self, net, **kwargs):
        """Warn if the first epoch was cut."""
        epoch = net.epoch
        if epoch.n_steps < epoch.n_planned and epoch.number == 0:
            tell(
                f"max_time ended training after {epoch.n_steps} of {epoch.n_planned} steps of the "
                "first epoch, so many samples were not used. Increase max_time, or choose a "
                "smaller backbone or smaller images.",
                ConvergenceWarning,
            )


class Trial(Callback):
    """Stops training after a few steps, and estimates how many epochs the time allows."""

    def __init__(self, clock):
        self.clock, self.moments = clock, []

    def on_batch_begin(self, net, **kwargs):
        """Note the time."""
        self.moments.append(time.perf_counter())

    def on_batch_end(self, net, loss=None, **kwargs):
        """Stop if there were enough steps."""
        loss.item()  # synchronizes with the device
        # The first step is the slowest, so take a second one unless it takes very long.
        share = TRIAL_SHARE * (1 if len(self.moments) > 1 else 10)
        elapsed = world().largest(time.perf_counter() - self.moments[0])
        if elapsed > share * self.clock.seconds or len(self.moments) == min(
            TRIAL_STEPS, net.epoch.n_planned
        ):
            self.moments.append(time.perf_counter())
            raise StopTraining

    def epochs(self, net):
        """Return how many epochs the remaining time allows."""
        moments, before = self.moments, net.budget.before_seconds
        # The first step is left out if there are others.
        step = (moments[-1] - moments[min(1, len(moments) - 2)]) / max(1, len(moments) - 2)
        left = self.clock.left - before  # needed again at the end
        return -world().largest(-max(0.0, left) / max(before + step * net.epoch.n_planned, 1e-9))
