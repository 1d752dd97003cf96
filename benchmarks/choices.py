"""What defaults give in equal time: before and now, and what else was tried.

    python benchmarks/choices.py DATA_DIR [--rows NAME...] [--seconds 300] [--seeds 0]

Each row is an estimator, fitted with `max_time` on the first 10,000 training images of cifar10.npz
in DATA_DIR, without labels; then budget.py's probes are trained on the embeddings of these images,
with 10 and all labels per class, and tested on the last 10,000 **training** images: test sets are
not looked at. Rows "before" have the network, the views and the reading of the embedding that were
defaults once: `small_convnet`, views of the image's size and no mirror images; rows "whole views"
`small_multiscale`, such views, and mirror images.

Torch has one thread, and time is that of the processor, so that two runs can go side by side on two
cores, and other work on the machine counts little. Existing rows of the JSON file are reused.
"""

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from budget import accuracies
from common import RESULTS, write
from sklearn.exceptions import ConvergenceWarning

from sklearn_ssl import (
    DeepClusterEstimator,
    DINOTransformer,
    EMPSSLTransformer,
    RotationTransformer,
    SimCLRTransformer,
)

N_TRAIN = 10_000
METHODS = {
    "SimCLR": SimCLRTransformer,
    "DINO": DINOTransformer,
    "rotation": RotationTransformer,
    "DeepCluster": DeepClusterEstimator,
}
# With a network that is named, views are of the whole image.
WHOLE = {"flip_tta": True, "backbone": "small_multiscale"}
BEFORE = {"backbone": "small_convnet", "flip_tta": False}


def rows():
    """Return the estimator of each row, by its name."""
    made = {}
    for name, method in METHODS.items():
        made[name] = method(flip_tta=True)
        made[f"{name}, before"] = method(**BEFORE)
        made[f"{name}, whole views"] = method(**WHOLE)
    three_quarters = replace(RotationTransformer.default_views["image"], size=0.75)
    return made | {
        "DINO, two views alone": DINOTransformer(n_local_crops=0, flip_tta=True),
        "rotation, views of three quarters": RotationTransformer(
            views=three_quarters, flip_tta=True
        ),
        "EMP-SSL": EMPSSLTransformer(flip_tta=True),
    }


def main():
    """Run the benchmark."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", nargs="+", default=list(rows()), help="their whole names")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--again", action="store_true", help="recompute existing rows")
    parser.add_argument("--name", default="choices", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(options.data / "cifar10.npz") as data:
        X, y = data["X_train"], data["y_train"].astype(np.int64)
    part, evaluated = slice(N_TRAIN), slice(-N_TRAIN, None)
    path = RESULTS / f"{options.name}.json"
    for seed in options.seeds:
        for row in options.rows:
            name = f"{row}, seed {seed}"
            found = json.loads(path.read_text())["results"] if path.exists() else {}
            if name in found and not options.again:
                continue
            wall, time.perf_counter = time.perf_counter, time.process_time
            model = rows()[row].set_params(
                max_time=options.seconds, random_state=seed, device="cpu"
            )
            model.fit(X[part])
            time.perf_counter = wall
            embedded = model.transform(X[part]), model.transform(X[evaluated])
            accuracy = accuracies(embedded[0], y[part], embedded[1], y[evaluated])
            # Another run may have written since.
            found = json.loads(path.read_text())["results"] if path.exists() else {}
            found[name] = {"epochs": model.n_iter_, "accuracy": accuracy}
            write(options.name, {"seconds": options.seconds}, found)
            print(name, found[name], flush=True)


if __name__ == "__main__":
    main()
