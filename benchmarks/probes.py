"""Probes and scikit-learn's classifiers: seconds and accuracy on 50,000 x 512 features.

    python benchmarks/probes.py DATA_DIR [--train 50000] [--repetitions 3]

DATA_DIR holds cifar10.npz. Features are those of the second stage of a random `small_multiscale`
of its images, means of quarters, 512 each, float32, with their ten classes; predicted are
the test images. Timed, in turns, are fit and predict of

linear          LinearProbe(C=0.01), and LogisticRegression(C=0.01) behind a StandardScaler, which
                has the same minimum; "max_iter" is what stops neither
linear, chosen  LinearProbe(), which chooses C of six values on a fifth that is held out, and
                GridSearchCV of that pipeline over the same values and split
neighbors       KNNProbe(), and KNeighborsClassifier of 20 neighbors on features of length one,
                with votes of exp(similarity / 0.07)
"""

import argparse
import os
import time
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # scikit-learn needs it before SciPy is imported

import numpy as np
import sklearn
import torch
from common import compared, interleaved, show, write
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_ssl import EncoderTransformer, KNNProbe, LinearProbe
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl.evaluation.probes import GRID, HELD_OUT

MAX_ITER, N_FEATURES = 1000, 512
NAMES = "ours", "scikit-learn", "array API"


class ArrayAPI(ClassifierMixin, BaseEstimator):
    """A classifier of scikit-learn on tensors, by its support of the array API."""

    def __init__(self, classifier, device="auto"):
        self.classifier = classifier
        self.device = device

    def fit(self, X, y):
        """Fit on tensors on the device."""
        self.device_ = resolve_device(self.device)
        X, y = (torch.from_numpy(part).to(self.device_) for part in (X, y))
        with sklearn.config_context(array_api_dispatch=True):
            self.classifier_ = self.classifier.fit(X, y)
        return self

    def predict(self, X):
        """Return the predicted classes, as an array."""
        with sklearn.config_context(array_api_dispatch=True):
            predicted = self.classifier_.predict(torch.from_numpy(X).to(self.device_))
        return predicted.cpu().numpy()


def votes(distances):
    """Return the weights of neighbors at these distances, of features of length one."""
    return np.exp((1 - np.square(distances) / 2) / 0.07)


def chosen(n_jobs=None):
    """Return scikit-learn's search for C, by the same split as LinearProbe's."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITER))
    split = StratifiedShuffleSplit(1, test_size=HELD_OUT, random_state=0)
    return GridSearchCV(pipeline, {"logisticregression__C": GRID}, cv=split, n_jobs=n_jobs)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", type=int, default=50_000)
    parser.add_argument("--rows", nargs="+", default=["linear", "linear, chosen", "neighbors"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="probes", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with np.load(options.data / "cifar10.npz") as data:
        images, y = data["X_train"][: options.train], data["y_train"][: options.train]
        evaluated, y_judged = (data[f"{part}_test"] for part in "Xy")
    encoder = EncoderTransformer(backbone="small_multiscale", device=options.device, random_state=0)
    encoder.fit(images)
    X, X_judged = (encoder.transform(part)[:, :N_FEATURES].copy() for part in (images, evaluated))
    print(f"features: {X.shape}, {X.dtype}", flush=True)
    regression = LogisticRegression(C=0.01, max_iter=MAX_ITER)
    neighbors = KNeighborsClassifier(20, weights=votes, n_jobs=options.threads)
    ours = {"max_iter": MAX_ITER, "device": options.device}
    models = {
        "linear": (
            LinearProbe(C=0.01, **ours),
            make_pipeline(StandardScaler(), regression),
            ArrayAPI(make_pipeline(StandardScaler(), clone(regression)), options.device),
        ),
        "linear, chosen": (LinearProbe(random_state=0, **ours), chosen()),
        "neighbors": (KNNProbe(device=options.device), make_pipeline(Normalizer(), neighbors)),
    }
    results = {}
    for row in options.rows:
        accuracy = {}

        def timed(name, model, row=row, accuracy=accuracy):
            start = time.perf_counter()
            predicted = model.fit(X, y).predict(X_judged)
            seconds = time.perf_counter() - start
            accuracy[name] = float(np.mean(predicted == y_judged))
            print(f"{row}: {name} {seconds:.1f} s, accuracy {accuracy[name]:.4f}", flush=True)
            return seconds

        cases = {
            name: lambda name=name, model=model: timed(name, model)
            for name, model in zip(NAMES, models[row], strict=False)
        }
        measured = interleaved(cases, options.repetitions)
        ratios = [(name, "ours") for name in NAMES[1 : len(measured)]]
        results[row] = compared(measured, ratios) | {"accuracy": accuracy}
        write(options.name, {**vars(options), "data": ""}, results)
    show(results)


if __name__ == "__main__":
    main()
