"""Devices: which one computes, in which precision, and what becomes of a GPU's memory."""

import contextlib
import multiprocessing
import re
import traceback

import torch

from sklearn_ssl._runtime.isolation import note_computing

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def own_gpu():
    """Return the number of torch's current GPU; worker processes take the GPUs in turn."""
    if multiprocessing.parent_process() is None:
        return torch.cuda.current_device()
    process = multiprocessing.current_process()
    number = re.search(r"\d+$", process.name)
    # dask gives all its workers one name, and their process ids may all be even.
    return int(number[0] if number else process._identity[-1]) % torch.cuda.device_count()


def resolve_device(device):
    """Return the torch.device that a name, or a ``Device``, stands for."""
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
            f'device="{device}" is not there: torch sees {n_gpus} GPUs. Give "auto" or "cpu".'
        )
    return torch.device(
        "cuda", torch.cuda.current_device() if resolved.index is None else resolved.index
    )


@contextlib.contextmanager
def gpu_freed(device):
    """Give a GPU's memory to other processes at the end, also where a call inside raises.

    An exception holds the variables of the calls that it left, and IPython holds the exception:
    they are forgotten. Not so what a function has from those around it, so our functions get
    what lies on a GPU as arguments.
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
    """Give the memory of a GPU that nothing uses back to it."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # else GPU 0 is used too: pytorch's issue 144025
            torch.cuda.empty_cache()


def autocast(device, precision):
    """Context in which a network's products have a precision, whatever the caller's have."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "float32")


def full_precision(device):
    """Context in which autocast is off on a device, whatever the caller's is.

    Losses need it: exponentials at low temperatures, softmax over many negatives, covariances.
    """
    return autocast(device, "float32")


def may_run_out(device):
    """Tell whether a device reports that its memory is not enough, and can be asked again."""
    return device.type == "cuda"
