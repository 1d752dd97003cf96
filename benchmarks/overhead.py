"""What watching and keeping a fit cost, as shares of its epochs.

    python benchmarks/overhead.py [DATA_DIR] [--n-images 10000] [--repetitions 5]

Fits of SimCLR on scikit-learn's digits (1,797 of 8 pixels), and on images of 32 pixels, those of
DATA_DIR/cifar10.npz or else random ones: 10,000 with small_convnet and 1,000 with ResNet-18.

health        seconds in which health is monitored: the figures of an epoch, and warnings
checkpoints   seconds in which checkpoints are written, one an epoch, to a folder of memory's
key           seconds for the key of the samples and parameters, once a fit
cached fit    seconds to load a cached fit, instead of training

Each is the time spent in the very functions within a fit, over the seconds of all its epochs: the
difference of two fits would be lost in the noise of a machine, and is shown for comparison, as
"with both / without" of whole fits one after the other. Without means that figures are left out and
memory is None.
"""

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from common import compared, interleaved, load_images, show, write
from sklearn.datasets import load_digits

from sklearn_ssl import SimCLRTransformer, base
from sklearn_ssl.persistence import fit_cache as memory
from sklearn_ssl.training.callbacks import diagnostics as engine

CASES = {
    "digits, small_convnet": {"max_epochs": 20},
    "10,000 images, small_convnet": {"max_epochs": 2},
    "1,000 images, ResNet-18": {"max_epochs": 1, "backbone": "resnet18"},
}


@contextmanager
def timed(owner, name, seconds, key):
    """Add up the seconds that a function of a module or class takes."""
    function = getattr(owner, name)

    def wrapped(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[key] = seconds.get(key, 0) + time.perf_counter() - start

    with mock.patch.object(owner, name, wrapped):
        yield


def watched(X, folder, settings):
    """Fit with all, then again; return shares of the epochs, and the seconds of the whole fit."""
    seconds = {}
    with (
        timed(engine, "spread", seconds, "health"),
        timed(engine, "symptoms", seconds, "health"),
        timed(memory.CachedFit, "write", seconds, "checkpoints"),
        timed(base, "identified", seconds, "key"),
        timed(SimCLRTransformer, "_fit_key", seconds, "key"),
        tempfile.TemporaryDirectory(dir=folder) as folder_of_fits,
    ):
        model = SimCLRTransformer(random_state=0, memory=folder_of_fits, **settings)
        start = time.perf_counter()
        model.fit(X)
        fit = time.perf_counter() - start
        epochs = sum(row["dur"] for row in model.history_)
        shares = {name: value / epochs for name, value in seconds.items() if name != "key"}
        shares["key, seconds"] = seconds["key"]
        start = time.perf_counter()
        model.fit(X)
        return shares | {"cached fit, seconds": time.perf_counter() - start, "fit": fit}


def plain(X, settings):
    """Fit without figures and without memory; return its seconds."""
    with (
        mock.patch.object(engine, "spread", return_value={}),
        mock.patch.object(engine, "symptoms", return_value={}),
    ):
        start = time.perf_counter()
        SimCLRTransformer(random_state=0, **settings).fit(X)
        return time.perf_counter() - start


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--folder", help="where checkpoints go; by default the temporary folder")
    parser.add_argument("--n-images", type=int, default=10000)
    parser.add_argument("--epochs", type=int, help="instead of each case's own")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--name", default="overhead", help="name of the JSON file")
    options = parser.parse_args()
    images, results = load_images(options.data, options.n_images)[0], {}
    for name, settings in CASES.items():
        settings = settings | ({} if options.epochs is None else {"max_epochs": options.epochs})
        X = load_digits().images if name.startswith("digits") else images
        X = X[: options.n_images // 10] if "ResNet" in name else X
        runs = interleaved(
            {
                "with": lambda X=X, s=settings: watched(X, options.folder, s),
                "without": lambda X=X, s=settings: plain(X, s),
            },
            options.repetitions,
            warm_up=1,
        )
        measured = {key: [run[key] for run in runs["with"]] for key in runs["with"][0]}
        measured["with both"], measured["without"] = measured.pop("fit"), runs["without"]
        results[name] = compared(measured, [("with both", "without")])
        show({name: results[name]})
    write(
        options.name,
        vars(options) | {"folder": None, "data": "random" if options.data is None else "CIFAR-10"},
        results,
    )


if __name__ == "__main__":
    main()
