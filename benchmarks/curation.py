"""What imbalanced classes and near-duplicates in X do to an embedding, and what helps.

    python benchmarks/curation.py DATA_DIR [--methods SimCLRTransformer ...] [--epochs 15]

Fashion-MNIST, default parameters but for the number of epochs, probes on all test images.

imbalance   2,000 images: balanced, or the first class 100 times as frequent as the last,
            geometrically in between. Probes have 20 labels of each class, the same images each
            time, so that only the features differ; "rare" is the accuracy on the three rarest.
duplicates  500 images, each with three near-duplicates (moved by a pixel at most, and noise),
            beside the 500 images alone and 2,000 different ones: as they are, and with ``groups``,
            an image and its near-duplicates each. All have the same number of steps. The first line
            says how many of the pairs of near-duplicates a threshold on cosine similarities of the
            untrained encoder's embedding finds.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import few_of_each, load, write
from quality import linear_probe, neighbors
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import radius_neighbors_graph

from sklearn_ssl import EncoderTransformer
from sklearn_ssl.discovery import all_methods

METHODS = "SimCLRTransformer", "VICRegTransformer"
N_LABELS, RAREST, THRESHOLD = 20, 3, 0.99


def long_tail(y, n, ratio, rng):
    """Draw n samples, of which the first class is ratio times as frequent as the last."""
    share = ratio ** -np.linspace(0, 1, 10)
    counts = np.maximum(1, np.round(n * share / share.sum())).astype(int)
    drawn = [rng.choice(np.flatnonzero(y == c), k, False) for c, k in enumerate(counts)]
    return rng.permutation(np.concatenate(drawn))


def near_duplicates(X, rng, copies=3):
    """Return images, and copies of them, moved by a pixel at most and with noise."""
    made = [X]
    for _ in range(copies):
        moved = [np.roll(image, rng.integers(-1, 2, 2), (0, 1)) for image in X]
        noisy = np.stack(moved) + rng.normal(0, 4, X.shape)
        made.append(noisy.round().clip(0, 255).astype(np.uint8))
    return np.concatenate(made)


def groups_of(X, seed):
    """Return groups of images whose untrained embeddings are nearly the same, NaN without one."""
    features = EncoderTransformer(random_state=seed).fit_transform(X)
    near = radius_neighbors_graph(features, 1 - THRESHOLD, metric="cosine")
    _, groups = connected_components(near, directed=False)
    return np.where(np.bincount(groups)[groups] > 1, groups, np.nan)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--epochs", type=int, default=15, help="on 2,000 images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="curation", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)
    X, y, X_test, y_test = load(options.data, "fashion_mnist", 20_000)
    pool, labeled = np.arange(10_000), 10_000 + few_of_each(y[10_000:], N_LABELS, options.seed)
    duplicated = near_duplicates(X[:500], rng)
    groups = groups_of(duplicated, options.seed)
    true = np.tile(np.arange(500), 4)
    found = groups >= 0
    pairs = (groups[:, None] == groups[None]) & found[:, None] & found[None]
    right = true[:, None] == true[None]
    np.fill_diagonal(pairs, False)
    np.fill_diagonal(right, False)
    about = {
        "precision": float((pairs & right).sum() / max(1, pairs.sum())),
        "recall": float((pairs & right).sum() / right.sum()),
    }
    print("pairs of near-duplicates found", about, flush=True)
    cases = {
        "balanced": (X[long_tail(y[pool], 2000, 1, rng)], None, 1),
        "imbalanced, 100 : 1": (X[long_tail(y[pool], 2000, 100, rng)], None, 1),
        "500 images": (X[:500], None, 4),
        "500 images and duplicates": (duplicated, None, 1),
        "500 images and duplicates, groups": (duplicated, true, 1),
        "2,000 images": (X[:2000], None, 1),
    }
    results = {"near-duplicates found": about}
    for name in options.methods:
        for case, (samples, of, longer) in cases.items():
            settings = {"max_epochs": longer * options.epochs, "random_state": options.seed}
            model = all_methods()[name](**settings).fit(samples, groups=of)
            few, test = model.transform(X[labeled]), model.transform(X_test)
            rare = y_test >= 10 - RAREST
            of_labels = few, y[labeled]
            row = {
                "linear": float(linear_probe(*of_labels, test, y_test)),
                "neighbors": float(neighbors(*of_labels, test, y_test)),
                "linear, rare": float(linear_probe(*of_labels, test[rare], y_test[rare])),
            }
            results[f"{name}, {case}"] = row
            print(f"{name}, {case}:", {k: round(v, 3) for k, v in row.items()}, flush=True)
            write(options.name, vars(options) | {"data": None}, results)


if __name__ == "__main__":
    main()
