"""How well missing values are filled: VIMETransformer and scikit-learn's imputers.

    python benchmarks/impute.py [--seeds 3]

Of tables that ship with scikit-learn, 30 % of the rows are held out, and a fifth of their values is
missing at random. What is fitted has the other rows, complete. Given is the root mean squared error
of the missing values, in standard deviations of their columns, as a mean over seeds, which decide
about rows, what is missing, and training; and the seconds of fit. Beside them stands the accuracy
of a linear model with three labels per class, on the features of complete held-out rows and on the
rows themselves.
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from common import few_of_each, show, write
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import VIMETransformer

TABLES = {"breast cancer": load_breast_cancer, "wine": load_wine, "iris": load_iris}


def few_labels(features, y, test, y_test, seed):
    """Return the accuracy of a linear model that has three labels per class."""
    scaler, chosen = StandardScaler().fit(features), few_of_each(y, 3, seed)
    model = LogisticRegression(max_iter=500).fit(scaler.transform(features[chosen]), y[chosen])
    return model.score(scaler.transform(test), y_test)


def one_seed(load, seed, epochs):
    """Return what each way of filling comes to, on one table."""
    X, y = load(return_X_y=True)
    X, test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
    scaler = StandardScaler().fit(X)
    X, test = scaler.transform(X), scaler.transform(test)
    unknown = np.random.default_rng(seed).random(test.shape) < 0.2
    missing = np.where(unknown, np.nan, test)
    ways = {
        "VIMETransformer": VIMETransformer(max_epochs=epochs, random_state=seed),
        "KNNImputer": KNNImputer(),
        "IterativeImputer": IterativeImputer(max_iter=20, random_state=seed),
        "mean": SimpleImputer(),
    }
    found = {}
    for name, model in ways.items():
        start = time.perf_counter()
        model.fit(X)
        seconds = time.perf_counter() - start
        imputed = model.impute(missing) if name == "VIMETransformer" else model.transform(missing)
        error = np.sqrt(np.mean(np.square(imputed - test)[unknown]))
        found[name] = {"error": error, "seconds": seconds}
    accuracy = partial(few_labels, y=y, y_test=y_test, seed=seed)
    features, features_test = (ways["VIMETransformer"].transform(rows) for rows in (X, test))
    found["three labels per class"] = {
        "features": accuracy(features, test=features_test),
        "rows": accuracy(X, test=test),
    }
    return found


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of training, instead of the default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="impute", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    for table, load in TABLES.items():
        runs = [one_seed(load, seed, options.epochs or "auto") for seed in range(options.seeds)]
        for way in runs[0]:
            results[f"{table}, {way}"] = {
                figure: float(np.mean([run[way][figure] for run in runs]))
                for figure in runs[0][way]
            }
    show(results)
    write(options.name, vars(options), results)


if __name__ == "__main__":
    main()
