"""Random states, default dtype and modes of the process, which a fit leaves as they were."""

import contextlib
import os
import threading

import numpy as np
import torch
from torch.overrides import _pop_mode_temporarily

# torch's random states belong to the process, and a fit takes all its cores.
_alone = threading.RLock()
_computed = False  # whether anything was, in this process or the ones it was forked from
# The default dtype belongs to the process as well: the first of those that need float32 sets it,
# and the last one sets it back.
_dtype_lock, _n_users, _dtype_before = threading.Lock(), 0, None


def _after_fork():
    """Begin anew in a forked process, which lacks the threads of its parent.

    They may hold a lock, and those of OpenMP would be waited for forever by what computes in
    several threads, if the parent has done so.
    """
    global _alone, _dtype_lock
    _alone, _dtype_lock = threading.RLock(), threading.Lock()
    if _computed:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def note_computing():
    """Remember, for processes that are forked from this one, that torch has computed here."""
    global _computed
    _computed = True


@contextlib.contextmanager
def torch_defaults(device):
    """Context in which the caller's default dtype, default device and autocast have no effect.

    All that computes with a network or draws random numbers runs in it.
    """
    global _n_users, _dtype_before
    note_computing()
    with contextlib.ExitStack() as stack:
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        while torch.get_default_device().type != "cpu":
            # Not covered by another one: with a mode of any kind, transformers round differently.
            stack.enter_context(_pop_mode_temporarily())
        with _dtype_lock:
            _n_users += 1
            if _n_users == 1:
                _dtype_before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            with _dtype_lock:
                _n_users -= 1
                if _n_users == 0:
                    torch.set_default_dtype(_dtype_before)


@contextlib.contextmanager
def isolated(device):
    """Leave the process as it was: random states, ``torch_defaults``, grad and inference modes.

    Inside, dtype, inference mode and NumPy's handling of floating-point errors are the defaults.

    Other threads wait, as those of joblib's threading backend; a thread that waits for another
    one's fit inside of its own, as a callback could, would wait for ever.
    """
    devices = [device] if device.type == "cuda" else []
    # Leaving inference mode turns gradients on as well, where the caller had turned them off.
    numpy_errors = np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
    with (
        _alone,
        torch.random.fork_rng(devices),
        torch.inference_mode(False),
        torch_defaults(device),
        numpy_errors,
    ):
        yield


def seed_torch(device, *key):
    """Make all that torch draws next on the processor and the device a function of the key."""
    # NumPy takes a key for the same with zeros behind it, so the length stands in front.
    seed = int(np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
