"""Cache of fits in a folder: fitted estimators, checkpoints and embeddings."""

import contextlib
import json
import os
import platform
import socket
import time
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from os import PathLike
from pathlib import Path

from sklearn.utils.validation import check_memory

from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl._runtime.world import world
from sklearn_ssl.parameters import Recipe, recipe
from sklearn_ssl.persistence.file_format import (
    CustomPart,
    read_estimator,
    read_values,
    write_estimator,
    write_values,
)
from sklearn_ssl.persistence.fingerprint import NoContent, fingerprint

# To be incremented when caching or training changes.
VERSION = 2
# Retries of file operations in a folder that other processes may remove.
ATTEMPTS = 50
PACKAGES = "sklearn-ssl", "torch", "torchvision", "scikit-learn", "skorch", "numpy", "pillow"


@recipe
class FitCache(Recipe):
    """Cache of fits and checkpoints on disk.

    Passed to an estimator as ``memory=FitCache(path, ...)``; ``memory=path`` uses the defaults.

    Parameters
    ----------
    path : str, path or joblib.Memory
        The folder.

    hash_files : bool, default=False
        Whether to identify image files by their content instead of path, size, modification time
        and inode. All files are read, but copied and moved files are recognized.

    checkpoint_minutes : float, default=10
        Interval of checkpoints within an epoch, in minutes. One is also written after each epoch.

    Examples
    --------
    >>> from sklearn_ssl import FitCache, SimCLRTransformer
    >>> simclr = SimCLRTransformer(memory=FitCache("fits", hash_files=True))
    """

    path: object
    hash_files: bool = False
    checkpoint_minutes: float = 10

    def __post_init__(self):
        if not (isinstance(self.path, str | PathLike) or hasattr(self.path, "cache")):
            raise ValueError(f"path must be a path or joblib.Memory. Got {self.path!r} instead.")
        if not isinstance(self.hash_files, bool):
            raise ValueError(f"hash_files must be a bool. Got {self.hash_files!r} instead.")
        minutes = self.checkpoint_minutes
        if not (isinstance(minutes, Real) and minutes >= 0):
            raise ValueError(f"checkpoint_minutes must be at least 0. Got {minutes!r} instead.")


def cache_of(estimator):
    """Return the :class:`FitCache` of the parameter ``memory``, which is not None."""
    memory = estimator.memory
    return memory if isinstance(memory, FitCache) else FitCache(memory)


