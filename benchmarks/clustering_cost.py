"""What clustering costs in an epoch of DeepClusterEstimator, and what other k-means would cost.

    python benchmarks/clustering_cost.py DATA_DIR [--train 50000] [--clusters 1000] [--epochs 2]

DATA_DIR holds cifar10.npz with X_train. An epoch of a fit on its first images, with default
parameters but for the number of clusters, is divided in three:

features     the features of all images, without views
clustering   PCA, whitening, k-means, assignment of all images, and splitting of empty clusters
training     what is left: the steps, with their views

The clustering after the last epoch, which gives `labels_`, is in no epoch and has a row of its own.

Then the trained features of all images, as whitened principal components on the unit sphere, are
clustered in several ways, in turn, once for each seed. The library's own is KMeans with at most 20
iterations, from random samples for more than 256 clusters and else from k-means++. Seconds are
those of k-means and of the assignment of all images to the nearest center; inertia is the sum of
all their squared distances to it. Medians over seeds, with the quartiles of the seconds.
"""

import argparse
import statistics
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from common import spread, write
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.preprocessing import normalize

from sklearn_ssl import DeepClusterEstimator
from sklearn_ssl.methods.clustering import deepcluster
from sklearn_ssl.methods.clustering._feature_clustering import FeatureClustering

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("data", type=Path)
parser.add_argument("--train", type=int, default=50_000, help="number of training images")
parser.add_argument("--clusters", type=int, default=1000)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--repetitions", type=int, default=3, help="of each k-means, at least 2")
parser.add_argument("--device", default="auto")
parser.add_argument("--name", default="clustering_cost", help="name of the JSON file")
options = parser.parse_args()
with np.load(options.data / "cifar10.npz") as data:
    X = data["X_train"][: options.train]
passes = {"features": [], "clustering": []}  # seconds of each


def timed(name, function):
    """Return a function that notes the seconds of each of its calls."""

    def wrapped(*args, **kwargs):
        start = time.perf_counter()
        result = function(*args, **kwargs)
        passes[name].append(time.perf_counter() - start)
        return result

    return wrapped


class TimedObjective(deepcluster.DeepClusterObjective):
    """The library's objective, which records how long features take."""

    def plan_epoch(self, embed, rng):
        """Cluster all samples."""
        return super().plan_epoch(timed("features", embed), rng)

    def after_training(self, embed, rng, unfinished):
        """Cluster all samples a last time."""
        super().after_training(timed("features", embed), rng, unfinished)


settings = {"max_epochs": options.epochs, "device": options.device, "random_state": 0}
model = DeepClusterEstimator(n_clusters=options.clusters, **settings)
clustering = patch.object(FeatureClustering, "fit", timed("clustering", FeatureClustering.fit))
with clustering, patch.object(deepcluster, "DeepClusterObjective", TimedObjective):
    model.fit(X)
print("| epoch | features | clustering | training | all | share of features and clustering |")
print("|---|---|---|---|---|---|")
epochs = []
for epoch, row in enumerate(model.history_):
    parts = {name: seconds[epoch] for name, seconds in passes.items()}
    parts["training"] = row["dur"] - sum(parts.values())
    shares = {name: seconds / row["dur"] for name, seconds in parts.items()}
    epochs.append({"seconds": parts | {"all": row["dur"]}, "shares": shares})
    cells = " | ".join(f"{seconds:.1f} s" for seconds in epochs[-1]["seconds"].values())
    print(f"| {epoch + 1} | {cells} | {shares['features']:.1%} + {shares['clustering']:.1%} |")
last = {name: seconds[-1] for name, seconds in passes.items()}
print(f"| afterwards | {last['features']:.1f} s | {last['clustering']:.1f} s | | | |", flush=True)

n_components = model.cluster_centers_.shape[1]
pca = PCA(n_components, whiten=True, random_state=0)
points = normalize(pca.fit_transform(model.transform(X)))
some = np.random.default_rng(0).choice(len(points), len(points) // 5, replace=False)
full = {"n_clusters": options.clusters, "n_init": 1, "max_iter": 20}
mini = full | {"max_iter": 3, "batch_size": 4096}
ways = {
    "KMeans, random": (KMeans(init="random", **full), points),
    "KMeans, k-means++": (KMeans(init="k-means++", **full), points),
    "MiniBatchKMeans, random": (MiniBatchKMeans(init="random", **mini), points),
    "KMeans, random, on a fifth": (KMeans(init="random", **full), points[some]),
}
runs = {name: {"seconds": [], "inertia": [], "empty": [], "largest": []} for name in ways}
for seed in range(options.repetitions):
    for name, (k_means, seen) in ways.items():
        start = time.perf_counter()
        centers = k_means.set_params(random_state=seed).fit(seen).cluster_centers_
        labels, distances = pairwise_distances_argmin_min(points, centers)
        seconds = time.perf_counter() - start
        sizes = np.bincount(labels, minlength=len(centers))
        found = (seconds, float(distances @ distances), int((sizes == 0).sum()), int(sizes.max()))
        for values, value in zip(runs[name].values(), found, strict=True):
            values.append(value)
alternatives = {}
print("\n| | seconds | inertia | empty clusters | largest cluster |\n|---|---|---|---|---|")
for name, run in runs.items():
    alternatives[name] = {key: statistics.median(values) for key, values in run.items()}
    alternatives[name]["seconds"] = spread(run["seconds"])
    middle, (low, high), _ = alternatives[name]["seconds"].values()
    cells = [f"{middle:.2f} ({low:.2f} to {high:.2f})"]
    cells += [f"{alternatives[name][key]:.6g}" for key in ("inertia", "empty", "largest")]
    print(f"| {name} | {' | '.join(cells)} |")
resolved = ("backbone_", "device_", "precision_", "batch_size_")
settings = vars(options) | {name.rstrip("_"): getattr(model, name) for name in resolved}
settings |= {"data": None, "components": n_components}
write(options.name, settings, {"epochs": epochs, "afterwards": last, "alternatives": alternatives})
