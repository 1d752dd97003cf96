"""What minutes of training give: accuracy over time, compared with classical features.

    python benchmarks/budget.py DATA_DIR [--minutes 1 3 10 30] [--rows NAME...] [--datasets NAME...]

Every method of the package is fitted with `max_time` and its defaults, without labels, on the first
10,000 training images of cifar10.npz and fashion_mnist.npz in DATA_DIR and on the 3,000 of
DATA_DIR/imagenette/train, at 64 pixels; then a linear probe and 20 nearest neighbors are trained
on the embeddings, with 10 and all labels per class, and tested on all test images. Baselines are,
once each, raw pixels, 256 principal components, histograms of oriented gradients (scikit-image),
k-means patches of Coates and Ng (`PatchKMeansTransformer`) and the untrained encoder; and, for as
many minutes, lightly's SimCLR: its transforms in the workers of a DataLoader, its head, its loss
and the optimizer of its benchmarks (SGD, 0.06 * batch / 128, momentum 0.9, weight decay 0.0005),
batches of 256, with our small_convnet, and a learning rate that falls by half a cosine with the
time. Methods with a network of their own, those for whole images, have a row of it before training
too: an epoch at a learning rate of 1e-12. The score of a method's own task,
`score_pretext`, is that of the test images.

linear       LogisticRegression on features standardized one by one. C is 0.01 for 10 labels per
             class, else the best of 0.001, 0.01 and 0.1 on a fifth of the labels that is held out.
neighbors   the 20 nearest by cosine of the same features, weighted by exp(similarity / 0.07)

Minutes are those that `fit` took, with reading from memory, clustering and all. The rows that the
JSON file has already are recomputed only with --again, so that a stopped run can be resumed.
--plot draws the picture from the file alone. lightly and scikit-image come with `pip install -e
".[bench]"`.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, UNTRAINED, few_of_each, load, now, write
from quality import linear_probe, neighbors
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import EncoderTransformer, PatchKMeansTransformer
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.evaluation.comparison import COLORS
from sklearn_ssl.networks.backbone import make_backbone

DRAWS = 3
PROBE = {"C": 0.01, "grid": (0.001, 0.01, 0.1)}


def accuracies(features, y, test, y_test):
    """Accuracy of both probes, with 10 and all labels per class."""
    scaler = StandardScaler().fit(features)
    features, test = (scaler.transform(a).astype(np.float32) for a in (features, test))
    few = {"linear, 10": [], "neighbors, 10": []}
    for draw in range(DRAWS):
        chosen = few_of_each(y, 10, draw)
        given = features[chosen], y[chosen], test, y_test
        few["linear, 10"].append(linear_probe(*given, **PROBE))
        few["neighbors, 10"].append(neighbors(*given))
    return {name: float(np.mean(values)) for name, values in few.items()} | {
        "linear, all": linear_probe(features, y, test, y_test, **PROBE),
        "neighbors, all": neighbors(features, y, test, y_test),
    }


def flat(images):
    """Return images as rows from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def oriented_gradients(images):
    """Return histograms of oriented gradients, cells of an eighth of the image's side."""
    from skimage.feature import hog

    cell = images.shape[1] // 8
    settings = {"orientations": 9, "pixels_per_cell": (cell, cell), "cells_per_block": (2, 2)}
    settings["channel_axis"] = -1 if images.ndim == 4 else None
    return np.stack([hog(image, **settings) for image in images]).astype(np.float32)


def classical(X, X_test, options):
    """Give name and function of each row that takes no time budget: to features of both parts."""
    settings = {"random_state": options.seed, "device": options.device}

    def fitted(model, X, X_test):
        model.fit(X)
        return model.transform(X), model.transform(X_test), {}

    untrained = EncoderTransformer(flip_tta=options.flip_tta, **settings)
    yield "raw pixels", lambda: (flat(X), flat(X_test), {})
    yield "PCA, 256", lambda: fitted(PCA(256, random_state=0), flat(X), flat(X_test))
    yield "HOG", lambda: (oriented_gradients(X), oriented_gradients(X_test), {})
    yield "k-means patches", lambda: fitted(PatchKMeansTransformer(**settings), X, X_test)
    yield "untrained encoder", lambda: fitted(untrained, X, X_test)


