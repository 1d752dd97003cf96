"""Callbacks of users: checks, how they stop training, and what they monitor."""

import contextlib
import dis

from skorch.callbacks import InputShapeSetter
from skorch.callbacks.scoring import ScoringBase
from skorch.exceptions import SkorchException

PREFIX = "sklearn_ssl "  # of the names of our own callbacks


class StopTraining(Exception):  # noqa: N818
    """Raised inside the loop to end training after the current epoch."""


def check_callbacks(callbacks):
    """Raise if a callback is not one of skorch, or needs labels or validation samples."""
    given = [callback[-1] if isinstance(callback, tuple) else callback for callback in callbacks]
    for callback in given:
        if not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                f"callbacks contains {callback!r}, which is not a skorch callback. Pass instances "
                "of skorch.callbacks.Callback; set callbacks of scikit-learn with set_callbacks."
            )
    given = [callback() if isinstance(callback, type) else callback for callback in given]
    only_skorch = all(type(callback).__module__.startswith("skorch.") for callback in given)
    for callback in given:
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        if isinstance(callback, ScoringBase):
            raise ValueError(
                f"callbacks contains {name}, which scores predicted labels, but training is "
                "unsupervised. Monitor train_loss, or record another score in on_epoch_end of a "
                "callback."
            )
        if isinstance(callback, InputShapeSetter):
            raise ValueError(
                f"callbacks contains {name}, but fit sets the shape of samples. Remove it."
            )
        # Custom callbacks may record scores under any name.
        if only_skorch and isinstance(monitor, str) and monitor.startswith("valid_"):
            raise ValueError(
                f"callbacks contains {name}(monitor={monitor!r}), but fit has no validation set. "
                f"Set monitor={monitor.replace('valid_', 'train_', 1)!r}."
            )


def ours(*callbacks):
    """Return callbacks of the training loop with names that tell them from those of users."""
    return [(f"{PREFIX}{type(callback).__name__}", callback) for callback in callbacks]


def theirs(net):
    """Return the user's callbacks."""
    return [callback for name, callback in net.callbacks_ if not name.startswith(PREFIX)]


@contextlib.contextmanager
def stopping(net):
    """Context of calls of callbacks; distinguishes one that stops training from Ctrl-C.

    EarlyStopping of skorch uses ``raise KeyboardInterrupt``. An interrupt from the keyboard is
    raised between two instructions, without a raise statement.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        last = interrupt.__traceback__
        while last.tb_next:
            last = last.tb_next
        if dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS":
            raise StopTraining from None
        raise
    except (KeyError, ValueError, SkorchException) as error:
        if "not found in history" not in str(error):
            raise
        names = sorted(name for name in net.history[-1] if name != "batches")
        monitors = [c.monitor for c in theirs(net) if hasattr(c, "monitor")]
        raise ValueError(
            f"A callback monitors a name that is not in the history, one of {monitors}. "
            f"Recorded names are {names}."
        ) from error