class CachedFit:
    """Cache of one fit: a folder that joblib's Memory treats as its own.

    ``reduce_size`` and ``clear`` of a :class:`joblib.Memory` at the same location may remove it at
    any time; missing parts are computed again. Nothing in it is ever unpickled. Of several
    processes that train together, one reads and writes, and the others get what it read.
    """

    def __init__(self, root, inputs, verbose=0, checkpoint_minutes=10):
        self.checkpoint_minutes = checkpoint_minutes
        versions = {"Python": platform.python_version(), "fits": VERSION}
        for name in PACKAGES:
            with contextlib.suppress(PackageNotFoundError):  # such as a fork with another name
                versions[name] = version(name)
        self.root, self.inputs, self.versions, self.verbose = root, inputs, versions, verbose
        # joblib treats folders whose names start with 32 hexadecimal digits as its own.
        self.name = f"{inputs}-{fingerprint(versions)[:8]}"
        self.folder, self.given_up = self.root / self.name, set()

    @contextlib.contextmanager
    def alone(self, part="fit"):
        """Context of exclusive access to a part; other threads and processes wait."""
        if not world().is_main:
            yield
            return
        from sklearn_ssl._runtime.locks import acquired  # filelock takes time to import

        path = self.root / "locks" / f"{self.name}-{part}.lock"
        owner = path.with_suffix(".json")

        def waiting():
            return (
                f"The same {part} is already running in {_described(owner)}. Waiting for it to "
                "finish."
            )

        with _reached(self.root):
            notice = waiting if self.verbose else None
            lock = _retried(path.parent, lambda: acquired(path, notice))
        try:
            with contextlib.suppress(OSError):
                owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            yield
        finally:
            lock.release()

    def path(self, part):
        """Return the path of a file in the folder."""
        return self.folder / f"{part}.safetensors"

    def read(self, part):
        """Return a cached part of the fit; None if it does not exist or is corrupted."""
        return world().from_main(self._read(part) if world().is_main else None)

    def _read(self, part):
        path = self.path(part)
        try:
            cached = (read_estimator if part == "fit" else read_values)(path)
            if cached["more"]["name"] != self.name:
                raise ValueError(f"{str(path)!r} belongs to another fit.")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            tell(f"{error} It is ignored and will be computed again.")
            return None
        self._used()
        return cached

    def _used(self):
        """Update the time of last use, which joblib reads from this file to remove old entries."""
        with contextlib.suppress(OSError):
            (self.folder / "output.pkl").touch()

    def checkpoint(self):
        """Return the checkpoint of an interrupted fit, None if there is none."""
        state = self.read("checkpoint")
        if state is None and world().is_main:
            self.report_others()
        return state

    def write(self, part, cached):
        """Cache a part of the fit; return whether that was successful.

        A "fit" is an estimator and the names of its attributes to cache, others are plain values.
        On failure, one warning is issued and training continues without this part.
        """
        if part in self.given_up or "all" in self.given_up or not world().is_main:
            return False
        try:
            _retried(self.folder, lambda: self._write(part, cached))
            return True
        except FileNotFoundError:  # removed repeatedly by other processes
            return False
        except OSError as error:
            self.given_up.add("all")
            why = error.strerror
        except CustomPart as error:
            self.given_up.add(part)
            why = f"{error}, such as an attribute of a callback"
        tell(
            f"The {part.split('-')[0]} cannot be cached in {str(self.folder)!r}: {why}. The result "
            "of this call is not affected, but has to be computed again next time."
        )
        return False

    def _write(self, part, cached):
        """Write a part, and remove temporary files of processes that were killed."""
        stale = list(self.folder.glob(f"{part}.*.part"))
        # The owner of temporary files of safetensors is unknown, so only old ones are removed.
        hour_ago = time.time() - 3600
        stale += [path for path in self.folder.glob(".tmp*") if path.stat().st_mtime < hour_ago]
        for path in stale:
            path.unlink(missing_ok=True)
        more = {"name": self.name, "versions": self.versions}
        if part == "fit":
            estimator, names = cached
            state = estimator._optimizer_state
            write_estimator(estimator, self.path(part), names, optimizer_state=state, **more)
        else:
            write_values(self.path(part), cached | {"more": more})
        self._used()

    def remove(self, part):
        """Remove a part of the fit, if it exists."""
        with contextlib.suppress(OSError):
            if world().is_main:
                self.path(part).unlink()

    def report_others(self):
        """Warn if a checkpoint of the same fit was written with other package versions."""
        for path in self.root.glob(f"{self.inputs}-*/checkpoint.safetensors"):
            with contextlib.suppress(ValueError, FileNotFoundError, KeyError):
                theirs = read_values(path)["more"]["versions"]
                pairs = theirs.items() ^ self.versions.items()
                names = sorted({name for name, _ in pairs})
                text = ", ".join(f"{n} {theirs.get(n)}, now {self.versions.get(n)}" for n in names)
                if names:
                    tell(
                        f"The same fit was interrupted with other package versions ({text}) and "
                        "cannot be resumed. It starts again."
                    )


@contextlib.contextmanager
def _reached(folder):
    """Add a remedy to errors of folders that cannot be used."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"Fits cannot be cached in {str(folder)!r} ({error.strerror}). Set memory to a "
            "writable folder, or to None",
        ) from error


def _retried(folder, action):
    """Retry an action in a folder that joblib's clear may remove at any time."""
    for left in reversed(range(ATTEMPTS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return action()
        except FileNotFoundError:
            if not left:
                raise
    return None


def folder_of(memory):
    """Return the cache folder of a value of ``memory``; None without caching."""
    memory = memory.path if isinstance(memory, FitCache) else memory
    memory = os.fspath(memory) if isinstance(memory, PathLike) else memory
    with _reached(memory):
        backend = check_memory(memory).store_backend
    if backend is None:
        return None
    location = getattr(backend, "location", None)
    if not isinstance(location, str | PathLike):
        raise ValueError(
            f"memory={memory!r} does not store its cache in a local folder. Give the path of a "
            "folder, or a joblib.Memory with a local folder."
        )
    return Path(location) / "sklearn_ssl"


def key_of(parts):
    """Return the key of a fit from a dict of everything that it depends on."""
    digests = {}
    for name, value in parts.items():
        try:
            digests[name] = fingerprint(value)
        except NoContent as error:
            raise ValueError(
                f"memory identifies fits by their parameters and data, but {name} holds {error}, "
                "which cannot be hashed. Remove it, or set memory=None."
            ) from error
    return fingerprint(digests)


def _described(owner):
    """Return a description of the owner of a lock."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        process = json.loads(owner.read_text())
        return f"process {process['pid']} on {process['host']}"
    return "another process"
