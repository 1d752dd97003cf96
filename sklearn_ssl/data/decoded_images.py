"""Storage of decoded images: in memory, in a temporary file, or in a folder for later runs."""

import contextlib
import functools
import hashlib
import math
import os
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Images are stored in blocks of about this many bytes.
BLOCK_BYTES = 2**26
# What is stored in no folder lies in memory up to this many bytes, the rest in a temporary file.
MEMORY_BYTES = 2**30
# Number types of decoded images: bytes, and those of images with more than 8 bits, whose range of
# values is known when all of them are decoded.
KINDS = (np.uint8, np.int32, np.float32)
SIZES = tuple(np.dtype(kind).itemsize for kind in KINDS)
# Where an image lies: number of the block, first byte in it, shape, index of its number type.
PLACE = np.dtype([("block", "i4"), ("offset", "i8"), ("shape", "i4", 3), ("kind", "i1")])
# The images in a block of a folder; 16 bytes say which file each was, and its size.
INDEX = np.dtype([("key", "S16"), *(field for field in PLACE.descr if field[0] != "block")])
# Changes when images are decoded in another way.
VERSION = 2


def file_key(path, height, width):
    """Return 16 bytes that tell a file, as it is now, from others; none if there is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return b""
    # The inode, as a link or a renamed folder may put another file at the same path.
    about = VERSION, height, width, found.st_size, found.st_mtime_ns, found.st_ino
    text = " ".join(map(str, about)).encode() + b" "
    text += os.fsencode(os.path.abspath(path))
    return hashlib.blake2b(text, digest_size=16).digest()


@dataclass
class Filling:
    """A block that images are being added to."""

    number: int
    pixels: np.ndarray
    used: int = 0
    listed: list = field(default_factory=list)  # key, offset and shape, of those that have a key


class FileBlock:
    """A block in a file, mapped when it is read: each map holds a file open, and those are few."""

    def __init__(self, path):
        self.path = path

    def __getitem__(self, part):
        return _mapped(self.path)[part]


@functools.lru_cache(maxsize=256)
def _mapped(path):
    return np.load(path, mmap_mode="r")


class ImageStore:
    """Decoded images in blocks of bytes, in memory or mapped from files.

    In a folder, each block is a file of pixels and a file that lists its images, written last.
    Both appear under their names when they are complete and never change, so that a reader
    needs no lock, and a run that is killed leaves at most files that the next one removes.
    """

    def __init__(self, folder=None, verbose=0):
        # In a folder of its own, where nothing else is removed.
        self.folder = None if folder is None else Path(folder) / "sklearn_ssl_images"
        self.verbose = verbose
        self.blocks, self.filling = [], {}
        self.in_memory, self.temporary, self.spilled = 0, None, []

    @contextlib.contextmanager
    def writing(self):
        """Context in which images are added; one process at a time may write to a folder.

        The others wait, and then find what was written. The lock of a killed process is gone.
        """
        with contextlib.ExitStack() as stack:
            if self.folder is not None:
                stack.enter_context(self._alone())
            yield
            for block in list(self.filling.values()):
                self._close(block)
            self._map_temporary()

    @contextlib.contextmanager
    def _alone(self):
        """Hold the lock of the folder, and remove what a killed process left."""
        from sklearn_ssl._runtime.locks import acquired  # filelock takes time to import

        told = f"Another process writes to {str(self.folder)!r}. Waiting for it."
        with writable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = acquired(self.folder / "lock", (lambda: told) if self.verbose else None)
        try:
            for path in self.folder.glob("*.part"):
                path.unlink()
            for path in self.folder.glob("*.pixels.npy"):
                if not index_of(path).exists():
                    path.unlink()
            yield
        finally:
            lock.release()

    def find(self, keys):
        """Return the places of the images with these keys; the block of one not found is -1.

        The store then holds the blocks of those found, and no others.
        """
        self.blocks.clear()
        places = np.zeros(len(keys), PLACE)
        places["block"] = -1
        for path in [] if self.folder is None else sorted(self.folder.glob("*.pixels.npy")):
            try:
                pixels, index = np.load(path, mmap_mode="r"), np.load(index_of(path))
            except (ValueError, EOFError, FileNotFoundError):
                continue  # no block of ours, or one that another process is writing
            if pixels.dtype != np.uint8 or index.dtype != INDEX or not len(index):
                continue
            sizes = index["shape"].prod(axis=1, dtype=np.int64)
            sizes *= np.array(SIZES)[index["kind"]]
            if index["offset"].min() < 0 or (index["offset"] + sizes).max() > len(pixels):
                continue
            index = index[np.argsort(index["key"])]
            nearest = np.searchsorted(index["key"], keys).clip(max=len(index) - 1)
            found = (index["key"][nearest] == keys) & (places["block"] < 0)
            if found.any():
                places["block"][found] = len(self.blocks)
                for name in ("offset", "shape", "kind"):
                    places[name][found] = index[name][nearest[found]]
                self.blocks.append(FileBlock(path))
        return places

    def add(self, pixels, key=b""):
        """Store an image (h, w, c), in the folder if it has a key; return its place."""
        kind = bool(key)
        block = self.filling.get(kind)
        if block is None or block.used + pixels.nbytes > len(block.pixels):
            if block is not None:
                self._close(block)
            room = np.empty(max(BLOCK_BYTES, pixels.nbytes), np.uint8)
            block = self.filling[kind] = Filling(len(self.blocks), room)
            self.blocks.append(None)
        start, block.used = block.used, block.used + pixels.nbytes
        block.pixels[start : block.used] = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        where = start, pixels.shape, KINDS.index(pixels.dtype)
        if key:
            block.listed.append((key, *where))
        return block.number, *where

    def _close(self, block):
        """Put a block that was being filled where it stays."""
        pixels = block.pixels[: block.used]
        del self.filling[bool(block.listed)]
        if block.listed:
            stored = self._to_folder(pixels, np.array(block.listed, INDEX))
        elif self.in_memory + block.used <= MEMORY_BYTES:
            self.in_memory += block.used
            stored = pixels
        else:
            stored = None
            self._to_temporary_file(block.number, pixels)
        self.blocks[block.number] = stored

    def _to_folder(self, pixels, index):
        """Write a block and its list of images to the folder; return the block from there."""
        path = self.folder / f"{uuid.uuid4().hex}.pixels.npy"
        for name, array in (path, pixels), (index_of(path), index):
            part = name.with_suffix(".part")
            with writable(self.folder), open(part, "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())  # else the name could outlive the content, without power
            os.replace(part, name)
        return FileBlock(path)

    def _to_temporary_file(self, number, pixels):
        """Write a block to a file without a name, which goes with the process at the latest."""
        with writable(tempfile.gettempdir()):
            self.temporary = self.temporary or tempfile.TemporaryFile()  # noqa: SIM115
            self.spilled.append((number, self.temporary.tell(), len(pixels)))
            self.temporary.write(pixels)

    def _map_temporary(self):
        """Map the temporary file, once for all of its blocks."""
        if self.temporary is None:
            return
        with writable(tempfile.gettempdir()), self.temporary as file:
            file.flush()
            pixels = np.memmap(file, np.uint8, "r")
        for number, start, size in self.spilled:
            self.blocks[number] = pixels[start : start + size]


def pixels_at(blocks, places):
    """Yield the image at each of the places, (h, w, c), in its own number type."""
    for block, start, shape, kind in zip(
        *(places[name].tolist() for name in PLACE.names), strict=True
    ):
        size = math.prod(shape) * SIZES[kind]
        pixels = blocks[block][start : start + size]
        yield (pixels.view(KINDS[kind]) if kind else pixels).reshape(shape)


def index_of(path):
    """Return the path of the list of images that belongs to a file of pixels."""
    return path.with_name(path.name.replace(".pixels.", ".index."))


@contextlib.contextmanager
def writable(folder):
    """Say what to do where decoded images cannot be written."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"Decoded images could not be written to {str(folder)!r} ({error.strerror}). Set cache "
            "to a folder with room for them, about size * size * 3 bytes each",
        ) from error