def lightly(X, X_test, seconds, options):
    """Return the embeddings after lightly's SimCLR had some seconds, and its epochs."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from peers import lightly_loader

    device = resolve_device(options.device)
    torch.manual_seed(options.seed)
    start = now(device)
    rgb, rgb_test = (a if a.ndim == 4 else np.repeat(a[..., None], 3, -1) for a in (X, X_test))
    encoder = make_backbone("small_convnet", (3, *X.shape[1:3]))
    head = SimCLRProjectionHead(256, 512, 128)
    model = torch.nn.Sequential(encoder, torch.nn.Flatten(), head).to(device).train()
    criterion = NTXentLoss(temperature=0.2)
    rate = 0.06 * 256 / 128
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    loader = lightly_loader(rgb, 256, options.threads)
    n_steps = 0
    while now(device) - start < seconds:
        for x0, x1 in loader:
            share = (time.perf_counter() - start) / seconds
            if share >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * share))
            z0, z1 = model(x0.to(device)), model(x1.to(device))
            optimizer.zero_grad()
            criterion(z0, z1).backward()
            optimizer.step()
            n_steps += 1
    minutes = (now(device) - start) / 60
    encoder.eval()
    embedded = []
    with torch.inference_mode():
        for images in (rgb, rgb_test):
            parts = torch.from_numpy(images).split(256)
            scaled = (p.to(device).permute(0, 3, 1, 2).float() / 255 for p in parts)
            embedded.append(torch.cat([encoder(p).cpu() for p in scaled]).numpy())
    return *embedded, {"minutes": minutes, "epochs": n_steps / (len(X) // 256)}


def ours(method, X, X_test, training, options):
    """Return the embeddings after a method of ours was trained in some way, and its epochs."""
    settings = {"flip_tta": options.flip_tta, "random_state": options.seed}
    model = method(**training, **settings, device=options.device)
    start = time.perf_counter()
    model.fit(X)
    about = {"minutes": (time.perf_counter() - start) / 60, "epochs": model.n_iter_}
    if hasattr(model, "score_pretext"):
        about["score_pretext"] = model.score_pretext(X_test)
    start = time.perf_counter()
    embedding = model.transform(X)
    about["seconds of transform"] = time.perf_counter() - start
    return embedding, model.transform(X_test), about


def cases(X, X_test, options):
    """Give name and function of each row."""
    for name, make in classical(X, X_test, options):
        yield name, lambda make=make: made_in(make)
    methods = {n: m for n, m in all_methods("image").items() if X.ndim == 4 or not m.needs_color}
    for name, method in methods.items():
        if method.whole_views:
            given = method, X, X_test, UNTRAINED, options
            yield f"{name}, untrained", lambda given=given: ours(*given)
    for minutes in options.minutes:
        for name, method in methods.items():
            given = method, X, X_test, {"max_time": 60 * minutes}, options
            yield f"{name}, {minutes:g} min", lambda given=given: ours(*given)
        given = X, X_test, 60 * minutes, options
        yield f"lightly, {minutes:g} min", lambda given=given: lightly(*given)


def made_in(make):
    """Call a function that makes features; add the minutes that it took."""
    start = time.perf_counter()
    train, test, about = make()
    return train, test, about | {"minutes": (time.perf_counter() - start) / 60}


def main():
    """Run the benchmark, or draw what it found."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["cifar10", "fashion_mnist", "imagenette"])
    parser.add_argument("--minutes", nargs="+", type=float, default=[1, 3, 10, 30])
    parser.add_argument("--rows", nargs="+", help="those whose names begin so")
    parser.add_argument("--again", action="store_true", help="recompute existing rows")
    parser.add_argument("--flip-tta", action="store_true", help="embed images and their flips")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="budget", help="name of the JSON file")
    parser.add_argument("--plot", action="store_true", help="draw the file's rows, and no more")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = RESULTS / f"{options.name}.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    if options.plot:
        draw(results, path.with_suffix(".png"))
        return
    for dataset in options.datasets:
        X, y, X_test, y_test = load(options.data, dataset)
        found = results.setdefault(dataset, {})
        for name, make in cases(X, X_test, options):
            if (name in found and not options.again) or (
                options.rows and not name.startswith(tuple(options.rows))
            ):
                continue
            train, test, about = make()
            found[name] = about | {"accuracy": accuracies(train, y, test, y_test)}
            write(options.name, {"seed": options.seed, "threads": options.threads}, results)
            print(dataset, name, found[name], flush=True)
    for dataset, found in results.items():
        print(f"\n{dataset}\n\n{table(found)}\n")


