"""Did learning without labels help? `compare` on three data sets: tables, and a picture.

    python benchmarks/did_it_help.py DATA_DIR [--minutes 1] [--folds 3] [--datasets NAME...]

On the images of `budget.py` (10,000 of cifar10.npz and of fashion_mnist.npz in DATA_DIR, the 3,000
of DATA_DIR/imagenette/train at 64 pixels) every method of the package, each with so many minutes a
fold and its defaults, and patch k-means, which takes what it needs, stand beside what `compare`
adds: the pixels, their principal components and the encoder as it was before training. All are
evaluated by `LinearProbe`, in the same folds, with 1, 10 and all labels per class.

The data sets that the JSON file has already are not made again but with --again. --plot draws the
picture from the file alone.
"""

import argparse
import json
from pathlib import Path

import torch
from common import RESULTS, load, write
from sklearn.model_selection import StratifiedKFold

from sklearn_ssl import Comparison, PatchKMeansTransformer, compare
from sklearn_ssl.discovery import all_methods

N_LABELS = (1, 10, None)


def estimators(options, X):
    """Return each method that takes X with its minutes, and patch k-means."""
    gray = getattr(X, "ndim", 4) == 3
    settings = {"random_state": options.seed, "device": options.device}
    methods = {
        name: method(max_time=60 * options.minutes, flip_tta=options.flip_tta, **settings)
        for name, method in all_methods("image").items()
        if (not options.methods or name in options.methods) and not (gray and method.needs_color)
    }
    return methods | {"PatchKMeansTransformer": PatchKMeansTransformer(**settings)}


def draw(results, path):
    """Draw the accuracies over the number of labels: a panel for each data set."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    size = (1 + 4.6 * len(results), 5.4)
    figure, axes = plt.subplots(1, len(results), figsize=size, squeeze=False, layout="constrained")
    for axis, (dataset, rows) in zip(axes[0], results.items(), strict=True):
        Comparison(rows, transductive=False).plot(axis)
        axis.set_title(dataset)
        handles, labels = axis.get_legend_handles_labels()
        axis.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def main():
    """Run the benchmark, or draw what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["fashion_mnist", "cifar10", "imagenette"])
    parser.add_argument("--methods", nargs="+", help="names of the classes; default: all")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--n-images", type=int, help="the first of each data set; default: all")
    parser.add_argument("--again", action="store_true", help="recompute existing results")
    parser.add_argument("--flip-tta", action="store_true", help="embed images and their flips")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="did_it_help", help="name of the JSON file")
    parser.add_argument("--plot", action="store_true", help="only draw the rows of the file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"{options.name}.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    made = () if options.plot else options.datasets
    for dataset in made:
        if dataset in results and not options.again:
            continue
        X, y, _, _ = load(options.data, dataset)
        X, y = X[: options.n_images], y[: options.n_images]
        compared = compare(
            estimators(options, X),
            X,
            y,
            cv=StratifiedKFold(options.folds, shuffle=True, random_state=options.seed),
            n_labels=N_LABELS,
            random_state=options.seed,
            verbose=1,
        )
        results[dataset] = [row | {"scores": row["scores"].tolist()} for row in compared.rows]
        settings = {key: value for key, value in vars(options).items() if key != "data"}
        write(options.name, settings, results)
    for dataset, rows in results.items():
        print(f"\n{dataset}\n\n{Comparison(rows, transductive=False)}")
    draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
