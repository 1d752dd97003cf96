"""Devices: selection, mixed precision and release of GPU memory."""

import contextlib
import multiprocessing
import re
import traceback

import torch

from sklearn_ssl._runtime.isolation import note_computing
from sklearn_ssl._runtime.world import launched, local_rank

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def own_gpu():
    """Return the index of torch's current GPU; worker processes are distributed over the GPUs."""
    if launched():
        return local_rank() % torch.cuda.device_count()
    if multiprocessing.parent_process() is None:
        return torch.cuda.current_device()
    process = multiprocessing.current_process()
    number = re.search(r"\d+$", process.name)
    # All dask workers have the same name, and their process ids may all be even.
    return int(number[0] if number else process._identity[-1]) % torch.cuda.device_count()


def resolve_device(device):
    """Return the torch.device of a name or ``Device``."""
    device = getattr(device, "name", device)
    note_computing()
    if str(device) == "auto":
        device = f"cuda:{own_gpu()}" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except RuntimeError:
        resolved = None
    n_gpus = torch.cuda.device_count()
    if resolved is None or resolved.type not in ("cpu", "cuda"):
        raise ValueError(f'device={device!r} is unknown. Give "auto", "cpu", "cuda" or "cuda:1".')
    if resolved.type == "cpu":
        return torch.device("cpu")
    if (resolved.index or 0) >= n_gpus:
        raise ValueError(
            f'device="{device}" is not available: torch finds {n_gpus} GPUs. Give "auto" or "cpu".'
        )
    index = resolved.index
    if index is None:
        index = own_gpu() if launched() else torch.cuda.current_device()
    return torch.device("cuda", index)


@contextlib.contextmanager
def gpu_freed(device):
    """Release GPU memory for other processes at the end, also if an exception is raised.

    An exception references the local variables of its traceback, and IPython stores the exception:
    the frames are cleared. Closure variables are not, so functions take tensors as arguments.
    """
    try:
        yield
    except BaseException as error:
        if device.type == "cuda":
            traceback.clear_frames(error.__traceback__)
        raise
    finally:
        gpu_emptied(device)


def gpu_emptied(device):
    """Release the unused cached memory of a GPU."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # else a context on GPU 0 is created: pytorch issue 144025
            torch.cuda.empty_cache()


def autocast(device, precision):
    """Context of mixed precision, independent of autocast of the caller."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "float32")


def full_precision(device):
    """Context without autocast on a device, independent of autocast of the caller.

    Losses need it: exponentials at low temperatures, softmax over many negatives, covariances.
    """
    return autocast(device, "float32")


def may_run_out(device):
    """Return whether a device raises recoverable out-of-memory errors."""
    return device.type == "cuda"
