"""Storage of decoded images: in memory, in a temporary file, in a folder."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from data.helpers import simclr, source_of
from sklearn_ssl import Images, image_paths

N = 48


def own(cache):
    """The folder within a cache where images lie."""
    return cache / "sklearn_ssl_images"


def test_files_are_decoded_once_with_a_cache(paths, tmp_path, decoded, expected):
    cache = tmp_path / "new" / "cache"
    model = simclr(input=Images(cache=cache)).fit(paths)
    assert len(decoded) == N
    np.testing.assert_array_equal(model.transform(paths), expected)
    half = simclr(input=Images(cache=str(cache))).fit(paths[::2])
    np.testing.assert_array_equal(
        half.transform(paths[::2][::-1])[::-1], half.transform(paths[::2])
    )
    assert len(decoded) == N
    simclr(input=Images(cache=cache, size=16)).fit(paths)  # of another size
    assert len(decoded) == 2 * N
    simclr().fit(paths)
    assert len(decoded) == 3 * N


def test_files_that_change_are_decoded_again(array, tmp_path, decoded):
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file, image in zip(files, array, strict=False):
        Image.fromarray(image).save(file)
    source = source_of(files, input=Images(cache=tmp_path / "cache"))
    Image.fromarray(array[10]).save(files[2])
    os.utime(files[2], ns=(0, 123))
    changed = source_of(files, input=Images(cache=tmp_path / "cache"))
    assert decoded[4:] == [files[2]]
    batch = changed.batch(slice(0, 4)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(batch, array[[0, 1, 10, 3]])
    unchanged = source.batch(slice(0, 4)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(unchanged, array[:4])


def test_bad_files_are_not_cached(some_bad, tmp_path, decoded):
    for _ in range(2):
        with pytest.raises(ValueError, match="3 of the 48"):
            source_of(some_bad, input=Images(cache=tmp_path))
    assert len(decoded) == 48 + 3


@pytest.mark.parametrize("kept", ["memory", "file", "folder"])
def test_small_blocks_hold_the_same(kept, paths, array, tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.data.decoded_images.BLOCK_BYTES", 7000)  # two images
    monkeypatch.setattr(
        "sklearn_ssl.data.decoded_images.MEMORY_BYTES", 7000 if kept == "file" else 10**9
    )
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for _ in range(2):
        source = source_of(
            paths, input=Images(cache=tmp_path / "cache" if kept == "folder" else None)
        )
        blocks = source.array.blocks
        assert len(blocks) == N // 2
        mapped = [
            not isinstance(block, np.ndarray)
            or (block.base is not None and isinstance(block, np.memmap))
            for block in blocks
        ]
        assert sum(mapped) == {"memory": 0, "file": N // 2 - 1, "folder": N // 2}[kept]
        order = np.random.default_rng(0).permutation(N)
        batch = source.batch(order).permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(batch, array[order])
        assert not list((tmp_path / "temporary").iterdir())  # it has no name


def test_an_image_larger_than_a_block(array, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.data.decoded_images.BLOCK_BYTES", 1000)
    source = source_of([*array[:3], array[3, :31]], input=Images(size=32))
    np.testing.assert_array_equal(source.batch(slice(0, 3)).permute(0, 2, 3, 1), array[:3])


READING = """
import sys, os, time
import sklearn_ssl.data.decoded_images, sklearn_ssl.data.image_lists
from sklearn_ssl import Images, SimCLRTransformer, image_paths

sklearn_ssl.data.decoded_images.BLOCK_BYTES = 13_000
sklearn_ssl.data.image_lists.TASK = sklearn_ssl.data.image_lists.TASKS = 1
real = sklearn_ssl.data.image_lists.read_image
def slow(*args):
    print("decoded", flush=True)
    time.sleep(0.01)
    return real(*args)
