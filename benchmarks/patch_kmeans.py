"""Patch k-means: seconds of fit and transform, and accuracy of its features.

    python benchmarks/patch_kmeans.py DATA_DIR [--train 10000] [--few 500] [--without-accuracy]

DATA_DIR holds cifar10.npz with X_train, y_train, X_test and y_test. Both ways learn 800 centroids
from 100,000 patches of the first --train training images. Timed, in turns, are:

fit         ours, and the usual way: patches gathered by indexing, whitening by an
            eigendecomposition, and scikit-learn's KMeans with k-means++ and 10 iterations
transform   ours, of all training images and of the first --few; the usual way of the first --few
            alone, with the same centroids: patches of a sliding window, normalized by NumPy and
            whitened, then KMeans.transform and the mean of each quadrant, of one image after the
            other, which keeps what is computed in the cache, and of 100 at once

"difference" is the largest one between both ways' features. Then linear probe and 20 neighbors of
quality.py, with all labels, are evaluated on the full test set, on features that StandardScaler has
given mean 0 and variance 1 each; the neighbors also on features as they are. "usual centroids"
are the features of ours with what the usual fit learned.
"""

import argparse
import copy
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import compared, interleaved, show, write
from quality import linear_probe, neighbors
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from sklearn_ssl import PatchKMeansTransformer

SIZE, N_PATCHES, POOL = 6, 100_000, 2


def normalized(patches):
    """Return patches of bytes, (n, values), minus their mean and divided by their deviation."""
    patches = patches.astype(np.float32)
    patches -= patches.mean(axis=1, keepdims=True)
    return patches / np.sqrt(patches.var(axis=1, keepdims=True) + 10)


def usual_fit(X, n_centroids, seed=0):
    """Return whitening and k-means of random patches."""
    rng = np.random.default_rng(seed)
    n_down, n_across = (side - SIZE + 1 for side in X.shape[1:3])
    image = rng.integers(len(X), size=N_PATCHES)[:, None, None]
    down = rng.integers(n_down, size=N_PATCHES)[:, None, None] + np.arange(SIZE)[:, None]
    across = rng.integers(n_across, size=N_PATCHES)[:, None, None] + np.arange(SIZE)
    patches = X[image, down, across].transpose(0, 3, 1, 2)
    patches = normalized(patches.reshape(N_PATCHES, -1))
    variances, axes = np.linalg.eigh(np.cov(patches.T))
    whitening = ((axes / np.sqrt(variances + 0.1)) @ axes.T).astype(np.float32)
    kmeans = KMeans(n_centroids, n_init=1, max_iter=10, random_state=seed)
    return whitening, kmeans.fit(patches @ whitening)


def usual_transform(X, whitening, kmeans, batch=1):
    """Return the features of images, a batch after the other."""
    features = []
    for start in range(0, len(X), batch):
        images = X[start : start + batch]
        windows = np.lib.stride_tricks.sliding_window_view(images, (SIZE, SIZE), axis=(1, 2))
        places = windows.shape[:3]  # (n, down, across)
        patches = normalized(windows.reshape(np.prod(places), -1))
        distances = kmeans.transform(patches @ whitening)
        near = np.maximum(0, distances.mean(axis=1, keepdims=True) - distances)
        parts = [
            part.mean(axis=(1, 2))
            for strip in np.array_split(near.reshape(*places, -1), POOL, axis=1)
            for part in np.array_split(strip, POOL, axis=2)
        ]
        features.append(np.concatenate(parts, axis=1))
    return np.concatenate(features)


def timed(function, keep):
    """Call a function, keep what it returns in a list, and return the seconds it took."""
    start = time.perf_counter()
    keep[:] = [function()]
    return time.perf_counter() - start


def accuracies(model, data, n_train):
    """Return the accuracies of probes on the features of a fitted estimator."""
    y, y_test = data["y_train"][:n_train], data["y_test"]
    features, test = model.transform(data["X_train"][:n_train]), model.transform(data["X_test"])
    found = {"20 neighbors, features as they are": neighbors(features, y, test, y_test)}
    scaler = StandardScaler().fit(features)
    features, test = scaler.transform(features), scaler.transform(test)
    found["20 neighbors, standardized"] = neighbors(features, y, test, y_test)
    found["linear, standardized"] = linear_probe(features, y, test, y_test)
    return found


def main():
    """Run the benchmark."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", type=int, default=10_000, help="number of training images")
    parser.add_argument("--few", type=int, default=500, help="number for the slow way")
    parser.add_argument("--centroids", type=int, default=800)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--without-accuracy", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="patch_kmeans", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    with np.load(options.data / "cifar10.npz") as file:
        data = dict(file)
    X, few = data["X_train"][: options.train], data["X_train"][: options.few]
    model = PatchKMeansTransformer(
        n_centroids=options.centroids, random_state=0, device=options.device
    )
    ours, usual, found, expected = [], [], [], []
    fits = {
        "fit, ours": lambda: timed(lambda: model.fit(X), ours),
        "fit, usual": lambda: timed(lambda: usual_fit(X, options.centroids), usual),
    }
    results = compared(interleaved(fits, options.repetitions), [("fit, usual", "fit, ours")])
    whitening, kmeans = usual[0]
    same = copy.deepcopy(kmeans)
    same.cluster_centers_ = model.centroids_
    transforms = {
        "transform, ours": lambda: timed(lambda: model.transform(few), found),
        "transform, usual": lambda: timed(
            lambda: usual_transform(few, model.whitening_, same), expected
        ),
        "transform, usual, 100 at once": lambda: timed(
            lambda: usual_transform(few, model.whitening_, same, 100), []
        ),
        f"transform, ours, {len(X)} images": lambda: timed(lambda: model.transform(X), []),
    }
    pairs = [(name, "transform, ours") for name in list(transforms)[1:3]]
    results |= compared(interleaved(transforms, options.repetitions), pairs)
    results["difference"] = float(np.abs(found[0] - expected[0]).max())
    show(results)
    if not options.without_accuracy:
        results["ours"] = accuracies(model, data, len(X))
        model.whitening_, model.centroids_ = whitening, kmeans.cluster_centers_
        results["usual centroids"] = accuracies(model, data, len(X))
        show({name: results[name] for name in ("ours", "usual centroids")})
    write(options.name, vars(options) | {"data": "CIFAR-10"}, results)


if __name__ == "__main__":
    main()
