"""Images per second of making two SimCLR views: ours, lightly's, kornia's and torchvision's.

    python benchmarks/views.py [DATA_DIR] [--sides 32 96 160 224] [--batch-sizes 256]
        [--device cuda]

DATA_DIR holds cifar10.npz; its images are enlarged for the larger sides. Without it images are
random bytes. All ways begin with bytes of shape (n, h, w, 3) in memory and end with two float
views, in [0, 1], of every image: crops of 0.2 to 1 of the area, flips, changes of color (0.4, 0.4,
0.4, 0.1, with probability 0.8), gray (0.2) and, above 32 pixels, blur (0.5, with a standard
deviation of 0.1 to 2 pixels).

ours          `ImageViews()` on batches that are made of the bytes as in fit, with its settings of
              memory
lightly       `SimCLRTransform`, without its normalization, on Pillow's images that are made
              beforehand, in 2 workers of a DataLoader that are started beforehand
kornia        the same augmentations for batches, one draw an image, twice
torchvision   transforms.v2 on whole batches of bytes, twice: one draw for all images of a batch,
              so its views are weaker, and much of the work is left out by chance

A measurement is as many passes over `--batches` batches as take `--seconds`, at least one; a first
one warms up. The batches of a pass are a multiple of the workers, so that none waits for the other
at its end. `--batch-sizes` is one number for all sides or one for each. On another device lightly's
views are moved there.

The last group compares the seconds that our views take for 256 images of 32 pixels with those of
a training step on them, forward, backward and optimizer of a ResNet-18 (`--step-repetitions 0`
leaves it out).

The peers come with `pip install -e ".[bench]"`; `--ways ours torchvision` needs none.
"""

import argparse
import contextlib
from pathlib import Path

import numpy as np
from common import (
    batch_maker,
    compared,
    interleaved,
    load_images,
    now,
    show,
    step_maker,
    write,
)
from peers import kornia_views, lightly_loader, torchvision_views

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl.views import ImageViews


def our_views(X, device):
    """Return a function from indices of X to two views by ImageViews."""
    make_batch, views = batch_maker(X, device), ImageViews()
    return lambda indices: views(make_batch(indices))


WAYS = {"ours": our_views, "kornia": kornia_views, "torchvision": torchvision_views}


def images_per_second(way, X, batch_size, options):
    """Return a function that makes two views of all images and returns their number per second."""
    device = resolve_device(options.device)
    if way == "lightly":
        loader = lightly_loader(X, batch_size, options.workers, normalize=None)

        def make_all():
            for views in loader:
                for view in views:
                    view.to(device)
    else:
        make_views = WAYS[way](X, device)
        batches = np.random.default_rng(0).permutation(len(X)).reshape(-1, batch_size)

        def make_all():
            with untrimmed_heap() if way == "ours" else contextlib.nullcontext():
                for indices in batches:
                    make_views(indices)

    def measure():
        start, n_images, seconds = now(device), 0, 0.0
        while n_images == 0 or seconds < options.seconds:
            make_all()
            n_images, seconds = n_images + len(X), now(device) - start
        return n_images / seconds

    return measure


def beside_a_step(options):
    """Compare the seconds of two views of 256 images with those of a ResNet-18's step on them."""
    X, _ = load_images(options.data, 4 * 256)
    settings = {"backbone": "resnet18", "batch_size": 256, "max_epochs": 1, "random_state": 0}
    model = SimCLRTransformer(device=options.device, **settings).fit(X[:256])
    device = resolve_device(options.device)
    rate = images_per_second("ours", X, 256, options)
    step, fixed = step_maker(model, device), our_views(X, device)(np.arange(256))

    def step_seconds():
        with untrimmed_heap():
            start = now(device)
            step(fixed)
            return now(device) - start

    cases = {"views": lambda: 256 / rate(), "step": step_seconds}
    return compared(interleaved(cases, options.step_repetitions, 1), [("views", "step")])


def main():
    """Run the benchmark."""
    ways = ["ours", "lightly", "kornia", "torchvision"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways)
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 96, 160, 224])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[256])
    parser.add_argument("--batches", type=int, default=4, help="in a pass")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a measurement")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--step-repetitions", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="views", help="name of the JSON file")
    options = parser.parse_args()

    results, others = {}, [way for way in options.ways if way != "ours"]
    sizes = options.batch_sizes * (len(options.sides) if len(options.batch_sizes) == 1 else 1)
    for side, size in zip(options.sides, sizes, strict=True):
        X, _ = load_images(options.data, size * options.batches, side)
        cases = {way: images_per_second(way, X, size, options) for way in options.ways}
        measured = interleaved(cases, options.repetitions, warm_up=1)
        results[f"{side} px"] = compared(measured, [("ours", way) for way in others])
        show({f"{side} px": results[f"{side} px"]})
        del cases  # and with them lightly's workers
    if options.step_repetitions:
        results["resnet18 step, 32 px"] = beside_a_step(options)
        show({"resnet18 step, 32 px": results["resnet18 step, 32 px"]})
    images = "CIFAR-10" if options.data else "random bytes"
    write(options.name, vars(options) | {"data": images}, results)


if __name__ == "__main__":
    main()
