"""What training from files costs, compared with an array and with lightly's loader.

    python benchmarks/files.py FOLDER [--n-images 3000] [--backbone small_convnet] [--size 64]

FOLDER has a subfolder for each class, with image files; they are repeated until there are
--n-images. Measured are images per second, each in a fresh process, of

decode          decoding alone, in as many threads as there are cores
first epoch     `SimCLRTransformer.fit` on the paths, up to the end of its first epoch, with all
                that comes before, as decoding
later epochs    the epochs after it
array, first    the same on the decoded images as an array
array, later
ours, loading   decoding and then two views of each batch: what a loader does, in the first epoch
ours, views     two views of each batch of decoded images: what a loader does in later epochs
lightly         lightly's loader: `LightlyDataset` and `SimCLRTransform` with views as strong, in as
                many workers as there are cores, in an epoch after the one that starts them

Libraries are loaded before, by a fit of one batch. The first epoch cannot be faster than decoding
or than training alone: its goal is 1.1 times the seconds of the slower. Later epochs are to take
1.05 times the seconds of those on the array.

Peak memory of fit is measured on --memory numbers of paths: anonymous memory beyond that before
fit (Linux), with decoded images cached in memory (the default) and in a folder.

lightly comes with `pip install -e ".[bench]"`; `--without-lightly` leaves it out.
"""

import argparse
import functools
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import compared, in_subprocess, interleaved, show, spread, write
from memory import Peak
from peers import in_workers, lightly_transform

from sklearn_ssl import Images, SimCLRTransformer, image_paths
from sklearn_ssl.data.sources import learn_scaling
from sklearn_ssl.views import ImageViews


def repeated(folder, n):
    """Return n paths of a folder's images, in an order that mixes the classes."""
    paths, _ = image_paths(folder)
    return np.random.default_rng(0).permutation(np.resize(paths, n)).tolist()


def estimator(options, **parameters):
    """Return the estimator that all measurements share."""
    return SimCLRTransformer(
        **{
            "backbone": options.backbone,
            "batch_size": options.batch_size,
            "views": ImageViews(),  # as large as the images, as those of the other ways
            "input": Images(size=options.size, n_jobs=-1),
            "max_epochs": 1 + options.epochs,
            "device": options.device,
            "random_state": 0,
        }
        | parameters
    )


def read(options, paths):
    """Decode all, and return their source."""
    return estimator(options)._find(paths, reset=True).read()


def decode(options, paths):
    """Images per second of decoding."""
    start = time.perf_counter()
    read(options, paths)
    return {"decode": len(paths) / (time.perf_counter() - start)}


def fit(options, X, first, later):
    """Images per second of the first epoch, with what comes before it, and of those after it."""
    estimator(options, max_epochs=1).fit(X[: options.batch_size])  # loads libraries
    start = time.perf_counter()
    history = estimator(options).fit(X).history_
    seconds = time.perf_counter() - start
    rest = sum(row["dur"] for row in history[1:])
    return {first: len(X) / (seconds - rest), later: options.epochs * len(X) / rest}


def array(options, paths):
    """Images per second of fit on the decoded images."""
    source = read(options, paths)
    X = source.batch(slice(None)).permute(0, 2, 3, 1).numpy()
    del source
    return fit(options, X, "array, first", "array, later")


def files(options, paths):
    """Images per second of fit on the paths."""
    return fit(options, paths, "first epoch", "later epochs")


def views(options, paths):
    """Images per second of decoding and making views, and of making views."""
    model = estimator(options, max_epochs=1).fit(paths[: options.batch_size])
    device = torch.device(model.device_)
    start = time.perf_counter()
    source = read(options, paths)
    scale = learn_scaling(source).on(device)
    began = time.perf_counter()
    order = np.random.default_rng(0).permutation(len(source))
    order = order[: len(order) // options.batch_size * options.batch_size]
    batches = source.batches(
        order.reshape(-1, options.batch_size), device, np.random.default_rng(0)
    )
    for batch in batches:
        model.views_(scale(batch))
    end = time.perf_counter()
    return {
        "ours, loading": len(paths) / (end - start),
        "ours, views": len(paths) / (end - began),
    }


def lightly(options, paths):
    """Images per second of lightly's loader, which wants a folder."""
    from lightly.data import LightlyDataset

    with tempfile.TemporaryDirectory() as folder:
        for i, path in enumerate(paths):
            os.symlink(os.path.abspath(path), Path(folder, f"{i:08}{Path(path).suffix}"))
        dataset = LightlyDataset(folder, transform=lightly_transform(options.size))
        loader = in_workers(dataset, options.batch_size, os.cpu_count())
        for epoch in range(2):
            start = time.perf_counter()
            n_images = sum(len(batch[1]) for batch in loader)
            seconds = time.perf_counter() - start
            print(f"lightly, epoch {epoch}: {n_images / seconds:.0f} images/s")
    return {"lightly": n_images / seconds}


def peak(options, n_images, cache):
    """Return the peak of memory in fit for one epoch, in megabytes."""
    paths = repeated(options.folder, n_images)
    with Peak() as measured:
        estimator(
            options, max_epochs=1, input=Images(size=options.size, n_jobs=-1, cache=cache)
        ).fit(paths)
    return measured.rise


WAYS = {"decode": decode, "files": files, "array": array, "views": views, "lightly": lightly}


def main():
    """Run the benchmark, or one case of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--backbone", default="small_convnet")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2, help="after the first")
    parser.add_argument("--memory", type=int, nargs="*", default=[3000, 30_000])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--without-lightly", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="files", help="name of the JSON file")
    parser.add_argument("--case", help="measure only this case, in this process")
    options = parser.parse_args()
    if options.case in WAYS:
        print(json.dumps(WAYS[options.case](options, repeated(options.folder, options.n_images))))
        return
    if options.case:
        n_images, cached = options.case.split()
        with tempfile.TemporaryDirectory() as cache:
            print(json.dumps(peak(options, int(n_images), cache if cached == "cache" else None)))
        return

    ways = [way for way in WAYS if way != "lightly" or not options.without_lightly]
    cases = {way: functools.partial(in_subprocess, way) for way in ways}
    measured = {}
    for given in interleaved(cases, options.repetitions).values():
        for name in given[0]:
            measured[name] = [run[name] for run in given]
    pairs = [("later epochs", "array, later"), ("first epoch", "array, first")]
    if "lightly" in measured:
        pairs += [("ours, loading", "lightly"), ("ours, views", "lightly")]
    results = compared(measured, pairs)
    slower = np.minimum(measured["decode"], measured["array, later"])
    results["seconds of the first epoch / of the slower floor"] = float(
        np.median(slower / measured["first epoch"])
    )
    results["seconds of later epochs / on the array"] = 1 / results["later epochs / array, later"]
    for cached in ("by default", "cache"):
        for n_images in options.memory:
            megabytes = [in_subprocess(f"{n_images} {cached.replace(' ', '-')}")]
            results[f"peak memory, {n_images} paths, {cached}"] = spread(megabytes)
    show(results)
    write(options.name, vars(options) | {"folder": options.folder.name}, results)


if __name__ == "__main__":
    main()
