"""What changing colors otherwise than torchvision costs: accuracy of SimCLR with either.

    python benchmarks/colors.py DATA_DIR [--epochs 20] [--seeds 0 1] [--ways ours torchvision]

`ImageViews` makes one matrix of brightness, contrast, saturation, hue and gray, in this order, and
clips once. torchvision changes them one after the other in random order, clips after each, and
turns hues in HSV. Both train SimCLR on the first images of CIFAR-10, with the same crops and flips:

ours          `ImageViews()`
torchvision   `ImageViews` without colors, then torchvision's ColorJitter and RandomGrayscale of
              the same strength, image by image

The probes are those of quality.py, with all labels. Ways that a run leaves out stay in the file.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, write
from quality import linear_probe, neighbors
from sklearn.exceptions import ConvergenceWarning
from torchvision.transforms import v2

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.views import ImageViews, PerSampleViews

COLORS = [
    v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
    v2.RandomGrayscale(0.2),
]
uncolored = ImageViews(color_jitter=0.0, grayscale=0.0)
recolored = PerSampleViews(v2.Compose(COLORS), n_views=1)


def torchvision_colors(images):
    """Return two views of a batch: our crops and flips, torchvision's colors."""
    return [recolored(view)[0] for view in uncolored(images)]


WAYS = {"ours": "auto", "torchvision": torchvision_colors}


def main():
    """Run the benchmark."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--train", type=int, default=10_000, help="number of training images")
    parser.add_argument("--test", type=int, default=10_000, help="number of test images")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="colors", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    with np.load(options.data / "cifar10.npz") as data:
        X, y = data["X_train"][: options.train], data["y_train"][: options.train]
        X_test, y_test = data["X_test"][: options.test], data["y_test"][: options.test]
    for way in options.ways:
        found = {"linear": [], "neighbors": []}
        for seed in options.seeds:
            model = SimCLRTransformer(
                views=WAYS[way], max_epochs=options.epochs, random_state=seed
            ).fit(X)
            embedded = model.transform(X), y, model.transform(X_test), y_test
            found["linear"].append(linear_probe(*embedded))
            found["neighbors"].append(neighbors(*embedded))
            print(way, seed, found, flush=True)
        path = RESULTS / f"{options.name}.json"
        results = json.loads(path.read_text())["results"] if path.exists() else {}
        write(options.name, vars(options) | {"data": None}, results | {way: found})


if __name__ == "__main__":
    main()
