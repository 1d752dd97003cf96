"""What benchmarks share: their data and cases, and what each says about itself in a JSON file."""

import contextlib
import copy
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from sklearn_ssl import image_paths

RESULTS = Path(__file__).parent / "results"
UNTRAINED = {"max_epochs": 1, "lr": 1e-12}  # sets statistics of batch norms alone


def machine():
    """Describe the machine and the versions that a result depends on."""
    described = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "python": platform.python_version(),
    }
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        described["processor"] = names[0] if names else described["processor"]
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    for package in ("torch", "torchvision", "scikit-learn", "skorch", "numpy"):
        described[package] = version(package)
    for package in ("lightly", "kornia"):
        with contextlib.suppress(PackageNotFoundError):
            described[package] = version(package)
    return described


def load(folder, dataset, n_train=10_000):
    """Return training and test images, bytes, and their labels."""
    if dataset == "imagenette":
        parts = []
        for part in ("train", "val"):
            paths, labels = image_paths(folder / dataset / part)
            parts += [np.stack([square(path) for path in paths]), labels]
        X, y, X_test, y_test = parts
        classes, y = np.unique(y, return_inverse=True)
        return X, y, X_test, np.searchsorted(classes, y_test)
    with np.load(folder / f"{dataset}.npz") as data:
        return (
            data["X_train"][:n_train],
            data["y_train"][:n_train].astype(np.int64),
            data["X_test"],
            data["y_test"].astype(np.int64),
        )


def square(path, side=64):
    """Return the middle of an image file as a square."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side)))


def few_of_each(y, n, seed):
    """Draw n samples of each class, as indices."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.choice(np.flatnonzero(y == c), n, False) for c in np.unique(y)])


def interleaved(cases, repetitions, warm_up=0):
    """Call all cases once a repetition, in random order; return what each gave, by its name."""
    rng = random.Random(0)
    given = {name: [] for name in cases}
    for repetition in range(warm_up + repetitions):
        for name in rng.sample(list(cases), len(cases)):
            value = cases[name]()
            if repetition >= warm_up:
                given[name].append(value)
    return given


def in_subprocess(case, *more):
    """Run this script again for one case; return the JSON in the last line that it prints."""
    command = [sys.executable, *sys.argv, "--case", case, *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def spread(values):
    """Return the median of repeated measurements, their quartiles and their number."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": middle, "quartiles": [low, high], "repetitions": len(values)}


def compared(measured, pairs):
    """Return the spread of each case, and of pairs the median ratio within a repetition."""
    results = {name: spread(values) for name, values in measured.items()}
    for one, other in pairs:
        ratios = (a / b for a, b in zip(measured[one], measured[other], strict=True))
        results[f"{one} / {other}"] = statistics.median(ratios)
    return results


def quoted(value):
    """Return a number, a median with its quartiles, or a list of numbers as text."""
    if isinstance(value, list):
        return ", ".join(map(quoted, value))
    if isinstance(value, dict):
        low, high = value["quartiles"]
        return f"{quoted(value['median'])} ({quoted(low)} to {quoted(high)})"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show(results, indent=""):
    """Print results, those of a group below its name."""
    for name, value in results.items():
        if isinstance(value, dict) and "median" not in value:
            print(f"{indent}{name}")
            show(value, indent + "  ")
        else:
            print(f"{indent}{name:32} {quoted(value)}")


def write(name, settings, results):
    """Print the machine and write results as JSON beside those of other benchmarks."""
    RESULTS.mkdir(exist_ok=True)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": about, "settings": settings, "results": results}, indent=1) + "\n"
    )
    print("written:", path.relative_to(Path(__file__).parent.parent))


def load_images(folder, n, side=32):
    """Return n images, (n, side, side, 3) bytes, and labels: CIFAR-10's, or random ones for None.

    Images larger than those of the file, (32, 32), are enlarged with bilinear interpolation.
    """
    if folder is None:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (n, side, side, 3), np.uint8), np.arange(n) % 10
    with np.load(folder / "cifar10.npz") as data:
        X, y = data["X_train"][:n], data["y_train"][:n]
    if len(X) < n:
        raise ValueError(f"{folder / 'cifar10.npz'} holds {len(X)} training images, not {n}.")
    if X.shape[1] != side:
        from PIL import Image

        resized = [Image.fromarray(x).resize((side, side), Image.Resampling.BILINEAR) for x in X]
        X = np.stack([np.asarray(image) for image in resized])
    return X, y


def now(device):
    """Return the time, with nothing left to do on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def batch_maker(X, device):
    """Return the function by which fit makes a float batch on the device from indices of X."""
    from sklearn_ssl.data.sources import ArraySource, learn_scaling, learn_standardization

    is_image = X.ndim == 4
    source = ArraySource(X, X.shape[1:], 2 if is_image else None)
    scale = (learn_scaling if is_image else learn_standardization)(source).on(device)
    return lambda indices: scale(source.batch(indices, device))


def step_maker(model, device):
    """Return a function that takes a training step, on views, as fit did with this estimator."""
    from sklearn_ssl._runtime.device import autocast
    from sklearn_ssl.training.optimizers import make_optimizer

    objective = copy.deepcopy(model.objective_).to(device).train()
    groups = objective.optimizer_groups()
    optimizer = make_optimizer(model.optimizer_, groups, model.lr_, model.weight_decay_)

    def step(views):
        with autocast(device, model.precision_):
            loss = objective(views)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
