"""Seconds of a cross-validation of SimCLR with one job, with two processes and with two threads.

    python benchmarks/parallel.py [DATA_DIR] [--n-images 4000]

DATA_DIR holds cifar10.npz; without it images and labels are random. `cross_val_score` of SimCLR for
two epochs and a logistic regression, in two folds:

one job        n_jobs=1
two jobs       n_jobs=2: joblib's default, two processes (loky); starting them counts
two threads    n_jobs=2 in joblib.parallel_config(backend="threading")

Each measurement is a fresh process. "torch threads" is what `torch.get_num_threads()` gives in each
of the two tasks, asked after the measurement.
"""

import argparse
import functools
import json
import time
from pathlib import Path

import joblib
import torch
from common import compared, in_subprocess, interleaved, load_images, show, write
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_ssl import SimCLRTransformer

CASES = {
    "one job": (1, {}),
    "two jobs": (2, {"backend": "loky"}),
    "two threads": (2, {"backend": "threading"}),
}


def torch_threads():
    """Return the number of threads that torch would use here."""
    return torch.get_num_threads()


def measure(case, options):
    """Return the seconds of a cross-validation, and the torch threads of its tasks."""
    n_jobs, backend = CASES[case]
    X, y = load_images(options.data, options.n_images)
    simclr = SimCLRTransformer(max_epochs=options.epochs, random_state=0)
    model = make_pipeline(simclr, LogisticRegression())
    with joblib.parallel_config(**backend):
        start = time.perf_counter()
        scores = cross_val_score(model, X, y, cv=2, n_jobs=n_jobs)
        seconds = time.perf_counter() - start
        tasks = joblib.Parallel(n_jobs)(joblib.delayed(torch_threads)() for _ in range(2))
    return {"seconds": seconds, "torch threads": tasks, "scores": scores.tolist()}


def main():
    """Run the benchmark, or one case of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--n-images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--name", default="parallel", help="name of the JSON file")
    parser.add_argument("--case", choices=CASES, help="measure only this case, in this process")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options)))
        return

    cases = {name: functools.partial(in_subprocess, name) for name in CASES}
    runs = interleaved(cases, options.repetitions)
    seconds = {name: [run["seconds"] for run in given] for name, given in runs.items()}
    results = compared(seconds, [("two jobs", "one job"), ("two threads", "one job")])
    show(results)
    for key in ("torch threads", "scores"):
        results[key] = {name: given[0][key] for name, given in runs.items()}
        print(key, results[key])
    images = "CIFAR-10" if options.data else "random bytes"
    write(options.name, vars(options) | {"data": images}, results)


if __name__ == "__main__":
    main()
