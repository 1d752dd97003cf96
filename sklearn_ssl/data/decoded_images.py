"""Storage of decoded images in memory, in a temporary file, or in a cache folder."""

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

# Approximate size of a block of images, in bytes.
BLOCK_BYTES = 2**26
# Without a cache folder, this many bytes are stored in memory, the rest in a temporary file.
MEMORY_BYTES = 2**30
# Dtypes of decoded images: uint8, and those of images of more than 8 bits, whose value range is
# known only after all of them are decoded.
KINDS = (np.uint8, np.int32, np.float32)
SIZES = tuple(np.dtype(kind).itemsize for kind in KINDS)
# Location of an image: number of the block, offset in bytes, shape, index of its dtype in KINDS.
PLACE = np.dtype([("block", "i4"), ("offset", "i8"), ("shape", "i4", 3), ("kind", "i1")])
# Index of a block in a cache folder; the key of 16 bytes identifies file and target size.
INDEX = np.dtype([("key", "S16"), *(field for field in PLACE.descr if field[0] != "block")])
# To be incremented when decoding changes.
VERSION = 2


def file_key(path, height, width):
    """Return a key of 16 bytes for the current version of a file; b"" if it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return b""
    # With the inode, as a link or a renamed folder may put another file at the same path.
    about = VERSION, height, width, found.st_size, found.st_mtime_ns, found.st_ino
    text = " ".join(map(str, about)).encode() + b" "
    text += os.fsencode(os.path.abspath(path))
    return hashlib.blake2b(text, digest_size=16).digest()


@dataclass
class Filling:
    """Block that images are added to."""

    number: int
    pixels: np.ndarray
    used: int = 0
    listed: list = field(default_factory=list)  # key and location of the images with a key


class FileBlock:
    """Block in a file, memory-mapped on access: open files are a limited resource."""

    def __init__(self, path):
        self.path = path

    def __getitem__(self, part):
        return _mapped(self.path)[part]


@functools.lru_cache(maxsize=256)
def _mapped(path):
    return np.load(path, mmap_mode="r")


class ImageStore:
    """Decoded images in blocks of bytes, in memory or memory-mapped files.

    In a folder, each block is a file of pixels and an index file, which is written last. Both are
    renamed when they are complete and never modified, so that readers need no lock. Files of
    processes that were killed are removed by the next writer.
    """

    def __init__(self, folder=None, verbose=0):
        # A subfolder of its own, so that no other files are removed.
        self.folder = None if folder is None else Path(folder) / "sklearn_ssl_images"
        self.verbose = verbose
        self.blocks, self.filling = [], {}
        self.in_memory, self.temporary, self.spilled = 0, None, []

    @contextlib.contextmanager
    def writing(self):
        """Context to add images; only one process at a time writes to a folder, others wait.

        The lock of a killed process is released by the system.
        """
        with contextlib.ExitStack() as stack:
            if self.folder is not None:
                stack.enter_context(self._locked())
            yield
            for block in list(self.filling.values()):
                self._close(block)
            self._map_temporary()

    @contextlib.contextmanager
    def _locked(self):
        """Hold the lock of the folder, and remove incomplete files of killed processes."""
        from sklearn_ssl._runtime.locks import acquired  # filelock takes time to import

        text = f"Another process is writing to {str(self.folder)!r}. Waiting for it to finish."
        with writable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = acquired(self.folder / "lock", (lambda: text) if self.verbose else None)
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
        """Return the locations of the images with these keys; block -1 if not found.

        ``blocks`` is replaced by the blocks of the images found.
        """
        self.blocks.clear()
        places = np.zeros(len(keys), PLACE)
        places["block"] = -1
        for path in [] if self.folder is None else sorted(self.folder.glob("*.pixels.npy")):
            try:
                pixels, index = np.load(path, mmap_mode="r"), np.load(index_of(path))
            except (ValueError, EOFError, FileNotFoundError):
                continue  # not one of our blocks, or incomplete
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
        """Store an image (h, w, c), in the folder if it has a key; return its location."""
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
        """Move a filled block to its final storage."""
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
        """Write a block and its index to the folder; return the block in the file."""
        path = self.folder / f"{uuid.uuid4().hex}.pixels.npy"
        for name, array in (path, pixels), (index_of(path), index):
            part = name.with_suffix(".part")
            with writable(self.folder), open(part, "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())  # a power failure could otherwise leave an empty file
            os.replace(part, name)
        return FileBlock(path)

    def _to_temporary_file(self, number, pixels):
        """Append a block to an unnamed temporary file, which is removed with the process."""
        with writable(tempfile.gettempdir()):
            self.temporary = self.temporary or tempfile.TemporaryFile()  # noqa: SIM115
            self.spilled.append((number, self.temporary.tell(), len(pixels)))
            self.temporary.write(pixels)

    def _map_temporary(self):
        """Memory-map the temporary file, once for all of its blocks."""
        if self.temporary is None:
            return
        with writable(tempfile.gettempdir()), self.temporary as file:
            file.flush()
            pixels = np.memmap(file, np.uint8, "r")
        for number, start, size in self.spilled:
            self.blocks[number] = pixels[start : start + size]


def pixels_at(blocks, places):
    """Yield the image at each location, (h, w, c), in its own dtype."""
    for block, start, shape, kind in zip(
        *(places[name].tolist() for name in PLACE.names), strict=True
    ):
        size = math.prod(shape) * SIZES[kind]
        pixels = blocks[block][start : start + size]
        yield (pixels.view(KINDS[kind]) if kind else pixels).reshape(shape)


def index_of(path):
    """Return the path of the index file of a file of pixels."""
    return path.with_name(path.name.replace(".pixels.", ".index."))


@contextlib.contextmanager
def writable(folder):
    """Add a remedy to errors raised when decoded images are written."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"Decoded images could not be written to {str(folder)!r} ({error.strerror}). Set cache "
            "to a folder with enough free space, about size * size * 3 bytes per image",
        ) from error
