"""Time of a training step: in fit, in a bare loop of the same, and of the network alone.

    python benchmarks/step.py [--device cuda] [--backbone resnet18] [--precision bfloat16]

Three things are timed in turn, an epoch each, on random bytes of one size:

fit     the epochs of `SimCLRTransformer.fit`, everything included
bare    a plain loop around the same objective: same batches, views, optimizer and precision
floor   forward, backward and optimizer on two fixed views that lie on the device

All run with the settings of memory that fit has.

The ratios are medians over repetitions of the ratio within a repetition. Goals: fit at most 1.05
times bare, and 1.08 times floor.
"""

import argparse

import numpy as np
from common import batch_maker, compared, interleaved, load_images, now, show, step_maker, write

from sklearn_ssl import Device, SimCLRTransformer
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.isolation import isolated
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl.training.schedule import split
from sklearn_ssl.views import ImageViews

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
X, _ = load_images(None, options.batch_size * options.steps, options.side)
model = SimCLRTransformer(
    backbone=options.backbone,
    device=Device(options.device, precision=options.precision),
    batch_size=options.batch_size,
    views=ImageViews(),  # as large as the images, as the other ways' are
    max_epochs=1,
    random_state=0,
).fit(X)
device = resolve_device(options.device)
make_batch, step = batch_maker(X, device), step_maker(model, device)
fixed = model.views_(make_batch(np.arange(options.batch_size)))


def fit_epoch():
    """Seconds of an epoch as fit itself reports them."""
    return model.fit(X).history_[-1]["dur"]


def bare_epoch():
    """Seconds of an epoch of the plain loop."""
    batches = split(rng.permutation(len(X)), options.batch_size)
    start = now(device)
    for indices in batches:
        step(model.views_(make_batch(indices)))
    return now(device) - start


def floor_epoch():
    """Seconds of as many steps on fixed views."""
    start = now(device)
    for _ in range(options.steps):
        step(fixed)
    return now(device) - start


def step_of(epoch):
    """Return a function that gives the seconds of a step of an epoch."""

    def seconds():
        with isolated(device), untrimmed_heap():
            return epoch() / options.steps

    return seconds


epochs = {"fit": fit_epoch, "bare": bare_epoch, "floor": floor_epoch}
cases = {name: step_of(epoch) for name, epoch in epochs.items()}
seconds = interleaved(cases, options.repetitions, warm_up=2)
results = compared(seconds, [("fit", "bare"), ("fit", "floor")])
settings = vars(options) | {
    "backbone": model.backbone_,
    "device": model.device_,
    "precision": model.precision_,
}
print(settings)
show(results)
write(options.name, settings, results)
