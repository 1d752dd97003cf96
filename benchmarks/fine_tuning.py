"""When to fine-tune: the whole network with few labels, or a linear model on its features.

    python benchmarks/fine_tuning.py DATA_DIR [--minutes 3] [--n-labels 10 100 500] [--draws 3]

SimCLR learns from the first 10,000 training images of cifar10.npz in DATA_DIR, for so many minutes
and without labels. Then, for each draw of labels per class, are trained, and evaluated on the test
images

probe        LinearProbe on the embedding
fine-tuned   FineTuneClassifier of the frozen estimator
from scratch FineTuneClassifier of the same network before training

Views of both are flips, as "auto" has it. Settings were chosen on other images (`README.md`).
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from common import compared, few_of_each, load, show, write
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklearn_ssl import FineTuneClassifier, LinearProbe, SimCLRTransformer


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--n-labels", nargs="+", type=int, default=[10, 100, 500])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--n-test", type=int, help="the first test images; default: all")
    parser.add_argument("--flip-tta", action="store_true", help="embed images and their flips")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="fine_tuning", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    X, y, X_test, y_test = load(options.data, "cifar10")
    X_test, y_test = X_test[: options.n_test], y_test[: options.n_test]
    simclr = SimCLRTransformer(flip_tta=options.flip_tta, random_state=0, device=options.device)
    trained = clone(simclr).set_params(max_time=60 * options.minutes).fit(X)
    untrained = clone(simclr).set_params(max_epochs=1, lr=1e-12).fit(X)
    embedded, evaluated = trained.transform(X), trained.transform(X_test)
    results = {}
    for n in options.n_labels:
        scores, seconds = defaultdict(list), defaultdict(list)
        for draw in range(options.draws):
            few = few_of_each(y, n, draw)
            ways_to_fit = {
                "probe": (LinearProbe(), embedded[few], evaluated),
                "fine-tuned": (FineTuneClassifier(FrozenEstimator(trained)), X[few], X_test),
                "from scratch": (FineTuneClassifier(FrozenEstimator(untrained)), X[few], X_test),
            }
            for name, (model, X_train, X_eval) in ways_to_fit.items():
                start = time.perf_counter()
                score = (
                    model.set_params(random_state=draw).fit(X_train, y[few]).score(X_eval, y_test)
                )
                seconds[name].append(time.perf_counter() - start)
                scores[name].append(score)
                print(f"{n} labels, draw {draw}: {name} {score:.3f}", flush=True)
        results[f"{n} labels per class"] = compared(scores, []) | {
            f"seconds, {name}": float(np.median(values)) for name, values in seconds.items()
        }
        write(options.name, vars(options) | {"data": ""}, results)
    show(results)


if __name__ == "__main__":
    main()
