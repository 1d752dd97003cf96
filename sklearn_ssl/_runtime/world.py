"""Processes that train one estimator together, such as those that torchrun starts."""

import atexit
import contextlib
import multiprocessing
import os
from contextvars import ContextVar
from datetime import timedelta

import numpy as np
import torch
from torch import distributed

# How long processes wait for each other at most before an inference that they may share.
JOIN_SECONDS = 10.0
# And for what one of them does for all, such as clustering, or waiting for an equal fit.
LONGEST = timedelta(days=1)


class World:
    """The processes of a distributed fit; by default this process alone.

    Each process reads its share of a batch: the slice ``share(n)`` of its n samples. What a loss
    compares across samples it gathers, and computes for the whole batch. The loss of a step is the
    mean of those of all processes, so gradients are averaged.
    """

    rank, size = 0, 1

    def __init__(self, group=None, rank=0, size=1):
        self.group, self.rank, self.size = group, rank, size

    @property
    def is_main(self):
        """Whether this process writes files, progress bars and warnings."""
        return self.rank == 0

    def share(self, n):
        """Return the slice of n samples that this process computes."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def drawn(self, draw, n, n_views=1):
        """Return random values for the ``n`` samples of each view of this process.

        ``draw(n)`` returns a tensor, or another sequence that indices can take parts of, with an
        entry for each of n samples. It is called for the whole batch, so that the values do not
        depend on the number of processes.
        """
        if self.size == 1:
            return draw(n)
        values = draw(n * self.size)
        indices = torch.arange(len(values), device="cpu").view(n_views, -1)
        return values[indices[:, self.share(indices.shape[1])].flatten()]

    def gather(self, tensor, n_views=1):
        """Return the rows of all processes, in the order of the batch, with their gradients.

        What is computed of them has to be the same in all processes.

        ``n_views`` is the number of views that are concatenated in the tensor.
        """
        if self.size == 1:
            return tensor
        return _Gather.apply(tensor.unflatten(0, (n_views, -1)), self).flatten(0, 1)

    def mean(self, tensor):
        """Return the mean over all processes of a tensor without gradients."""
        if self.size == 1:
            return tensor
        tensor = tensor.detach().clone()
        distributed.all_reduce(tensor, group=self.group)
        return tensor / self.size

    def average_(self, tensors):
        """Replace tensors by their means over all processes, with one message for each dtype."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            mean = self.mean(torch.cat([tensor.flatten() for tensor in same]))
            parts = mean.to(dtype).split([tensor.numel() for tensor in same])
            shaped = [part.view(old.shape) for part, old in zip(parts, same, strict=True)]
            torch._foreach_copy_(same, shaped)

    def largest(self, number):
        """Return the largest of a number of each process."""
        if self.size == 1:
            return number
        value = torch.tensor(float(number), dtype=torch.float64)
        distributed.all_reduce(value, distributed.ReduceOp.MAX, group=self.group)
        return value.item()

    def gather_objects(self, value):
        """Return a list of the values of all processes."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        distributed.all_gather_object(values, value, group=self.group)
        return values

    def from_main(self, value):
        """Return the value of the main process."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, 0, group=self.group)
        return values[0]

    def concatenate(self, array):
        """Return the rows of the arrays of all processes, in the order of their ranks."""
        return np.concatenate(self.gather_objects(array)) if self.size > 1 else array


class _Gather(torch.autograd.Function):
    """Concatenation of the tensors of all processes along their second axis."""

    @staticmethod
    def forward(ctx, tensor, world):
        ctx.world = world
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(world.size)]
        distributed.all_gather(parts, tensor, group=world.group)
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx, gradient):
        # The loss of the rows of all processes is the same in each, and so is its gradient: what
        # their sum would be is known without a message. The loss of the step is their mean.
        return ctx.world.size * gradient[:, ctx.world.share(gradient.shape[1])], None


ALONE = World()
# Threads that are started inside a fit do not take part in it.
_current = ContextVar("world", default=ALONE)


