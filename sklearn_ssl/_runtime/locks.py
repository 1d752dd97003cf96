"""File locks between processes."""

from filelock import FileLock, Timeout


def acquired(path, waiting=None):
    """Acquire and return the lock of a file; release it with ``release()``.

    The operating system releases the lock if its owner is killed. If it is not available at once,
    the text returned by ``waiting()`` is printed.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is not None:
            print(waiting())
        lock.acquire()
    return lock