def table(rows):
    """Return a dataset's accuracies as a Markdown table."""
    columns = list(next(iter(rows.values()))["accuracy"])
    head = ["", *columns, "minutes", "epochs"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    # What takes no time budget first, then each method by its minutes.
    in_order = sorted(
        rows.items(),
        key=lambda item: (" min" in item[0], item[0].partition(", ")[0], item[1]["minutes"]),
    )
    for name, row in in_order:
        cells = [f"{row['accuracy'][column]:.3f}" for column in columns]
        epochs = f"{row['epochs']:.0f}" if "epochs" in row else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {row['minutes']:.1f} | {epochs} |")
    return "\n".join(lines)


def draw(results, path):
    """Draw accuracy over minutes: a row for each data set, a panel for each probe."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    probes = {"linear, all": "linear model", "neighbors, all": "20 nearest neighbors"}
    size = (10.4, 1 + 3.2 * len(results))
    figure, axes = plt.subplots(
        len(results), len(probes), figsize=size, squeeze=False, layout="constrained"
    )
    places, dashes, legend = {}, {}, {}  # a row looks the same in all panels
    for panels, (dataset, rows) in zip(axes, results.items(), strict=True):
        for axis, (probe, label) in zip(panels, probes.items(), strict=True):
            curves, lines = {}, {}
            for name, row in rows.items():
                method, timed, _ = name.partition(" min")[0].rpartition(", ")
                accuracy = row["accuracy"][probe]
                if timed and name.endswith(" min"):
                    curves.setdefault(method, []).append((row["minutes"], accuracy))
                elif not name.endswith(", untrained"):
                    lines[name] = accuracy
            for name, points in curves.items():
                again, place = divmod(places.setdefault(name, len(places)), len(COLORS))
                color, marker = COLORS[place], "os^"[again]  # colors come again with other marks
                style = "--" if name == "lightly" else "-"
                short = name.replace("Transformer", "").replace("Estimator", "")
                short = "SimCLR by lightly" if name == "lightly" else short
                minutes, accuracy = zip(*sorted(points), strict=True)
                [legend[short]] = axis.plot(minutes, accuracy, f"{marker}{style}", color=color)
            for name, accuracy in lines.items():
                dash = dashes.setdefault(name, ["-", "--", "-.", ":", (0, (1, 5))][len(dashes) % 5])
                legend[name] = axis.axhline(accuracy, color="gray", linestyle=dash, linewidth=1)
            axis.set(
                xscale="log", xlabel="minutes of fit, 2 cores", ylabel="accuracy on test images"
            )
            ticks = sorted({float(name.split(", ")[-1][:-4]) for name in rows if " min" in name})
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_xlim(ticks[0] / 1.5, ticks[-1] * 1.5)  # one budget is a range too
            axis.minorticks_off()
            axis.set_title(f"{dataset}: {label}")
    figure.legend(legend.values(), legend, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
