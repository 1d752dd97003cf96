"""Images per second of transform, of a plain forward pass, and of the network alone.

    python benchmarks/embed.py [DATA_DIR] [--networks small_convnet-32 resnet18-32 resnet18-160]
        [--n-images 16384 512 256]

DATA_DIR holds cifar10.npz; its images are enlarged for the larger side. Without it images are
random bytes. The estimator is fitted for an epoch on a few of them. Timed are, on the same images:

transform   `transform` of the fitted estimator, from bytes to an array
plain       the usual loop, from bytes to an array: batches of 256, contiguous float32, the encoder
            in evaluation mode and torch's default memory format, inference mode; in a process in
            which nothing of ours has changed how memory is given back (`sklearn_ssl/heap.py`)
folded      the network alone: batch norms folded into the convolutions, channels last, on batches
            that lie in memory as normalized floats, with the settings of memory of transform

All compute in float32.

"difference" is the largest absolute difference of an embedding from that of plain, as a share of
the largest absolute value of plain. `--n-images` is one number for all networks or one for each.
A measurement is a fresh process, so that nothing that one sets changes another; its first pass
warms up and is not counted.
"""

import argparse
import copy
import functools
import json
import os
from pathlib import Path

import numpy as np
import torch
from common import compared, in_subprocess, interleaved, load_images, now, show, write
from torch.fx.experimental.optimization import fuse

from sklearn_ssl import Device, SimCLRTransformer
from sklearn_ssl._runtime.device import resolve_device
from sklearn_ssl._runtime.malloc import untrimmed_heap

BATCH = 256


def plain_pass(model, X, device):
    """Return a function that embeds X by a plain forward pass."""
    encoder = copy.deepcopy(model.encoder_).eval()
    encoder = encoder.to(device, memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def embed():
        parts = []
        for start in range(0, len(X), BATCH):
            batch = torch.from_numpy(X[start : start + BATCH]).to(device)
            batch = batch.permute(0, 3, 1, 2).contiguous().float().div_(255)
            parts.append(encoder(batch).cpu())
        return torch.cat(parts).numpy()

    return embed


def folded_pass(model, X, device):
    """Return a function that runs the network, with its batch norms folded, on resident batches."""
    encoder = copy.deepcopy(model.encoder_).to(device).eval()
    network = fuse(encoder.backbone).to(memory_format=torch.channels_last)
    batches = []
    for start in range(0, len(X), BATCH):
        batch = torch.from_numpy(X[start : start + BATCH]).to(device).permute(0, 3, 1, 2)
        batch = (batch.float() / 255 - encoder.mean) / encoder.std
        batches.append(batch.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def embed():
        with untrimmed_heap():
            return torch.cat([network(batch).cpu() for batch in batches]).numpy()

    return embed


def measure(case, options):
    """Return images per second of one way with one network, and its difference from plain."""
    way, network, n_images = case.split()
    backbone, side = network.rsplit("-", 1)
    device = resolve_device(options.device)
    X, _ = load_images(options.data, int(n_images), int(side))
    if way == "plain":  # glibc's own default, with which ours are not set
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=7"
    few = {"backbone": backbone, "batch_size": 16, "max_epochs": 1, "random_state": 0}
    model = SimCLRTransformer(
        device=Device(device, precision="float32"), flip_tta=False, **few
    ).fit(X[:64])
    plain = plain_pass(model, X, device)
    ways = {"plain": plain, "folded": folded_pass(model, X, device)}
    embed = {"transform": functools.partial(model.transform, X), **ways}[way]
    embed()
    start = now(device)
    embedded = embed()
    rate = len(X) / (now(device) - start)
    expected = plain()
    return rate, float(np.abs(embedded - expected).max() / np.abs(expected).max())


def main():
    """Run the benchmark."""
    networks = ["small_convnet-32", "resnet18-32", "resnet18-160"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--networks", nargs="+", default=networks, help="backbone-side")
    parser.add_argument("--n-images", nargs="+", type=int, default=[16384, 512, 256])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="embed", help="name of the JSON file")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options)))
        return

    results = {}
    counts = options.n_images * (len(options.networks) if len(options.n_images) == 1 else 1)
    for network, n_images in zip(options.networks, counts, strict=True):
        cases = {
            way: functools.partial(in_subprocess, f"{way} {network} {n_images}")
            for way in ("transform", "plain", "folded")
        }
        measured = interleaved(cases, options.repetitions)
        rates = {way: [rate for rate, _ in pairs] for way, pairs in measured.items()}
        found = compared(rates, [("transform", "plain"), ("folded", "transform")])
        for way in ("transform", "folded"):
            found[f"difference, {way}"] = max(difference for _, difference in measured[way])
        results[network] = found
        show({network: found})
    images = "CIFAR-10" if options.data else "random bytes"
    device = str(resolve_device(options.device))
    write(options.name, vars(options) | {"data": images, "device": device}, results)


if __name__ == "__main__":
    main()
