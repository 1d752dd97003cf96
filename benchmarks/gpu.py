"""All that a GPU is needed for, in one command: correctness, speed, and accuracy over minutes.

    python benchmarks/gpu.py [DATA_DIR]

DATA_DIR holds cifar10.npz, with X_train, y_train, X_test and y_test. The command takes `--minutes`
at most, by default nine. Each part is written to results/gpu.json as soon as it is measured, and is
skipped the next time: run the command again until it prints "done". `--again` starts over, and
`--parts` selects parts by the beginning of their names:

correct          of each method and kind of data: relative differences between the GPU and the CPU,
                 of the loss and the gradients of one step on the same views and draws, and of
                 `transform`, in float32 without TF32; and the largest difference between the views
step             `step.py`: seconds of a step in fit, in a bare loop, and of the network alone
views            `views.py`: images per second of two views, and their share of a step
throughput       `train_throughput.py`: images per second of fit, and of lightly's own loop
bfloat16         errors of `transform` in bfloat16, relative to the length of the embedding, and the
                 share of images whose nearest neighbor is the same
out of memory    fits with half of the memory that they need, of a network without batch norms and
                 of one with them: relative differences to fits with enough memory
CIFAR-10         SimCLR with `max_time`: test accuracy of `LinearProbe` and of 200 neighbors

Without DATA_DIR there is no CIFAR-10, and images are random bytes. Peers that are not installed are
left out; they come with `pip install -e ".[bench]"`. The exit status is 1 if a part fails, or if
the GPU and the CPU differ by 1e-3 or more. `--device cpu --tiny` tries the script without a GPU.
"""

import argparse
import contextlib
import copy
import functools
import importlib.util
import json
import os
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, UNTRAINED, load_images, machine, write
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from sklearn_ssl import Device, KNNProbe, LinearProbe, SimCLRTransformer
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.isolation import isolated
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.views import ImageViews

HERE = Path(__file__).parent
TOLERANCE = 1e-3
DRAWS = {"rand", "randn", "randint", "randperm", "uniform_", "normal_", "bernoulli_", "random_"}
PEERS = [name for name in ("lightly", "kornia") if importlib.util.find_spec(name)]


