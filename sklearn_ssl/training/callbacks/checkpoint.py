"""Checkpoints: the state of training after an epoch or within one, and how it is resumed."""

import inspect
import time

from skorch.callbacks import Callback

from sklearn_ssl.training.callbacks.diagnostics import check_loss, records
from sklearn_ssl.training.callbacks.users import theirs
from sklearn_ssl.training.epoch import RunningEpoch
from sklearn_ssl.training.optimizers import load_moments


class Checkpoint(Callback):
    """Passes the state of training to ``write`` after each epoch, and within one after some time.

    With such a ``state``, training resumes with identical results. It comes after the user's
    callbacks, whose state is included.
    """

    def __init__(self, write, seconds, state=None):
        self.write, self.seconds, self.state = write, seconds, state
        self.written = time.perf_counter()

    def on_train_begin(self, net, **kwargs):
        """Resume."""
        state, self.state = self.state, None
        if state is None:
            return
        net.objective.load_state_dict(state["objective"])
        load_moments(net.optimizer_, state["optimizer"])
        net.scaler_.load_state_dict(state["scaler"])
        for row in state["rows"]:
            net.history.append(row | {"batches": []})
        for callback, values in zip(theirs(net), state["callbacks"], strict=True):
            vars(callback).update(values)
        net.epoch = None
        if state["begun"] is not None:
            number = net.settings.first_epoch + len(net.history)
            net.epoch = RunningEpoch(number, **state["begun"])
        net.budget.before_seconds, net.budget.step_seconds = state["seconds"]

    def on_batch_end(self, net, **kwargs):
        """Write a checkpoint within the epoch, if the last one is old."""
        if self.write is None or time.perf_counter() - self.written <= self.seconds:
            return
        if net.epoch.n_steps < len(net.epoch.batches):
            begun = net.epoch.state()
            if not net.scaler_.is_enabled():
                check_loss(net, begun["steps"]["loss"])
            self._save(net, begun)

    def on_epoch_end(self, net, **kwargs):
        """Write a checkpoint."""
        if self.write is not None:
            self._save(net)

    def _save(self, net, begun=None):
        """Write a checkpoint; ``begun`` is the state of an unfinished epoch."""
        self.write(
            {
                "objective": net.objective.state_dict(),
                "optimizer": net.optimizer_.state_dict()["state"],
                "scaler": net.scaler_.state_dict(),
                "rows": records(net),
                "callbacks": [_state_of(callback) for callback in theirs(net)],
                "begun": begun,
                "seconds": [net.budget.before_seconds, net.budget.step_seconds],
            }
        )
        self.written = time.perf_counter()


def _state_of(callback):
    """Return the state of a callback, without its parameters."""
    made_with = inspect.signature(type(callback)).parameters
    return {name: value for name, value in vars(callback).items() if name not in made_with}
