"""Time of a training step: in fit, in a bare loop of the same, and of the network alone.

    python benchmarks/step.py [--device cuda] [--backbone resnet18] [--precision bfloat16]

Three things are timed in turn, an epoch each, on random bytes of one size:

fit     the epochs of `SimCLRTransformer.fit`, everything included
bare    a plain loop around the same objective: same batches, views, optimizer and precision
floor   forward, backward and optimizer on two fixed views that lie on the device

The ratios are medians over repetitions of the ratio within a repetition. Goal: fit at most 1.05
times bare.
"""

import argparse
import copy
import statistics
import time

import numpy as np
import torch
from common import spread, write

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.engine import PRECISIONS, epoch_batches, isolated, resolve_device
from sklearn_ssl.inputs import ArraySource, learn_scaling
from sklearn_ssl.optimizers import make_optimizer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--device", default="auto")
parser.add_argument("--backbone", default="auto")
parser.add_argument("--precision", default="auto")
parser.add_argument("--batch-size", type=int, default=256)
parser.add_argument("--side", type=int, default=32)
parser.add_argument("--steps", type=int, default=10, help="steps in an epoch")
parser.add_argument("--repetitions", type=int, default=15)
parser.add_argument("--name", default="step", help="name of the JSON file")
options = parser.parse_args()

rng = np.random.default_rng(0)
shape = (options.batch_size * options.steps, options.side, options.side, 3)
X = rng.integers(0, 256, shape, np.uint8)
model = SimCLRTransformer(
    backbone=options.backbone,
    device=options.device,
    precision=options.precision,
    batch_size=options.batch_size,
    max_epochs=1,
    random_state=0,
).fit(X)
device = resolve_device(options.device)


def synchronized():
    """Return the time, with nothing left to do on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def fit_epoch():
    """Seconds of an epoch as fit itself reports them."""
    return model.fit(X).history_[-1]["dur"]


source = ArraySource(X, X.shape[1:], 2)
scale = learn_scaling(source).on(device)
objective = copy.deepcopy(model._objective).to(device).train()
optimizer = make_optimizer("adamw", objective.parameters(), model.lr_, model.weight_decay_)
autocast = torch.autocast(
    device.type, PRECISIONS[model.precision_], enabled=model.precision_ != "float32"
)


def step(views):
    """One step of the objective."""
    with autocast:
        loss = objective(views)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def bare_epoch():
    """Seconds of an epoch of the plain loop."""
    batches = epoch_batches(len(X), options.batch_size, 0, 0)
    start = synchronized()
    for indices in batches:
        step(model.views_(scale(source.batch(indices, device))))
    return synchronized() - start


fixed = model.views_(scale(source.batch(np.arange(options.batch_size), device)))


def floor_epoch():
    """Seconds of as many steps on fixed views."""
    start = synchronized()
    for _ in range(options.steps):
        step(fixed)
    return synchronized() - start


epochs = {"fit": fit_epoch, "bare": bare_epoch, "floor": floor_epoch}
seconds = {name: [] for name in epochs}
for repetition in range(options.repetitions + 2):  # two to warm up
    for name in sorted(epochs, key=lambda _: rng.random()):
        with isolated(device):
            taken = epochs[name]() / options.steps
        if repetition > 1:
            seconds[name].append(taken)
results = {name: spread(values) for name, values in seconds.items()}
for other in ("bare", "floor"):
    results[f"fit / {other}"] = statistics.median(
        a / b for a, b in zip(seconds["fit"], seconds[other], strict=True)
    )
settings = vars(options) | {
    "backbone": model.backbone_,
    "device": model.device_,
    "precision": model.precision_,
}
print(settings)
for name, result in results.items():
    if isinstance(result, dict):
        low, high = result["quartiles"]
        print(f"{name:6} {1e3 * result['median']:8.2f} ms ({1e3 * low:.2f} to {1e3 * high:.2f})")
    else:
        print(f"{name:12} {result:.3f}")
write(options.name, settings, results)
