"""Locks between processes, by files."""

from filelock import FileLock, Timeout


def acquired(path, waiting=None):
    """Return the lock of a file, held by this thread; ``release()`` gives it back.

    The lock is the system's, which frees it when its owner dies, however it does. Where another
    has it, what ``waiting()`` returns is printed before.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is not None:
            print(waiting())
        lock.acquire()
    return lock
