"""What the metrics cost on large embeddings: seconds, and memory beyond the embedding.

    python benchmarks/metrics.py [--samples 50000] [--features 512] [--rows NAME...]

The embedding is of random numbers around ten centers, float32; clusters are classes with a tenth of
them wrong. Each metric runs in a process of its own, whose peak of memory is compared with that
before the call. Metrics of retrieval look among all samples. `mean_average_precision` sorts all
similarities of each sample.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from common import in_subprocess, show, write

from sklearn_ssl import metrics


def cases(X, y):
    """Return a function for each metric."""
    rng = np.random.default_rng(1)
    wrong = rng.random(len(y)) < 0.1
    clusters = np.where(wrong, rng.integers(0, 10, len(y)), (y + 3) % 10)
    near = X + rng.normal(scale=0.1, size=X.shape).astype(np.float32)
    return {
        "clustering_accuracy": lambda: metrics.clustering_accuracy(y, clusters),
        "recall_at_k": lambda: metrics.recall_at_k(X, y, k=[1, 10]),
        "knn_accuracy": lambda: metrics.knn_accuracy(X, y),
        "mean_average_precision": lambda: metrics.mean_average_precision(X, y),
        "rankme": lambda: metrics.rankme(X),
        "effective_rank": lambda: metrics.effective_rank(X),
        "alpha_req": lambda: metrics.alpha_req(X),
        "alignment": lambda: metrics.alignment(X, near),
        "uniformity": lambda: metrics.uniformity(X),
    }


def peak():
    """Return the process's peak of memory, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--rows", nargs="+", help="names of the metrics; all there are")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="metrics", help="name of the JSON file")
    parser.add_argument("--case", help="measure only this metric, in this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.case is None:
        names = options.rows or list(cases(np.zeros((10, 2), np.float32), np.arange(10)))
        results = {}
        for name in names:
            results[name] = in_subprocess(name)
            print(name, results[name], flush=True)
        write(options.name, vars(options), results)
        show(results)
        return
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, options.samples)
    centers = rng.normal(size=(10, options.features))
    X = rng.standard_normal((options.samples, options.features), np.float32)
    X += centers[y].astype(np.float32)
    metric = cases(X, y)[options.case]
    before, start = peak(), time.perf_counter()
    value = metric()
    found = {"seconds": time.perf_counter() - start, "MB": peak() - before}
    print(json.dumps(found | {"value": np.ravel(value).tolist()}))


if __name__ == "__main__":
    main()
