"""What the embedding is good for: probes on real images, compared with raw pixels and PCA.

    python benchmarks/quality.py DATA_DIR [--datasets cifar10 imagenette] [--methods SimCLR...]
        [--minutes 3] [--threads 2] [--add]

DATA_DIR holds fashion_mnist.npz and cifar10.npz with X_train, y_train, X_test and y_test, and
imagenette/train and val, folders of photographs, here of 64 pixels. Each method trains with default
parameters, without labels, on the first 10,000 training images or all of Imagenette; with --minutes
with `max_time`. --add leaves the rows in the JSON file that this run does not compute.

Then, with 1, 10, 100 and all labels per class, a linear probe and 20 nearest neighbors are trained
on the embeddings and evaluated on the full test set.

linear       LogisticRegression on features that are centered and divided by one number, their
             mean deviation. C is 1 for fewer than 100 labels per class, else the best of 0.001,
             0.01 and 0.1 on a fifth of the labels that is held out and given back afterwards.
neighbors   the 20 nearest by cosine, or as many as there are, weighted by exp(similarity / 0.07)

Numbers for few labels are means over draws of the labels, the same for all. "untrained" is the
encoder that most methods begin with, of random weights; the others, those for whole images, have a
row of their own: an epoch at a learning rate of 1e-12, which sets statistics of batch norms alone.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, UNTRAINED, few_of_each, load, write
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sklearn_ssl import EncoderTransformer
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.methods._patches import TakesPatches
from sklearn_ssl.metrics import knn_accuracy

DRAWS = {1: 10, 10: 5, 100: 3, "all": 1}


def linear_probe(features, y, test, y_test, *, C=1.0, grid=(0.001, 0.01, 0.1)):
    """Accuracy of a logistic regression, with C from the grid where there are many labels."""
    center, scale = features.mean(0), features.std(0).mean()
    features, test = (features - center) / scale, (test - center) / scale
    if np.bincount(y).min() >= 100:
        part, held, y_part, y_held = train_test_split(
            features, y, test_size=0.2, stratify=y, random_state=0
        )
        C = max(
            grid,
            key=lambda C: (
                LogisticRegression(C=C, max_iter=200).fit(part, y_part).score(held, y_held)
            ),
        )
    return LogisticRegression(C=C, max_iter=200).fit(features, y).score(test, y_test)


def neighbors(features, y, test, y_test):
    """Accuracy of 20 nearest neighbors by cosine similarity."""
    return knn_accuracy(test, y_test, features, y)


def evaluate(features, y, test, y_test):
    """Accuracies by number of labels and probe: a dict of [mean, standard deviation]."""
    accuracies = {}
    for n_labels, n_draws in DRAWS.items():
        runs = {"linear": [], "neighbors": []}
        for draw in range(n_draws):
            chosen = np.arange(len(y))
            if n_labels != "all":
                chosen = few_of_each(y, n_labels, draw)
            for name, probe in (("linear", linear_probe), ("neighbors", neighbors)):
                runs[name].append(probe(features[chosen], y[chosen], test, y_test))
        for name, values in runs.items():
            accuracies[f"{name}, {n_labels}"] = [np.mean(values), np.std(values)]
    return accuracies


def rows(X, X_test, options):
    """Give name, embeddings of training and test images, minutes and epochs, row by row."""
    flat, flat_test = (a.reshape(len(a), -1).astype(np.float32) / 255 for a in (X, X_test))
    settings = {"random_state": options.seed, "device": options.device}
    if not options.add:
        yield "raw pixels", flat, flat_test, {}
        pca = PCA(256, random_state=0)
        yield "PCA, 256", pca.fit_transform(flat), pca.transform(flat_test), {}
        untrained = EncoderTransformer(flip_tta=options.flip_tta, **settings).fit(X)
        yield "untrained", untrained.transform(X), untrained.transform(X_test), {}
    timed = {} if options.minutes is None else {"max_time": 60 * options.minutes}
    methods = {name: all_methods()[name] for name in options.methods}
    for name, method in methods.items():
        if method.needs_color and X.ndim == 3:
            continue
        trainings = {name: timed}
        if method.whole_views or issubclass(method, TakesPatches):
            trainings = {f"{name}, untrained": UNTRAINED} | trainings
        for row, training in trainings.items():
            start = time.perf_counter()
            model = method(**training, flip_tta=options.flip_tta, **settings).fit(X)
            minutes = (time.perf_counter() - start) / 60
            about = {"fit minutes": minutes, "epochs": model.n_iter_}
            yield row, model.transform(X), model.transform(X_test), about


def main():
    """Run the benchmark."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["fashion_mnist", "cifar10"])
    parser.add_argument("--methods", nargs="+", default=list(all_methods("image")))
    parser.add_argument("--minutes", type=float, help="of training, instead of default epochs")
    parser.add_argument("--add", action="store_true", help="keep the file's other rows")
    parser.add_argument("--train", type=int, default=10_000, help="number of training images")
    parser.add_argument("--flip-tta", action="store_true", help="embed images and their flips")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="quality", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    results, settings = {}, vars(options) | {"data": None, "draws": DRAWS}
    if options.add:
        before = json.loads((RESULTS / f"{options.name}.json").read_text())
        results, settings = before["results"], before["settings"] | {"added": settings}
    for dataset in options.datasets:
        X, y, X_test, y_test = load(options.data, dataset, options.train)
        for name, train, test, about in rows(X, X_test, options):
            accuracies = evaluate(train, y, test, y_test)
            results.setdefault(dataset, {})[name] = about | {"accuracy": accuracies}
            print(f"{dataset}: {name}", about, flush=True)
            print(
                "   ",
                "  ".join(f"{k}: {m:.3f} ± {s:.3f}" for k, (m, s) in accuracies.items()),
                flush=True,
            )
            write(options.name, settings, results)
    for dataset, found in results.items():
        print(f"\n{dataset}\n\n{table(found)}\n")


def table(rows):
    """Return a dataset's accuracies as a Markdown table, best linear model first."""
    columns = list(next(iter(rows.values()))["accuracy"])
    head = ["", *columns, "fit", "epochs"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in sorted(rows.items(), key=lambda r: -r[1]["accuracy"]["linear, all"][0]):
        cells = [f"{mean:.3f}" for mean, _ in row["accuracy"].values()]
        minutes = row.get("fit minutes")
        cells += [f"{minutes:.1f} min" if minutes else "", str(row.get("epochs", ""))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
