"""Reuse of freed memory by the process while a network computes on the CPU."""

import contextlib
import ctypes
import os
import threading

# Parameters of glibc's mallopt, from its malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
MEGABYTE = 2**20
NO_TRIMMING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * MEGABYTE}
# glibc sets these dynamic thresholds itself once an array of 32 MB was freed.
USUAL = {
    M_MMAP_MAX: 65536,
    M_MMAP_THRESHOLD: 32 * MEGABYTE,
    M_TRIM_THRESHOLD: 64 * MEGABYTE,
    M_TOP_PAD: 128 * 1024,
}
_lock = threading.Lock()
_users = 0


@contextlib.contextmanager
def untrimmed_heap(wanted=True):
    """Context in which freed memory stays with the process, and is returned to the system after it.

    By default, glibc returns large freed blocks to the system, and a network allocates the same
    blocks again in every step, whose pages the system has to zero (measured in
    ``benchmarks/README.md``). Contexts may overlap, also in several threads. Earlier ``mallopt``
    settings of a program cannot be queried and are not restored. Other C libraries, and processes
    with settings in the environment, such as ``MALLOC_TRIM_THRESHOLD_`` or ``GLIBC_TUNABLES``,
    are not affected.
    """
    global _users
    libc = _glibc() if wanted else None
    if libc is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(libc, NO_TRIMMING)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(libc, USUAL)
                libc.malloc_trim(0)


def _forget_users():
    """Reset a forked process, which has none of the threads in a context."""
    global _lock, _users
    _lock, _users = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_users)


def _glibc():
    """Return the C library if it is glibc without allocator settings in the environment."""
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018
    except (OSError, TypeError, AttributeError):  # another system, or another C library
        return None
    return libc


def _set(libc, options):
    for option, value in options.items():
        libc.mallopt(option, value)