class DrawnOnCPU(TorchDispatchMode):
    """Random numbers on any device are those that the CPU draws."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        """Draw on the CPU, and copy to the device."""
        kwargs = kwargs or {}
        if op.overloadpacket.__name__ not in DRAWS:
            return op(*args, **kwargs)
        on_cpu = {"device": torch.device("cpu")} if "device" in kwargs else {}
        drawn = op(*tree_map_only(torch.Tensor, torch.Tensor.cpu, args), **kwargs | on_cpu)
        if isinstance(args[0], torch.Tensor):  # in place
            return args[0].copy_(drawn)
        return drawn.to(kwargs.get("device"))


def difference(one, other):
    """Return the norm of the difference of two arrays or tensors, relative to that of the first."""
    one, other = (np.asarray(value, np.float64) for value in (one, other))
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def one_step(model, X, features, device):
    """Return the views of a batch, and the loss and the gradients of a step on a device."""
    objective = copy.deepcopy(model.objective_).to(device).train()
    with isolated(device), DrawnOnCPU():
        torch.manual_seed(0)
        plan = objective.plan_epoch(lambda: features, np.random.default_rng(0))
        targets = () if plan.targets is None else (plan.targets[: len(X)],)
        samples = model._find(X, reset=False).read().batch(slice(None), device)
        views = model.views_(model._scaling.on(device)(samples))
        loss = objective(views, *targets)["loss"]
        loss.backward()
    gradients = [p.grad.flatten() for p in objective.parameters() if p.grad is not None]
    return [view.cpu() for view in views], loss.item(), torch.cat(gradients).cpu().numpy()


def correct(method, kind, options):
    """Compare a method on a device with the same on the CPU."""
    n = 16 if options.tiny else 32
    X = np.random.default_rng(0).normal(size=(n, 10))
    settings = {"random_state": 0, "batch_size": n, "device": Device("cpu")} | UNTRAINED
    if kind == "text":
        X = [" ".join(f"word{i * k % 23}" for k in range(10 + i % 5)) for i in range(n)]
    if kind == "image":
        X, _ = load_images(options.data, n)
        mae = method.__name__ == "MAETransformer"
        settings["backbone"] = "small_vit" if mae else options.backbone
    model = method(**settings).fit(X)
    features = model.transform(X)
    device = resolve_device(options.device)
    with torch.backends.cudnn.flags(allow_tf32=False):
        model.set_params(device=Device(device, precision="float32"))
        embedding = model.transform(X)
        one, other = (one_step(model, X, features, d) for d in (torch.device("cpu"), device))
    views = ((a - b).abs().max().item() for a, b in zip(one[0], other[0], strict=True))
    return {
        "views": max(views),
        "loss": difference(one[1], other[1]),
        "gradients": difference(one[2], other[2]),
        "transform": difference(features, embedding),
    }


def measured_by(script, more, options, *, without=()):
    """Run another benchmark; return its results, and the names of what was left out."""
    name = f"{options.name}_{script}"
    data = [options.data] if options.data and script != "step" else []
    command = [sys.executable, HERE / f"{script}.py", *data, *more.split()]
    command += ["--device", options.device, "--name", name]
    path = RESULTS / f"{name}.json"
    try:
        subprocess.run(command, check=True, timeout=options.deadline - time.perf_counter())
        return json.loads(path.read_text())["results"] | {"not installed": list(without)}
    finally:
        path.unlink(missing_ok=True)


def step(options):
    """Seconds of a step."""
    size = "--batch-size 8 --steps 2 --repetitions 2" if options.tiny else "--steps 40"
    return measured_by("step", f"--backbone {options.backbone} {size}", options)


def views(options):
    """Images per second of views, and their share of a step."""
    ways, without = ["ours", "torchvision", *PEERS], {"lightly", "kornia"} - set(PEERS)
    size = f"--workers {os.cpu_count()} --sides 32 96"
    if options.tiny:
        size = "--sides 32 --batch-sizes 8 --batches 2 --seconds 0 --repetitions 1"
        size += " --step-repetitions 0"
    more = f"--ways {' '.join(ways)} {size}"
    return measured_by("views", more, options, without=sorted(without))


def throughput(options):
    """Images per second of training."""
    peers = ["lightly"] if "lightly" in PEERS else []
    size = f"--n-images 25600 --repetitions 2 --workers {os.cpu_count()}"
    if options.tiny:
        size = "--n-images 32 --batch-size 16 --repetitions 1"
    more = f"--ways ours floor {' '.join(peers)} --backbones {options.backbone} {size}"
    without = [] if peers else ["lightly"]
    return measured_by("train_throughput", more, options, without=without)


def bfloat16(options):
    """Errors of ``transform`` in bfloat16, of a trained network; on the CPU it has float32."""
    X, _ = load_images(options.data, 64 if options.tiny else 5000)
    device = Device(options.device, precision="float32")
    settings = {"backbone": options.backbone, "max_epochs": 1, "random_state": 0}
    model = SimCLRTransformer(device=device, **settings).fit(X)
    embeddings, neighbors = [], []
    for precision in ("float32", "bfloat16"):
        embedding = model.set_params(device__precision=precision).transform(X)
        units = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
        similarities = units @ units.T
        np.fill_diagonal(similarities, -1)
        embeddings.append(embedding)
        neighbors.append(similarities.argmax(axis=1))
    full, half = embeddings
    errors = np.linalg.norm(full - half, axis=1) / np.linalg.norm(full, axis=1)
    return {
        "median error": float(np.median(errors)),
        "largest error": float(errors.max()),
        "same neighbor": float((neighbors[0] == neighbors[1]).mean()),
    }


def out_of_memory(backbone, options):
    """Compare a fit for which a GPU has too little memory; the CPU takes micro-batches."""
    n, device = 32 if options.tiny else 2048, resolve_device(options.device)
    X, _ = load_images(options.data, n)
    model = SimCLRTransformer(
        backbone=backbone,
        views=ImageViews(),
        batch_size=n // 2,
        optimizer="sgd",  # AdamW divides small gradients by as small numbers
        max_epochs=2,
        random_state=0,
        device=Device(device, precision="float32"),
    )
    with torch.backends.cudnn.flags(allow_tf32=False):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        whole = copy.deepcopy(model).fit(X)
        if device.type == "cpu":
            parts, ran_out = model.set_params(device__micro_batch_size=n // 8).fit(X), None
        else:
            share = torch.cuda.max_memory_allocated(device) / torch.cuda.mem_get_info(device)[1]
            torch.cuda.set_per_process_memory_fraction(share / 2, device)
            try:
                with warnings.catch_warnings(record=True) as given:
                    warnings.simplefilter("always")
                    parts = model.fit(X)
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0, device)
            ran_out = any("is not enough for batches" in str(w.message) for w in given)
    seconds = [sum(row["dur"] for row in m.history_) for m in (whole, parts)]
    return {
        "ran out": ran_out,
        "loss": difference(whole.loss_curve_, parts.loss_curve_),
        "transform": difference(whole.transform(X), parts.transform(X)),
        "seconds, in parts / whole": seconds[1] / seconds[0],
    }


def cifar10(minutes, options):
    """Accuracy on CIFAR-10 after some minutes of fit."""
    with np.load(options.data / "cifar10.npz") as data:
        X, y, X_test, y_test = (data[f"{v}_{of}"] for of in ("train", "test") for v in "Xy")
    model = SimCLRTransformer(max_time=60 * minutes, random_state=0, device=options.device).fit(X)
    train, test = model.transform(X), model.transform(X_test)
    neighbors = KNNProbe(n_neighbors=min(200, len(y)), temperature=0.1, device=options.device)
    n_images = model.batch_size_ * sum(row["n_steps"] for row in model.history_)
    return {
        "nearest neighbors": neighbors.fit(train, y).score(test, y_test),
        "linear": LinearProbe(device=options.device).fit(train, y).score(test, y_test),
        "epochs": n_images / len(X),
        "images/s": n_images / sum(row["dur"] for row in model.history_),
    }


def all_parts(options):
    """Return each part by its name: about how many seconds it takes, and its function."""
    parts = {
        f"correct, {name}, {kind}": (15, functools.partial(correct, method, kind))
        for name, method in all_methods().items()
        for kind in method.default_views
    }
    parts |= {"step": (90, step), "views": (90, views), "throughput": (150, throughput)}
    parts["bfloat16"] = (30, bfloat16)
    for backbone in dict.fromkeys(["small_vit", options.backbone]):
        take = functools.partial(out_of_memory, backbone)
        parts[f"out of memory, {backbone}"] = (40, take)
    for minutes in options.cifar_minutes if options.data else ():
        take = functools.partial(cifar10, minutes)
        parts[f"CIFAR-10, {minutes:g} min"] = (60 * minutes + 45, take)
    return parts


def problem_of(name, result):
    """Return what is wrong with the result of a part, or None."""
    if "error" in result:
        return f"{name} failed: {result['error']}"
    compared = [key for key in ("views", "loss", "gradients", "transform") if key in result]
    wrong = [key for key in compared if not result[key] < TOLERANCE]
    if name.startswith(("correct", "out of memory")) and wrong:
        return f"{name}: " + ", ".join(f"{key} differs by {result[key]:.2g}" for key in wrong)
    if result.get("ran out") is False:
        return f"{name}: memory was enough"
    return None


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=9.0, help="the command ends before")
    parser.add_argument("--parts", nargs="+", default=[""], help="those whose names begin so")
    parser.add_argument("--again", action="store_true", help="forget what was measured")
    parser.add_argument("--cifar-minutes", nargs="*", type=float, default=[1.0, 3.0, 8.0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="few images, to try the script")
    parser.add_argument("--name", default="gpu", help="name of the JSON file")
    options = parser.parse_args()
    options.deadline = time.perf_counter() + 60 * options.minutes
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.exit(1, "torch finds no GPU. Try the script with --device cpu --tiny.\n")

    path, results = RESULTS / f"{options.name}.json", {}
    if path.exists():
        before = json.loads(path.read_text())
        results, gpu = before["results"], before["machine"].get("gpu")
        if gpu != machine().get("gpu"):
            parser.exit(1, f"{path} is of another machine, with {gpu}. Choose another --name.\n")
    parts = {k: v for k, v in all_parts(options).items() if k.startswith(tuple(options.parts))}
    if options.again:
        results = {name: result for name, result in results.items() if name not in parts}
    settings = {key: getattr(options, key) for key in ("backbone", "device", "tiny")}
    missing, measured = [], 0
    for name, (seconds, take) in parts.items():
        if "error" not in results.get(name, {"error": "not measured"}):
            continue
        left = options.deadline - time.perf_counter()
        if left < seconds and measured:
            missing.append(name)
            continue
        start, measured = time.perf_counter(), measured + 1
        try:
            result = take(options)
        except subprocess.TimeoutExpired:
            missing.append(name)
            continue
        except Exception as error:  # the other parts are measured nevertheless
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"}
        results[name] = result | {"seconds": time.perf_counter() - start}
        print(json.dumps({name: results[name]}), flush=True)
        with contextlib.redirect_stdout(None):
            write(options.name, settings, results)
    found = (problem_of(name, results[name]) for name in parts if name in results)
    problems = [problem for problem in found if problem]
    for problem in problems:
        print(problem)
    print(f"run the same command again: {len(missing)} parts are missing" if missing else "done")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
