"""Images per second of training SimCLR: in fit, in lightly's documented loop, and of steps alone.

    python benchmarks/train_throughput.py [DATA_DIR] [--backbones small_convnet resnet18]
        [--n-images 5120 768]

DATA_DIR holds cifar10.npz; without it images are random bytes. All train the same backbone, made
for images of 32 pixels, with a head of the same widths, on batches of 256, in float32, with AdamW
of the same settings and views of the same strength:

ours      `SimCLRTransformer.fit`; seconds of an epoch are those in `history_`
heap      the same, with glibc's own way to give memory back in every step (`sklearn_ssl/heap.py`)
lightly   the loop of lightly's documentation: `SimCLRTransform` in 2 workers of a DataLoader,
          `SimCLRProjectionHead`, `NTXentLoss`; the network in torch's default memory format
floor     forward, backward and optimizer of our objective on two fixed views, with the settings of
          memory that fit has

A measurement is a fresh process, so that nothing that one sets changes another; its first epoch
(of floor: its first step) warms up and is not counted. `--n-images` is one number for all backbones
or one for each, rounded down to whole batches.

lightly comes with `pip install -e ".[bench]"`; `--ways ours floor` needs no peer.
"""

import argparse
import functools
import json
import os
from pathlib import Path

import numpy as np
import torch
from common import (
    batch_maker,
    compared,
    in_subprocess,
    interleaved,
    load_images,
    now,
    show,
    step_maker,
    write,
)
from peers import lightly_loader
from torch import nn

from sklearn_ssl import Device, SimCLRTransformer
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl.networks.backbone import make_backbone
from sklearn_ssl.views import ImageViews


def our_estimator(backbone, options, max_epochs):
    """Return the estimator that trains as all are meant to."""
    return SimCLRTransformer(
        backbone=backbone,
        batch_size=options.batch_size,
        views=ImageViews(),  # as large as the images, as lightly's are
        max_epochs=max_epochs,
        device=Device(options.device, precision="float32"),
        random_state=0,
    )


def ours(backbone, X, options):
    """Images per second of fit."""
    model = our_estimator(backbone, options, options.epochs + 1).fit(X)
    return options.epochs * len(X) / sum(row["dur"] for row in model.history_[1:])


def heap(backbone, X, options):
    """Images per second of fit where the environment sets up glibc, if only to its default."""
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=7"
    return ours(backbone, X, options)


def lightly(backbone, X, options):
    """Images per second of lightly's loop."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    device = resolve_device(options.device)
    encoder = make_backbone(backbone, (3, *X.shape[1:3]))
    with torch.no_grad():
        n_features = encoder.eval()(torch.zeros(2, 3, *X.shape[1:3])).shape[1]
    head = SimCLRProjectionHead(n_features, 512, 128)
    model = nn.Sequential(encoder, nn.Flatten(), head).to(device).train()
    criterion = NTXentLoss(temperature=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    loader = lightly_loader(X, options.batch_size, options.workers)
    seconds = 0.0
    for epoch in range(options.epochs + 1):
        start = now(device)
        total_loss = 0.0
        for x0, x1 in loader:
            z0, z1 = model(x0.to(device)), model(x1.to(device))
            loss = criterion(z0, z1)
            total_loss += loss.detach()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if epoch > 0:
            seconds += now(device) - start
    return options.epochs * len(X) / seconds


def floor(backbone, X, options):
    """Images per second of steps on fixed views, as many as the others take in an epoch."""
    device = resolve_device(options.device)
    model = our_estimator(backbone, options, 1).fit(X[: options.batch_size])
    batch = batch_maker(X, device)(np.arange(options.batch_size))
    views, step = model.views_(batch), step_maker(model, device)
    n_steps = len(X) // options.batch_size
    with untrimmed_heap():
        step(views)
        start = now(device)
        for _ in range(n_steps):
            step(views)
        return n_steps * options.batch_size / (now(device) - start)


WAYS = {"ours": ours, "heap": heap, "lightly": lightly, "floor": floor}


def main():
    """Run the benchmark, or one case of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--backbones", nargs="+", default=["small_convnet", "resnet18"])
    parser.add_argument("--n-images", nargs="+", type=int, default=[5120, 768])
    parser.add_argument("--epochs", type=int, default=1, help="that are timed")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2, help="of lightly's DataLoader")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="train_throughput", help="name of the JSON file")
    parser.add_argument("--case", help="a way and a backbone: measure only them, in this process")
    options = parser.parse_args()
    counts = options.n_images * (len(options.backbones) if len(options.n_images) == 1 else 1)
    n_images = dict(zip(options.backbones, counts, strict=True))
    if options.case:
        way, backbone = options.case.split()
        n_batches = n_images[backbone] // options.batch_size
        X, _ = load_images(options.data, n_batches * options.batch_size)
        print(json.dumps(WAYS[way](backbone, X, options)))
        return

    results, others = {}, [way for way in options.ways if way != "ours"]
    for backbone in options.backbones:
        cases = {way: functools.partial(in_subprocess, f"{way} {backbone}") for way in options.ways}
        measured = interleaved(cases, options.repetitions)
        results[backbone] = compared(measured, [("ours", way) for way in others])
        show({backbone: results[backbone]})
    images = "CIFAR-10" if options.data else "random bytes"
    write(options.name, vars(options) | {"data": images}, results)


if __name__ == "__main__":
    main()
