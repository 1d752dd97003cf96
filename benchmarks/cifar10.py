"""CIFAR-10 in full, by every method, and published numbers: 200 epochs of a ResNet-18 on a GPU.

    python benchmarks/cifar10.py DATA_DIR

trains for nine minutes, and goes on where it was when it is run again; run it until it says that it
is done. `--methods DINOTransformer` trains only that method. DATA_DIR holds cifar10.npz with
X_train, y_train, X_test and y_test. After every epoch the estimator is saved to `checkpoints`, in
the folder from which the script is run; delete them to start over.

Each method trains on the training images, without labels, with its own default views and heads;
DeepClusterEstimator gets 1,000 clusters. The optimizer is that of lightly's benchmark for all: SGD
with a learning rate of 0.06 * batch / 128 and a weight decay of 0.0005 throughout. The learning
rate rises for 10 epochs, or a tenth of them if that is less, and falls to 0 by half a cosine, in
steps of an epoch; every epoch is one `partial_fit`.

The accuracy is that of the 200 nearest training images by cosine, weighted by
exp(similarity / 0.1), on the test images, after the last epoch. Minutes are those of `partial_fit`;
for DeepClusterEstimator each includes a second clustering, which `fit` has only at its end.

lightly's published numbers, of 200 epochs with batches of 512 and of 128, are those of the best
epoch, without a warm-up, with its own views and heads; its DINO there has no local crops.
"""

import argparse
import os
import time
from pathlib import Path

import joblib
import numpy as np
from common import write
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ssl import Device
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.training.schedule import learning_rate_factor

METHODS = all_methods("image")
WEIGHT_DECAY = 5e-4
TEMPERATURE = 0.1
# docs.lightly.ai, "Benchmarks", CIFAR-10: with batches of 512 and of 128.
PUBLISHED = {"SimCLRTransformer": [0.848, 0.847], "DINOTransformer": [0.813, 0.840]}


def untrained(name, run):
    """Return the estimator of a method, not fitted yet."""
    own = {"n_clusters": 1000} if name == "DeepClusterEstimator" else {}
    return METHODS[name](
        max_epochs=run["epochs"],
        optimizer="sgd",
        weight_decay=WEIGHT_DECAY,
        warmup_epochs=0,  # partial_fit keeps lr as it is; train sets it
        random_state=0,
        backbone="small_vit" if name == "MAETransformer" else run["backbone"],
        batch_size=run["batch_size"],
        device=Device(precision=run["precision"]),
        **own,
    )


def save(state, path):
    """Replace a checkpoint, so that at any time there is a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    joblib.dump(state, temporary)
    os.replace(temporary, path)


def train(state, path, X, device, deadline):
    """Train until all epochs are done or the time is over."""
    model, run = state["model"], state["run"]
    while state["epoch"] < run["epochs"] and time.perf_counter() < deadline:
        warmup = min(10, run["epochs"] / 10)
        factor = learning_rate_factor(state["epoch"] + 0.5, warmup, run["epochs"])
        start = time.perf_counter()
        model.set_params(lr=factor * 0.06 * run["batch_size"] / 128, device__name=device)
        model.partial_fit(X)
        seconds = time.perf_counter() - start
        state |= {"epoch": model.n_iter_, "seconds": state["seconds"] + seconds}
        save(state, path)
        done = f"epoch {state['epoch']} of {run['epochs']}"
        print(f"{path.stem}: {done}, loss {model.loss_curve_[-1]:.4f}, {seconds:.1f} s", flush=True)


def neighbors(model, X, y, X_test, y_test):
    """Accuracy of the 200 nearest neighbors, weighted by similarity."""
    probe = KNeighborsClassifier(
        min(200, len(y)),
        algorithm="brute",
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / TEMPERATURE),
    )
    return probe.fit(model.transform(X), y).score(model.transform(X_test), y_test)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=9.0, help="no epoch begins after them")
    parser.add_argument("--checkpoint-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--train", type=int, default=50_000, help="number of training images")
    parser.add_argument("--test", type=int, default=10_000, help="number of test images")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="cifar10", help="name of the JSON file")
    options = parser.parse_args()
    deadline = time.perf_counter() + 60 * options.minutes
    with np.load(options.data / "cifar10.npz") as data:
        X, y = data["X_train"][: options.train], data["y_train"][: options.train]
        X_test, y_test = data["X_test"][: options.test], data["y_test"][: options.test]

    names = ("epochs", "train", "test", "backbone", "batch_size", "precision")
    run = {name: getattr(options, name) for name in names}
    results, missing = {}, []
    for name in METHODS:
        path = options.checkpoint_dir / f"{name}.joblib"
        state = {"run": run, "model": untrained(name, run), "epoch": 0, "seconds": 0.0}
        if path.exists():
            state = joblib.load(path)
        if state["run"] != run:
            parser.error(f"{path} is of another run, {state['run']}; choose --checkpoint-dir.")
        if name in options.methods:
            train(state, path, X, options.device, deadline)
            if state["epoch"] < options.epochs:
                missing.append(f"{name} has {state['epoch']} of {options.epochs} epochs")
            elif "accuracy" not in state:
                state["accuracy"] = neighbors(state["model"], X, y, X_test, y_test)
                save(state, path)
        if "accuracy" in state:
            lightly = PUBLISHED.get(name, [])
            minutes = state["seconds"] / 60
            results[name] = {"accuracy": state["accuracy"], "minutes": minutes, "lightly": lightly}
    print("\n| | 200 neighbors | minutes | lightly, batch 512 | lightly, batch 128 |")
    print("|---|---|---|---|---|")
    for name, row in results.items():
        cells = [f"{row['accuracy']:.3f}", f"{row['minutes']:.1f}"]
        cells += [f"{value:.3f}" for value in row["lightly"]] or ["", ""]
        print(f"| {name} | {' | '.join(cells)} |")
    write(options.name, vars(options) | {"data": None, "checkpoint_dir": None}, results)
    print("\n".join([*missing, "run the same command again"]) if missing else "done")


if __name__ == "__main__":
    main()
