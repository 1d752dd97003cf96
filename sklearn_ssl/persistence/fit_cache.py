"""Fits that are cached in a folder: finished ones, those under way, and embeddings."""

import contextlib
import json
import os
import platform
import socket
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from os import PathLike
from pathlib import Path

from sklearn.utils.validation import check_memory

from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.parameters import Recipe
from sklearn_ssl.persistence.file_format import (
    CustomPart,
    read_estimator,
    read_values,
    write_estimator,
    write_values,
)
from sklearn_ssl.persistence.fingerprint import NoContent, fingerprint

# Changes when fits are cached, or trained, in another way.
VERSION = 2
# Of something in a folder that others remove.
ATTEMPTS = 50
PACKAGES = "sklearn-ssl", "torch", "torchvision", "scikit-learn", "skorch", "numpy", "pillow"


@dataclass(frozen=True)
class FitCache(Recipe):
    """Cache of fits on disk, with how its samples are identified and how often it is written.

    Give it to an estimator as ``memory=FitCache(path, ...)``; a path alone has the defaults.

    Parameters
    ----------
    path : str, path or joblib.Memory
        The folder.

    hash_files : bool, default=False
        Whether files are identified by their content, which takes reading them, instead of by
        path, size, time of change and inode, so that copies and moved folders count as the same.

    checkpoint_minutes : float, default=10
        A fit is written after each epoch, and within an epoch after this many minutes.

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
    """Return the :class:`FitCache` that a parameter ``memory`` stands for."""
    memory = estimator.memory
    return memory if isinstance(memory, FitCache) else FitCache(memory or "")


class CachedFit:
    """What is cached of one fit: a folder, which joblib's Memory counts and removes as its own.

    ``reduce_size`` and ``clear`` of a :class:`joblib.Memory` of the same place may remove it at
    any time; what is missing is made again, if need be twice. Nothing in it is ever unpickled.
    """

    def __init__(self, root, inputs, verbose=0):
        versions = {"Python": platform.python_version(), "fits": VERSION}
        for name in PACKAGES:
            with contextlib.suppress(PackageNotFoundError):  # as of a fork by another name
                versions[name] = version(name)
        self.root, self.inputs, self.versions, self.verbose = root, inputs, versions, verbose
        # joblib takes folders whose names begin with 32 hexadecimal digits for its own.
        self.name = f"{inputs}-{fingerprint(versions)[:8]}"
        self.folder, self.given_up = self.root / self.name, set()

    @contextlib.contextmanager
    def alone(self, part="fit"):
        """Context in which no other thread or process works on the same part of it; they wait."""
        from sklearn_ssl._runtime.locks import acquired  # filelock takes time to import

        path = self.root / "locks" / f"{self.name}-{part}.lock"
        owner = path.with_suffix(".json")

        def waiting():
            return f"The same {part} is under way in {_described(owner)}. Waiting for it."

        with _reached(self.root):
            told = waiting if self.verbose else None
            lock = _patiently(path.parent, lambda: acquired(path, told))
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
        """Return what was cached as a part of the fit; None if there is none, or it is broken."""
        path = self.path(part)
        try:
            cached = (read_estimator if part == "fit" else read_values)(path)
            if cached["more"]["name"] != self.name:
                raise ValueError(f"{str(path)!r} belongs to another fit.")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            tell(f"{error} It is not used, and will be made anew.")
            return None
        self._used()
        return cached

    def _used(self):
        """Tell joblib, which removes first what was not used for long; it looks at this file."""
        with contextlib.suppress(OSError):
            (self.folder / "output.pkl").touch()

    def checkpoint(self):
        """Return the state that an interrupted fit left, None if there is none."""
        state = self.read("checkpoint")
        if state is None:
            self.report_others()
        return state

    def write(self, part, cached):
        """Keep a part of the fit, and tell whether it is cached.

        A "fit" is an estimator and the names of its attributes to keep, others are plain values.
        Where that fails, it is said once, and training goes on without.
        """
        if part in self.given_up or "all" in self.given_up:
            return False
        try:
            _patiently(self.folder, lambda: self._write(part, cached))
            return True
        except FileNotFoundError:  # others remove it, again and again
            return False
        except OSError as error:
            self.given_up.add("all")
            why = error.strerror
        except CustomPart as error:
            self.given_up.add(part)
            why = f"{error}, as a callback may hold"
        tell(
            f"The {part.split('-')[0]} cannot be cached in {str(self.folder)!r}: {why}. What was "
            "computed is not lost now, but will be computed again next time."
        )
        return False

    def _write(self, part, cached):
        """Write a part, and remove what processes left that were killed while they wrote it."""
        stale = list(self.folder.glob(f"{part}.*.part"))
        # safetensors has temporary files of its own, which do not say whose they are.
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
        """Remove a part of the fit, if it is there."""
        with contextlib.suppress(OSError):
            self.path(part).unlink()

    def report_others(self):
        """Warn if the same fit was begun with other versions, which cannot be gone on with."""
        for path in self.root.glob(f"{self.inputs}-*/checkpoint.safetensors"):
            with contextlib.suppress(ValueError, FileNotFoundError, KeyError):
                theirs = read_values(path)["more"]["versions"]
                pairs = theirs.items() ^ self.versions.items()
                names = sorted({name for name, _ in pairs})
                told = ", ".join(f"{n} {theirs.get(n)}, now {self.versions.get(n)}" for n in names)
                if names:
                    tell(
                        f"The same fit was begun with other versions ({told}) and cannot go on "
                        "with these. It begins anew."
                    )


@contextlib.contextmanager
def _reached(folder):
    """Say what to do where a folder cannot be used."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"Fits cannot be cached in {str(folder)!r} ({error.strerror}). Set memory to a folder "
            "that can be written to, or to None",
        ) from error


def _patiently(folder, action):
    """Do something in a folder, which others may remove at any time, as joblib's clear does."""
    for left in reversed(range(ATTEMPTS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return action()
        except FileNotFoundError:
            if not left:
                raise
    return None


def folder_of(memory):
    """Return the folder for fits in a value of ``memory``; None if nothing is to be cached."""
    memory = memory.path if isinstance(memory, FitCache) else memory
    memory = os.fspath(memory) if isinstance(memory, PathLike) else memory
    with _reached(memory):
        backend = check_memory(memory).store_backend
    if backend is None:
        return None
    location = getattr(backend, "location", None)
    if not isinstance(location, str | PathLike):
        raise ValueError(
            f"memory={memory!r} keeps nothing in a folder of this machine, where fits could be "
            "cached. Give the path of a folder, or a joblib.Memory of one."
        )
    return Path(location) / "sklearn_ssl"


def key_of(parts):
    """Return the key of a fit from all that it depends on, a dict; raise if that cannot be told."""
    digests = {}
    for name, value in parts.items():
        try:
            digests[name] = fingerprint(value)
        except NoContent as error:
            raise ValueError(
                f"memory tells fits apart by their parameters, but {name} holds {error}, which "
                "cannot be compared with others. Leave it out, or set memory=None."
            ) from error
    return fingerprint(digests)


def _described(owner):
    """Say who holds a lock."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        told = json.loads(owner.read_text())
        return f"process {told['pid']} on {told['host']}"
    return "another process"
