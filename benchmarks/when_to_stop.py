"""When to stop: the loss and RankMe, which need no labels, beside probes, by epochs of training.

    python benchmarks/when_to_stop.py DATA_DIR [--datasets digits fashion_mnist cifar10]
        [--methods SimCLRTransformer ...] [--epochs 3 10 30] [--seeds 0] [--train 2000]

Each fit has that many epochs, from new, with default parameters, on the first --train images;
scikit-learn's digits are split in halves. Then, of the embedding of test images:

held-out loss   minus ``score`` of 1,000 test images
rankme          effective number of dimensions of their embedding
rank, training  ``effective_rank`` of the projections in the last epoch, from ``health_``
linear, 20-NN   accuracy of probes with all labels of the training images, as in quality.py

"best by" is the accuracy of the 20 nearest neighbors at the number of epochs that a figure without
labels would choose: the lowest held-out loss, the largest RankMe, or simply the last. "untrained"
are the probes of the network that the methods begin with.
"""

import argparse
from pathlib import Path

import torch
from common import load, write
from quality import linear_probe, neighbors
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ssl import EncoderTransformer
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.metrics import rankme

METHODS = "SimCLRTransformer", "VICRegTransformer", "DINOTransformer", "RotationTransformer"


def data_of(folder, dataset, n_train):
    """Return training and test images, and their labels."""
    if dataset == "digits":
        X, y = load_digits(return_X_y=True)
        X, X_test, y, y_test = train_test_split(
            X.reshape(-1, 8, 8), y, test_size=0.5, stratify=y, random_state=0
        )
        return X, y, X_test, y_test
    return load(folder, dataset, n_train)


def fitted(model, X, y, X_test, y_test):
    """Fit, and return the figures of the embedding."""
    train, test = model.fit(X).transform(X), model.transform(X_test)
    found = {
        "rankme": float(rankme(test[:1000])),
        "linear": float(linear_probe(train, y, test, y_test)),
        "20-NN": float(neighbors(train, y, test, y_test)),
    }
    if not isinstance(model, EncoderTransformer):
        found["loss"] = float(model.loss_curve_[-1])
        found["held-out loss"] = -float(model.score(X_test[:1000]))
        found["rank, training"] = float(model.health_["effective_rank"][-1])
    return found


def shown(found):
    """Return figures as text."""
    return "  ".join(f"{name} {value:.3f}" for name, value in found.items())


def chosen(found):
    """Return the accuracy of neighbors at the number of epochs that each figure chooses."""
    by = {
        "held-out loss": min(found, key=lambda n: found[n]["held-out loss"]),
        "rankme": max(found, key=lambda n: found[n]["rankme"]),
        "last": max(found),
        "20-NN": max(found, key=lambda n: found[n]["20-NN"]),
    }
    return {name: {"epochs": n, "20-NN": found[n]["20-NN"]} for name, n in by.items()}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["digits", "fashion_mnist", "cifar10"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--epochs", nargs="+", type=int, default=[3, 10, 30])
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--name", default="when_to_stop", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    for dataset in options.datasets:
        data = data_of(options.data, dataset, options.train)
        for seed in options.seeds:
            where = f"{dataset}, seed {seed}"
            untrained = fitted(EncoderTransformer(random_state=seed), *data)
            results[f"{where}, untrained"] = untrained
            print(f"{where}, untrained: {shown(untrained)}", flush=True)
            for name in options.methods:
                found = {}
                for n_epochs in options.epochs:
                    model = all_methods()[name](max_epochs=n_epochs, random_state=seed)
                    found[n_epochs] = fitted(model, *data)
                    print(f"{where}, {name}, {n_epochs}: {shown(found[n_epochs])}", flush=True)
                results[f"{where}, {name}"] = {"epochs": found, "best by": chosen(found)}
                print("   best by", chosen(found), flush=True)
                write(options.name, vars(options) | {"data": None}, results)


if __name__ == "__main__":
    main()
