"""Did learning without labels help? compare() on Fashion-MNIST, CIFAR-10 and Imagenette.

    python benchmarks/did_it_help.py DATA_DIR [--minutes 3] [--datasets NAME...] [--methods NAME...]

Every method of the package, with its defaults and `max_time`, and k-means patches, beside the
values as they are, their principal components and the encoders before training: `compare` with
three folds of the first 10,000 training images of fashion_mnist.npz and cifar10.npz in DATA_DIR, or
of the 3,000 of DATA_DIR/imagenette/train at 64 pixels, and 1, 10, 100 and all labels a class. In
the JSON file rows with "y": "at random" have labels that were permuted: what is above chance there
would be a mistake of `compare`. Each data set has its picture beside that file.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from budget import load
from common import RESULTS, write

from sklearn_ssl import EncoderTransformer, PatchKMeansTransformer, compare
from sklearn_ssl.discovery import all_methods

N_LABELS = 1, 10, 100, None


def estimators(options):
    """Return what is compared, by name."""
    settings = {"random_state": options.seed, "device": options.device}
    made = {
        name: method(max_time=60 * options.minutes, **settings)
        for name, method in all_methods().items()
        if not options.methods or name in options.methods
    }
    return made | {"k-means patches": PatchKMeansTransformer(**settings)}


def compared(X, y, options):
    """Return the comparison, and its rows and those by labels at random as JSON has them."""
    settings = {"cv": options.folds, "random_state": options.seed, "verbose": 1}
    embedders = estimators(options)
    comparison = compare(embedders, X, y, n_labels=N_LABELS, **settings)
    shuffled = np.random.default_rng(options.seed).permutation(y)
    quick = {"encoder": EncoderTransformer(random_state=options.seed, device=options.device)}
    chance = compare(quick, X, shuffled, **settings)
    rows = [row | {"y": "true"} for row in comparison.rows] + [
        row | {"y": "at random"} for row in chance.rows
    ]
    return comparison, [{**row, "scores": row["scores"].tolist()} for row in rows]


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["fashion_mnist", "cifar10", "imagenette"])
    parser.add_argument("--methods", nargs="+", help="names of classes; all by default")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="did_it_help", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"{options.name}.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    for dataset in options.datasets:
        X, y, *_ = load(options.data, dataset)
        comparison, results[dataset] = compared(X, y, options)
        write(options.name, {**vars(options), "data": ""}, results)
        print(f"\n{dataset}\n{comparison}\n", flush=True)
        picture = comparison.plot()
        picture.ax_.set_title(dataset)
        picture.figure_.savefig(path.with_name(f"{options.name}_{dataset}.png"), dpi=110)


if __name__ == "__main__":
    main()
