"""Do fits end within `max_time`? Alone, and while another process takes a core.

    python benchmarks/max_time.py [DATA_DIR] [--seconds 30] [--methods NAME...]

DATA_DIR holds cifar10.npz, whose first 10,000 training images are X; without it they are random
bytes. Each method is fitted with `max_time` and its defaults, once on the machine as it is and once
while another process computes without end, after a fit of one second that loads what is
loaded once. What is given is the time that `fit` took, divided by `max_time`; the epochs that it
came to; those that were planned before the first step; and the learning rate of the last step, as a
share of the highest.
"""

import argparse
import multiprocessing
import time
import warnings
from pathlib import Path

import torch
from common import load_images, show, write
from sklearn.exceptions import ConvergenceWarning

from sklearn_ssl.discovery import all_methods


def busy():
    """Take a core for ever."""
    while True:
        pass


def timed_fit(method, X, seconds):
    """Fit in a given time, and return seconds and epochs."""
    model = method(max_time=seconds, random_state=0)
    start = time.perf_counter()
    model.fit(X)
    taken = time.perf_counter() - start
    return {
        "seconds / max_time": taken / seconds,
        "epochs": model.n_iter_,
        "planned": model.max_epochs_,
        "last lr / lr": model.history_[-1]["lr"] / model.lr_,
    }


def main():
    """Run the benchmark."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--methods", nargs="+", default=list(all_methods("image")))
    parser.add_argument("--n-images", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="max_time", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    X, _ = load_images(options.data, options.n_images)
    results = {}
    for repetition in range(options.repetitions):
        for name in options.methods:
            method = all_methods()[name]
            timed_fit(method, X[:200], 1.0)
            results[f"{name} {repetition}, alone"] = timed_fit(method, X, options.seconds)
            other = multiprocessing.Process(target=busy, daemon=True)
            other.start()
            results[f"{name} {repetition}, busy"] = timed_fit(method, X, options.seconds)
            other.kill()
            other.join()
    show(results)
    write(options.name, vars(options) | {"data": options.data is not None}, results)


if __name__ == "__main__":
    main()
