"""Images per second of one process with two threads, and of two processes that train together.

    python benchmarks/processes.py [DATA_DIR] [--n-images 4000]

DATA_DIR holds cifar10.npz; without it images are random. Epochs of SimCLR with its defaults, of
which the first is left out:

one process      python, two threads
two processes    torchrun --nproc-per-node=2, one thread each
two apart        two fits of their own at the same time, one thread each, of half the images in
                 half the batches; twice the images of the slower one, which is what processes reach
                 that exchange nothing and wait for each other

Each measurement is a fresh start. "loss" is that of the last epoch.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from common import compared, interleaved, load_images, show, write

from sklearn_ssl import SimCLRTransformer

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# Threads and command; the last one is started twice.
CASES = {"one process": (2, []), "two processes": (1, TORCHRUN), "two apart": (1, [])}


def measure(options):
    """Return the images per second of a fit, and its loss."""
    parts = 2 if options.case == "two apart" else 1
    X, _ = load_images(options.data, options.n_images // parts)
    settings = {"max_epochs": options.epochs, "batch_size": 256 // parts, "random_state": 0}
    simclr = SimCLRTransformer(**settings).fit(X)
    seconds = [row["dur"] for row in simclr.history_[1:]]
    images = len(seconds) * options.n_images / sum(seconds)
    return {"images per second": images, "loss": simclr.loss_curve_[-1]}


def started(case):
    """Run this script in the processes of a case; return the JSON that it prints."""
    threads, command = CASES[case]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, *command, *sys.argv, "--case", case]
    how = {"env": environment, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **how) for _ in range(2 if case == "two apart" else 1)]
    outputs = [process.communicate()[0] for process in processes]
    for process in processes:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    found = [json.loads(output.splitlines()[-1]) for output in outputs]
    return min(found, key=lambda measured: measured["images per second"])


def main():
    """Run the benchmark, or one case of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--n-images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--name", default="processes", help="name of the JSON file")
    parser.add_argument("--case", choices=CASES, help="measure only this case")
    options = parser.parse_args()
    if options.case:
        torch.set_num_threads(CASES[options.case][0])
        measured = measure(options)
        if int(os.environ.get("RANK", 0)) == 0:
            print(json.dumps(measured))
        return

    runs = interleaved({c: functools.partial(started, c) for c in CASES}, options.repetitions)
    speed = {c: [run["images per second"] for run in given] for c, given in runs.items()}
    pairs = [("two processes", "one process"), ("two apart", "one process")]
    results = compared(speed, [*pairs, ("two processes", "two apart")])
    show(results)
    results["loss"] = {case: given[0]["loss"] for case, given in runs.items()}
    print("loss", results["loss"])
    images = "CIFAR-10" if options.data else "random bytes"
    write(options.name, vars(options) | {"data": images}, results)


if __name__ == "__main__":
    main()
