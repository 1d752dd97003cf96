"""Isolation of random states, default dtype and modes of the process from a fit."""

import contextlib
import os
import threading

import numpy as np
import torch
from torch.overrides import _pop_mode_temporarily

# torch's random states are global to the process, and a fit uses all its cores.
_process_lock = threading.RLock()
_computed = False  # whether torch has computed in this process or a parent it was forked from
# The default dtype is global to the process as well: the first context that needs float32 sets it,
# and the last one restores it.
_dtype_lock, _n_users, _dtype_before = threading.Lock(), 0, None


def _after_fork():
    """Reset locks and threads in a forked process, which lacks the threads of its parent.

    These may hold a lock, and multi-threaded computation would wait forever for the OpenMP threads
    of the parent.
    """
    global _process_lock, _dtype_lock
    _process_lock, _dtype_lock = threading.RLock(), threading.Lock()
    if _computed:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def note_computing():
    """Record that torch has computed in this process, for forked processes."""
    global _computed
    _computed = True


@contextlib.contextmanager
def torch_defaults(device):
    """Context of torch's defaults: float32, device "cpu", no autocast.

    Everything that evaluates a network or draws random numbers runs in it.
    """
    global _n_users, _dtype_before
    note_computing()
    with contextlib.ExitStack() as stack:
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        while torch.get_default_device().type != "cpu":
            # Removed instead of overridden: transformers round differently with any mode.
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
    """Context that restores random states, ``torch_defaults``, grad and inference modes.

    Inside, dtype, inference mode and NumPy's handling of floating-point errors are the defaults.

    Other threads wait, such as those of joblib's threading backend; a fit that waits for another
    thread's fit, for example in a callback, causes a deadlock.
    """
    devices = [device] if device.type == "cuda" else []
    # Leaving inference mode also enables gradients, even if the caller disabled them.
    numpy_errors = np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
    with (
        _process_lock,
        torch.random.fork_rng(devices),
        torch.inference_mode(False),
        torch_defaults(device),
        numpy_errors,
    ):
        yield


def seed_torch(device, *key):
    """Seed torch's generators of the CPU and the device with a key of ints."""
    # NumPy ignores trailing zeros of a key, so its length is prepended.
    seed = int(np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
