"""What the embedding is good for: probes on real images, beside raw pixels, PCA and no training.

    python benchmarks/quality.py DATA_DIR [--datasets fashion_mnist cifar10] [--methods SimCLR...]

DATA_DIR holds fashion_mnist.npz and cifar10.npz with X_train, y_train, X_test and y_test. Each
method trains with default parameters, without labels, on the first 10,000 training images.
Then, with 1, 10, 100 and all labels a class, a linear probe and 20 nearest neighbours are
trained on the embeddings and judged on the full test set.

linear       LogisticRegression on features that are centred and divided by one number, their
             mean deviation. C is 1 for fewer than 100 labels a class, else the best of 0.001,
             0.01, 0.1 and 1 on a fifth of the labels that is held out and given back afterwards.
neighbours   the 20 nearest by cosine, or as many as there are, weighted by exp(similarity / 0.07)

Numbers for few labels are means over draws of the labels, the same for all. "untrained" is the
encoder of the first method with its random weights: trained for an epoch at a learning rate of
1e-12, which only sets the statistics of its batch norms.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import write
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ssl.base import SSLTransformer
from sklearn_ssl.discovery import all_methods

DRAWS = {1: 10, 10: 5, 100: 3, "all": 1}
TEMPERATURE = 0.07


def linear_probe(features, y, test, y_test):
    """Accuracy of a logistic regression."""
    center, scale = features.mean(0), features.std(0).mean()
    features, test = (features - center) / scale, (test - center) / scale
    C = 1.0
    if np.bincount(y).min() >= 100:
        part, held, y_part, y_held = train_test_split(
            features, y, test_size=0.2, stratify=y, random_state=0
        )
        grid = (0.001, 0.01, 0.1, 1.0)
        C = max(
            grid,
            key=lambda C: (
                LogisticRegression(C=C, max_iter=200).fit(part, y_part).score(held, y_held)
            ),
        )
    return LogisticRegression(C=C, max_iter=200).fit(features, y).score(test, y_test)


def neighbours(features, y, test, y_test):
    """Accuracy of 20 nearest neighbours by cosine similarity."""
    model = KNeighborsClassifier(
        min(20, len(y)),
        metric="cosine",
        weights=lambda distance: np.exp(-distance / TEMPERATURE),
    )
    return model.fit(features, y).score(test, y_test)


def evaluate(features, y, test, y_test):
    """Accuracies by number of labels and probe: a dict of [mean, standard deviation]."""
    accuracies = {}
    for n_labels, n_draws in DRAWS.items():
        runs = {"linear": [], "neighbours": []}
        for draw in range(n_draws):
            chosen = np.arange(len(y))
            if n_labels != "all":
                rng = np.random.default_rng(draw)
                chosen = np.concatenate(
                    [rng.choice(np.flatnonzero(y == c), n_labels, False) for c in np.unique(y)]
                )
            for name, probe in (("linear", linear_probe), ("neighbours", neighbours)):
                runs[name].append(probe(features[chosen], y[chosen], test, y_test))
        for name, values in runs.items():
            accuracies[f"{name}, {n_labels}"] = [np.mean(values), np.std(values)]
    return accuracies


def main():
    """Run the benchmark."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["fashion_mnist", "cifar10"])
    parser.add_argument("--methods", nargs="+", default=list(all_methods()))
    parser.add_argument("--train", type=int, default=10_000, help="number of training images")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="quality", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    results = {}
    for dataset in options.datasets:
        with np.load(options.data / f"{dataset}.npz") as data:
            X, y = data["X_train"][: options.train], data["y_train"][: options.train]
            X_test, y_test = data["X_test"], data["y_test"]
        flat, flat_test = (a.reshape(len(a), -1).astype(np.float32) / 255 for a in (X, X_test))
        methods = [all_methods()[name] for name in options.methods]
        settings = {"random_state": options.seed, "device": options.device}
        rows = {
            "raw pixels": None,
            "PCA, 256": PCA(256, random_state=0),
            "untrained": methods[0](max_epochs=1, lr=1e-12, **settings),
        } | {method.__name__: method(**settings) for method in methods}
        results[dataset] = {}
        for name, model in rows.items():
            images = isinstance(model, SSLTransformer)
            train, test = (X, X_test) if images else (flat, flat_test)
            start, minutes = time.perf_counter(), 0.0
            if model is not None:
                model.fit(train)
                minutes = (time.perf_counter() - start) / 60
                train, test = model.transform(train), model.transform(test)
            accuracies = evaluate(train, y, test, y_test)
            results[dataset][name] = {"fit minutes": minutes, "accuracy": accuracies}
            if images:
                results[dataset][name]["epochs"] = model.n_iter_
            print(f"{dataset}: {name}, fitted in {minutes:.1f} minutes", flush=True)
            print(
                "   ",
                "  ".join(f"{k}: {m:.3f} ± {s:.3f}" for k, (m, s) in accuracies.items()),
                flush=True,
            )
    for dataset, rows in results.items():
        print(f"\n{dataset}\n\n{table(rows)}\n")
    write(options.name, vars(options) | {"data": None, "draws": DRAWS}, results)


def table(rows):
    """Return a dataset's accuracies as a Markdown table."""
    columns = list(next(iter(rows.values()))["accuracy"])
    lines = ["| | " + " | ".join(columns) + " | fit |", "|---" * (len(columns) + 2) + "|"]
    for name, row in rows.items():
        cells = [f"{mean:.3f}" for mean, _ in row["accuracy"].values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['fit minutes']:.1f} min |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