def world():
    """Return the processes that compute together at this point of the program."""
    return _current.get()


def launched():
    """Return whether this process was started to train together with others."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size() > 1
    # Worker processes of joblib inherit the environment.
    workers = multiprocessing.current_process().name != "MainProcess"
    return not workers and int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ


def local_rank():
    """Return the index of this process among those of its machine, or None if it is alone."""
    return int(os.environ.get("LOCAL_RANK", 0)) if launched() else None


def _default_group():
    """Return the process group of all processes, initialized at the first call."""
    if not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        atexit.register(_end_default_group)
    return distributed.group.WORLD


def _end_default_group():
    if distributed.is_initialized():
        distributed.destroy_process_group()


_n_meetings = 0  # of this process; equal in all that run the same program
_n_visits = {}  # the same, for each key of shared_if_all_come


@contextlib.contextmanager
def ending_together(what):
    """Context of what all processes do together; an error of one of them ends it in all.

    ``what`` names it in errors.
    """
    global _n_meetings
    if not launched() or world() is not ALONE:
        yield world()
        return
    _default_group()
    _n_meetings += 1
    store, key = distributed.distributed_c10d._get_default_store(), f"sklearn_ssl/{_n_meetings}"
    rank, size = distributed.get_rank(), distributed.get_world_size()
    try:
        group = distributed.new_group(
            backend="cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            timeout=LONGEST,
        )
    except RuntimeError as error:
        raise RuntimeError(
            f"{what} was not called by all {size} processes. All have to run the same program: "
            "call it outside of conditions on the rank."
        ) from error
    together = World(group, rank, size)
    token = _current.set(together)
    try:
        names = together.gather_objects(what)
        if len(set(names)) > 1:
            raise RuntimeError(
                f"The processes have to call the same methods in the same order, but they called "
                f"{' and '.join(dict.fromkeys(names))}."
            )
        yield together
        # Until all have ended, not by a message, whose answer a closed connection may take away.
        if store.add(f"{key}/ended", 1) == size:
            store.set(f"{key}/all", "ended")
        store.wait([f"{key}/all"], LONGEST)
        if store.get(f"{key}/all") != b"ended":
            raise RuntimeError("another process raised an error")
    except BaseException as error:
        before = f"{rank} {type(error).__name__}: {error}"
        with contextlib.suppress(RuntimeError):  # if the process of the store was ended
            before = store.compare_set(f"{key}/error", "", before).decode()
            store.set(f"{key}/all", "error")
        other, _, text = before.partition(" ")
        # Errors of messages that others no longer answer.
        if isinstance(error, RuntimeError) and int(other) != rank:
            raise RuntimeError(f"{what} ended because process {other} raised {text}") from error
        if isinstance(error, RuntimeError) and "by peer" in str(error):  # of gloo
            raise RuntimeError(f"{what} ended because another process was ended.") from error
        raise
    finally:
        _current.reset(token)
        together.group = None
        # Closes its connections, so that others do not wait for this process.
        distributed.destroy_process_group(group)


@contextlib.contextmanager
def shared_if_all_come(what, key):
    """Context of what processes compute together if all come to it soon, and else each alone.

    ``key`` is text that is equal if they compute the same.
    """
    if not (launched() and distributed.is_initialized() and world() is ALONE):
        yield
        return
    store, place = distributed.distributed_c10d._get_default_store(), f"sklearn_ssl/{key}"
    _n_visits[key] = _n_visits.get(key, 0) + 1
    place = f"{place}/{_n_visits[key]}"
    if store.add(f"{place}/present", 1) == distributed.get_world_size():
        store.compare_set(f"{place}/decided", "", "together")
    else:
        try:
            store.wait([f"{place}/decided"], timedelta(seconds=JOIN_SECONDS))
        except RuntimeError:
            store.compare_set(f"{place}/decided", "", "alone")
    together = store.get(f"{place}/decided") == b"together"
    with ending_together(what) if together else contextlib.nullcontext():
        yield
