"""Memory stays with the process while a network computes, and no longer."""

import multiprocessing
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from sklearn_ssl._runtime import malloc as heap
from sklearn_ssl._runtime.isolation import isolated

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc"
    or (HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text()),
    reason="only glibc is told anything, and huge pages cause no faults to count",
)

FAULTS = """
import resource
import torch
torch.set_num_threads(1)
from sklearn_ssl._runtime.malloc import untrimmed_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(2**24) + 1  # twice 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def kept():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) // 1024

counts = [faults()]
before = kept()
with untrimmed_heap():
    with untrimmed_heap():
        faults()
    counts.append(faults())  # the inner one has not ended it
    within = kept() - before
left = kept() - before
print(*counts, faults(), within, left)
"""


def run(**settings):
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        capture_output=True,
        text=True,
        check=True,
        env=own | settings,
    )
    return map(int, done.stdout.split())


@pytest.mark.slow
@glibc
def test_pages_are_retained_inside_and_released_after():
    usual, inside, after, within, left = run()
    assert inside < usual / 4
    assert after > usual / 4
    assert within > 100  # MB
    assert left < 20


@pytest.mark.slow
@glibc
def test_settings_of_the_environment_are_left_alone():
    usual, inside, *_ = run(MALLOC_TRIM_THRESHOLD_="1000000")
    assert inside > usual / 2


def test_forked_processes_start_over():
    """While another thread holds the locks, of which no thread is left in the new process."""
    with heap.untrimmed_heap(), isolated(torch.device("cpu")), ThreadPoolExecutor(1) as threads:
        assert threads.submit(forked).result() == 1


def forked():
    """Return what ``inside`` does in a forked process."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(inside).get(timeout=30)


def inside():
    """Return how many contexts are open inside of one."""
    with heap.untrimmed_heap(), isolated(torch.device("cpu")):
        return heap._users


def test_nothing_is_done_if_disabled(monkeypatch):
    monkeypatch.setattr(heap, "_set", lambda *args: pytest.fail("told glibc"))
    with heap.untrimmed_heap(False):
        pass


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(heap, "_set", lambda *args: pytest.fail("told another C library"))
    with heap.untrimmed_heap():
        pass
