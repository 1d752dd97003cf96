"""What imbalanced classes and near-duplicates in X do to an embedding, and what helps.

    python benchmarks/curation.py DATA_DIR [--methods SimCLRTransformer ...] [--epochs 15]

Fashion-MNIST, default parameters but for the number of epochs, probes on all test images.

imbalance   2,000 images: balanced, or the first class 100 times as frequent as the last,
            geometrically in between. Probes have 20 labels of each class, the same images each
            time, so that only the features differ; "rare" is the accuracy on the three rarest.
duplicates  500 images, each with three near-duplicates (moved by a pixel at most, and noise),
            beside the 500 images alone and 2,000 different ones: as they are, and with ``groups``,
            an image and its near-duplicates each. All have the same number of steps. Before that:
            how many of the pairs of near-duplicates thresholds on cosine similarities find, in the
            embedding of the untrained encoder and of SimCLR.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import few_of_each, load, write
from quality import linear_probe, neighbors
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import radius_neighbors_graph

from sklearn_ssl import EncoderTransformer, SimCLRTransformer
from sklearn_ssl.discovery import all_methods

METHODS = "SimCLRTransformer", "VICRegTransformer"
N_LABELS, RAREST, THRESHOLDS = 20, 3, (0.95, 0.98, 0.99)


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


def near_pairs(features, threshold):
    """Return which pairs of samples are joined by cosine similarities above a threshold."""
    near = radius_neighbors_graph(features, 1 - threshold, metric="cosine")
    groups = connected_components(near, directed=False)[1]
    return groups[:, None] == groups


def share_found(found, right):
    """Return precision and recall of the pairs found, without those of a sample with itself."""
    found, right = (pairs & ~np.eye(len(pairs), dtype=bool) for pairs in (found, right))
    both = (found & right).sum()
    return {"precision": float(both / max(1, found.sum())), "recall": float(both / right.sum())}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--methods", nargs="*", default=METHODS)
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
    copied = np.tile(np.arange(500), 4)
    encoders = {
        "untrained": EncoderTransformer(random_state=options.seed),
        "SimCLR": SimCLRTransformer(max_epochs=options.epochs, random_state=options.seed),
    }
    about = {}
    for name, encoder in encoders.items():
        features = encoder.fit_transform(duplicated)
        for threshold in THRESHOLDS:
            pairs = near_pairs(features, threshold)
            found = share_found(pairs, copied[:, None] == copied)
            about[f"{name}, {threshold}"] = found
            print("near-duplicates found,", name, threshold, found, flush=True)
    cases = {
        "balanced": (X[long_tail(y[pool], 2000, 1, rng)], None, 1),
        "imbalanced, 100 : 1": (X[long_tail(y[pool], 2000, 100, rng)], None, 1),
        "500 images": (X[:500], None, 4),
        "500 images and duplicates": (duplicated, None, 1),
        "500 images and duplicates, groups": (duplicated, copied, 1),
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