sklearn_ssl.data.image_lists.read_image = slow
paths, _ = image_paths(sys.argv[1])
print("begin", flush=True)
input()  # until the others are there
simclr = SimCLRTransformer(input=Images(cache=sys.argv[2]))
simclr._find(paths, reset=True).read()
"""


@pytest.mark.slow
def test_processes_share_a_cache(folder, tmp_path, array, decoded):
    """Two that begin at once decode each image once; what they write is read by a third."""
    command = [sys.executable, "-c", READING, folder, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [run.stdout.readline() for run in runs] == ["begin\n"] * 2
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sum(output.count("decoded") for output in outputs) == N
    source = source_of(image_paths(folder)[0], input=Images(cache=tmp_path))
    assert not decoded
    np.testing.assert_array_equal(source.batch(slice(0, N)).permute(0, 2, 3, 1), array)


@pytest.mark.slow
def test_a_killed_run_leaves_a_sound_cache(folder, tmp_path, array, decoded):
    command = [sys.executable, "-c", READING, folder, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as run:
        run.stdin.write("\n")
        run.stdin.flush()
        for line in run.stdout:
            if line.startswith("decoded") and len(list(own(tmp_path).glob("*.index.npy"))) > 2:
                run.send_signal(signal.SIGKILL)
                break
    # What a run leaves that is killed at the worst moments:
    (own(tmp_path) / "0.pixels.part").write_bytes(b"half")
    (own(tmp_path) / "1.pixels.npy").write_bytes(b"pixels without a list")
    (tmp_path / "download.part").write_bytes(b"of somebody else")
    source = source_of(image_paths(folder)[0], input=Images(cache=tmp_path))
    assert 0 < len(decoded) < N
    np.testing.assert_array_equal(source.batch(slice(0, N)).permute(0, 2, 3, 1), array)
    names = {path.name.split(".", 1)[1] for path in own(tmp_path).iterdir() if path.name != "lock"}
    assert names == {"pixels.npy", "index.npy"}
    assert not (own(tmp_path) / "1.pixels.npy").exists()
    assert (tmp_path / "download.part").exists()


def test_damaged_cache_is_not_used(paths, tmp_path, decoded, array):
    for path in paths[:3]:
        source_of([path, paths[4]], input=Images(cache=tmp_path))
    pixels = sorted(own(tmp_path).glob("*.pixels.npy"))
    assert len(pixels) == 3
    pixels[0].write_bytes(b"broken")
    index = Path(str(pixels[1]).replace("pixels", "index"))
    np.save(index, np.zeros(3))
    shorter = np.load(pixels[2])[:-5]
    np.save(pixels[2], shorter)
    decoded.clear()
    source = source_of(paths[:5], input=Images(cache=tmp_path))
    np.testing.assert_array_equal(source.batch(slice(0, 5)).permute(0, 2, 3, 1), array[:5])


def test_a_full_disk_is_explained(paths, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sklearn_ssl.data.decoded_images.os.fsync", full)
    with pytest.raises(OSError, match=r"could not be written to .*No space left.* Set cache to"):
        source_of(paths, input=Images(cache=tmp_path))
    monkeypatch.undo()
    assert not list(own(tmp_path).glob("*.npy"))
    assert len(source_of(paths, input=Images(cache=tmp_path))) == N
    assert not list(own(tmp_path).glob("*.part"))


def test_who_writes_nothing_waits_for_nobody(paths, tmp_path):
    source_of(paths, input=Images(cache=tmp_path))
    with FileLock(own(tmp_path) / "lock"):
        assert len(source_of(paths[::2], input=Images(cache=tmp_path))) == N // 2


def test_waiting_is_reported(paths, tmp_path, capsys):
    source_of(paths[:1] * 2, input=Images(cache=tmp_path))
    held = threading.Event()

    def hold():
        with FileLock(own(tmp_path) / "lock"):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert len(source_of(paths, input=Images(cache=tmp_path), verbose=1)) == N
    thread.join()
    assert "Another process is writing to" in capsys.readouterr().out


def test_blocks_hold_few_files_open(paths, tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_ssl.data.decoded_images.BLOCK_BYTES", 1)
    for cache, memory in (tmp_path, None), (None, 0):
        monkeypatch.setattr("sklearn_ssl.data.decoded_images.MEMORY_BYTES", memory)
        files = len(os.listdir("/proc/self/fd"))
        source = source_of(paths, input=Images(cache=cache))
        assert len(source.array.blocks) == N
        assert len(os.listdir("/proc/self/fd")) < files + 5
        source.batch(slice(0, N))


def test_a_cache_that_is_no_folder(paths, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="could not be written to"):
        source_of(paths, input=Images(cache=tmp_path / "file"))
