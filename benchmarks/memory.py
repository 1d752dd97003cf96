"""Peak memory of fit, and of transform on an array that stays on disk, in megabytes.

    python benchmarks/memory.py [--n-images 50000] [--megabytes 2000]

Each case is a fresh process, on random bytes as images of 32 pixels:

fit                  one epoch of SimCLRTransformer with default parameters on an array in memory
transform            of a fitted estimator that was loaded, on a memory map of a file of --megabytes
transform, quarter   the same on the first quarter of the file

Measured is the process's anonymous memory (RssAnon in /proc/self/status, so Linux alone), every
20 ms: pages of a memory map belong to the system's file cache, which takes them back as it needs.
From the largest value is subtracted what the process had just before the call: Python, imports, X
and, for transform, the estimator. What the call itself imports or keeps counts. For fit, the bytes
of the trained network, encoder and head, are subtracted once, for transform those of the array that
it returns, which grows with X by nature.

"fit, resident" is the same by the system's own count of all resident memory, VmHWM, which
misses no peak and includes pages of libraries. (ru_maxrss would begin at the size of the process
that started this one.)
"""

import argparse
import functools
import json
import tempfile
import threading
from pathlib import Path

import joblib
import numpy as np
from common import compared, in_subprocess, interleaved, load_images, show, write

from sklearn_ssl import SimCLRTransformer

SHAPE = (32, 32, 3)
SHARES = {"transform": 1.0, "transform, quarter": 0.25}


def memory(field):
    """Return a number of /proc/self/status in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}: this benchmark needs Linux.")


class Peak:
    """Context that samples anonymous memory; ``rise`` is the peak above that at its beginning."""

    def __enter__(self):
        self.before = self.peak = memory("RssAnon")
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self):
        """Look every 20 ms until the context ends."""
        while not self.ended.wait(0.02):
            self.peak = max(self.peak, memory("RssAnon"))

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join()
        self.peak = max(self.peak, memory("RssAnon"))
        self.rise = self.peak - self.before


def fit(options):
    """Peak of fit beyond X and network."""
    X, _ = load_images(None, options.n_images)
    resident = memory("VmHWM")
    with Peak() as peak:
        model = SimCLRTransformer(max_epochs=1, random_state=0).fit(X)
    resident = memory("VmHWM") - resident
    tensors = model.objective_.state_dict().values()
    network = sum(tensor.nbytes for tensor in tensors) / 1e6
    return {"peak": peak.rise - network, "resident": resident - network, "network": network}


def transform(options, share):
    """Peak of transform beyond the array that it returns."""
    model = joblib.load(options.folder / "model.joblib")
    X = np.load(options.folder / "X.npy", mmap_mode="r")
    X = X[: int(share * len(X))]
    with Peak() as peak:
        embedding = model.transform(X)
    return {"peak": peak.rise - embedding.nbytes / 1e6}


def make_files(folder, n_images):
    """Write a fitted estimator and an array of random images, part by part."""
    few, _ = load_images(None, 128)
    model = SimCLRTransformer(max_epochs=1, random_state=0).fit(few)
    joblib.dump(model, folder / "model.joblib")
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.uint8, (n_images, *SHAPE))
    rng = np.random.default_rng(0)
    for start in range(0, n_images, 10_000):
        part = X[start : start + 10_000]
        part[:] = rng.integers(0, 256, part.shape, np.uint8)
    X.flush()


def main():
    """Run the benchmark, or one case of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-images", type=int, default=50_000, help="for fit")
    parser.add_argument("--megabytes", type=int, default=2000, help="of the file for transform")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--name", default="memory", help="name of the JSON file")
    parser.add_argument("--case", help="measure only this case, in this process")
    parser.add_argument("--folder", type=Path, help="of the files for transform, with --case")
    options = parser.parse_args()
    if options.case:
        share = SHARES.get(options.case)
        print(json.dumps(fit(options) if share is None else transform(options, share)))
        return

    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), int(options.megabytes * 1e6 / np.prod(SHAPE)))
        cases = {
            name: functools.partial(in_subprocess, name, "--folder", folder)
            for name in ("fit", *SHARES)
        }
        runs = interleaved(cases, options.repetitions)
    measured = {name: [run["peak"] for run in given] for name, given in runs.items()}
    measured["fit, resident"] = [run["resident"] for run in runs["fit"]]
    results = compared(measured, [tuple(SHARES)]) | {"network": runs["fit"][0]["network"]}
    show(results)
    write(options.name, vars(options), results)


if __name__ == "__main__":
    main()
