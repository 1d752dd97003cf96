"""How well groups are found without labels: ten clusters of digits and of Fashion-MNIST.

    python benchmarks/clustering.py DATA_DIR [--datasets digits] [--seeds 5] [--digits-epochs 30]
        [--rows "DeepCluster, own labels" --add]

The digits are all 1,797 of scikit-learn; DATA_DIR holds fashion_mnist.npz with X_train and y_train,
of which the first 10,000 images are taken. Clusters are found in the images that training saw, and
evaluated on the same images. Labels are used for scoring only.

KMeans has 10 clusters and n_init=10. It clusters raw pixels, principal components (20 of digits, 50
of Fashion-MNIST), and the embeddings of SimCLRTransformer and of DeepClusterEstimator with its
default number of clusters; each image's embedding is first divided by its Euclidean length. "own
labels" are `labels_` of DeepClusterEstimator(n_clusters=10), which needs no KMeans afterwards.

ACC   share of images in the class that their cluster is matched with, one cluster to one class,
      the best of all such matchings (Hungarian method); an unmatched cluster is all errors
NMI   normalized mutual information, arithmetic mean
ARI   adjusted Rand index

Means ± standard deviations over seeds, which are the random_state of all that is random. Seconds
are those until the clusters are there: training, embedding and KMeans.

--rows computes only some rows, and --add leaves the others of the file as they are.

Views are the defaults, but for digits: no flips, since a mirrored digit is another one or none,
crops from half of the area, and rotations up to 15 degrees.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, write
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.preprocessing import normalize

from sklearn_ssl import DeepClusterEstimator, SimCLRTransformer
from sklearn_ssl.views import ImageViews

COMPONENTS = {"digits": 20, "fashion_mnist": 50}
DIGIT_VIEWS = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0))
SCORES = ("ACC", "NMI", "ARI", "seconds")


def accuracy(y, labels):
    """Share of samples in the class that their cluster is matched with."""
    counts = contingency_matrix(y, labels)  # where it is not square, some stay unmatched
    return counts[linear_sum_assignment(counts, maximize=True)].sum() / len(y)


def ways(dataset, epochs, seed, device):
    """Return the functions from images to the labels of their clusters, by name."""
    settings = {"max_epochs": epochs, "random_state": seed, "device": device}
    pair = single = "auto"
    if dataset == "digits":
        pair, single = DIGIT_VIEWS, replace(DIGIT_VIEWS, n_views=1)
    pca = PCA(COMPONENTS[dataset], random_state=seed)
    simclr = SimCLRTransformer(views=pair, **settings)
    many = DeepClusterEstimator(views=single, **settings)
    ten = DeepClusterEstimator(n_clusters=10, views=single, **settings)
    k_means = KMeans(10, n_init=10, random_state=seed).fit_predict

    def pixels(X):
        return X.reshape(len(X), -1).astype(np.float32)

    return {
        "KMeans on raw pixels": lambda X: k_means(pixels(X)),
        f"KMeans on PCA, {pca.n_components}": lambda X: k_means(pca.fit_transform(pixels(X))),
        "KMeans on SimCLR": lambda X: k_means(normalize(simclr.fit(X).transform(X))),
        "KMeans on DeepCluster": lambda X: k_means(normalize(many.fit(X).transform(X))),
        "DeepCluster, own labels": ten.fit_predict,
    }


def row(name, scores):
    """Return a row of the Markdown table."""
    cells = [f"{m:.3f} ± {s:.3f}" for m, s in (scores[score] for score in SCORES[:3])]
    return f"| {name} | {' | '.join(cells)} | {scores['seconds'][0]:.1f} |"


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--datasets", nargs="+", choices=COMPONENTS, default=list(COMPONENTS))
    parser.add_argument("--seeds", type=int, default=5, help="number of runs")
    parser.add_argument("--train", type=int, default=10_000, help="images of Fashion-MNIST")
    parser.add_argument("--digits-epochs", type=int, default=30)
    parser.add_argument("--fashion-epochs", type=int, default=10)
    parser.add_argument("--rows", nargs="+", help="their names; all without it")
    parser.add_argument("--add", action="store_true", help="keep the file's other rows")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="clustering", help="name of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    epochs = {"digits": options.digits_epochs, "fashion_mnist": options.fashion_epochs}

    header = f"| | {' | '.join(SCORES)} |\n{'|---' * (len(SCORES) + 1)}|"
    results, settings = {}, vars(options) | {"data": None}
    if options.add:
        before = json.loads((RESULTS / f"{options.name}.json").read_text())
        results, settings = before["results"], before["settings"] | {"added": settings}
    for dataset in options.datasets:
        if dataset == "digits":
            X, y = load_digits().images, load_digits().target
        else:
            with np.load(options.data / f"{dataset}.npz") as data:
                X, y = data["X_train"][: options.train], data["y_train"][: options.train]
        print(f"\n{dataset}, {len(X)} images\n\n{header}", flush=True)
        results.setdefault(dataset, {})
        for name in options.rows or ways(dataset, epochs[dataset], 0, options.device):
            runs = []
            for seed in range(options.seeds):
                find = ways(dataset, epochs[dataset], seed, options.device)[name]
                start = time.perf_counter()
                labels = find(X)
                seconds = time.perf_counter() - start
                nmi = normalized_mutual_info_score(y, labels)
                ari = adjusted_rand_score(y, labels)
                runs.append((accuracy(y, labels), nmi, ari, seconds))
            means, deviations = np.mean(runs, axis=0).tolist(), np.std(runs, axis=0).tolist()
            scores = dict(zip(SCORES, zip(means, deviations, strict=True), strict=True))
            results[dataset][name] = scores
            print(row(name, scores), flush=True)
        write(options.name, settings, results)
    for dataset, rows in results.items():
        print(f"\n{dataset}\n\n{header}")
        print("\n".join(row(name, scores) for name, scores in rows.items()))


if __name__ == "__main__":
    main()
