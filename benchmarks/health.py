"""Which fits are warned of: those that were made to collapse, and healthy ones.

    python benchmarks/health.py [DATA_DIR] [--seeds 5] [--n-images 500] [--only provoked]

Provoked: 400 of scikit-learn's digits, with whatever makes training collapse (``PROVOKED``). In how
many of the fits the expected warning came, and what else was said.

Healthy: default parameters, 60 epochs, of each method on scikit-learn's digits (all 1,797) and its
breast cancer rows (569), and on the first --n-images images of Fashion-MNIST and CIFAR-10, which
DATA_DIR holds as fashion_mnist.npz and cifar10.npz. How often which warning came, and the figures
that warnings look at, nearest to a warning over all seeds and the second half of the epochs.
"""

import argparse
import re
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from common import write
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn.functional import normalize

from sklearn_ssl import (
    BarlowTwinsTransformer,
    BYOLTransformer,
    Data2VecTransformer,
    DeepClusterEstimator,
    DeepClusterV2Estimator,
    DINOTransformer,
    EMPSSLTransformer,
    FroSSLTransformer,
    HypersphereTransformer,
    IBOTTransformer,
    IJEPATransformer,
    JigsawTransformer,
    LeJEPATransformer,
    MoCoTransformer,
    MSNTransformer,
    RotationTransformer,
    SCANEstimator,
    SimCLRTransformer,
    SimSiamTransformer,
    SwAVTransformer,
    TiCoTransformer,
    VICRegTransformer,
    VISRegTransformer,
)
from sklearn_ssl.discovery import all_methods
from sklearn_ssl.training.objective import Objective

# How each warning begins.
CAUSES = {
    "collapse": "The embedding collapsed",
    "dimensions": "Dimensional collapse",
    "chance": "The loss is near chance level",
    "skipped": r"\d+ of the \d+ steps",
    "not finite": "The loss became",
    "uniform": r"\w+ collapsed to uniform",
    "one prototype": r"\w+ collapsed to one prototype",
    "empty clusters": "k-means left",
    "dominating cluster": "One of",
}


class Attraction(Objective):
    """Views of a sample attract each other; nothing keeps samples apart, not even a batch norm."""

    def __init__(self, encoder, n_features):
        super().__init__(encoder)
        self.project = nn.Sequential(nn.Linear(n_features, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, views):
        """Return the loss, as that of SimSiam without predictor and stop-gradient."""
        z1, z2 = (self.project(self.encoder(view)) for view in views)
        return {"loss": -(normalize(z1) * normalize(z2)).sum(dim=1).mean(), "embedding": z1}


class Variance(Attraction):
    """Views attract each other, and every dimension has to vary, were it as all others do."""

    def forward(self, views):
        """Return the loss, as that of VICReg without its covariance."""
        z1, z2 = (self.project(self.encoder(view)) for view in views)
        flat = sum((1 - z.std(dim=0)).clamp_min(0).mean() for z in (z1, z2))
        return {"loss": (z1 - z2).square().mean() + flat, "embedding": z1}


class AttractionTransformer(SimCLRTransformer):
    """Made to collapse."""

    def _make_objective(self, encoder, n_features, training):
        return Attraction(encoder, n_features)


class VarianceTransformer(SimCLRTransformer):
    """Made to lose its dimensions."""

    def _make_objective(self, encoder, n_features, training):
        return Variance(encoder, n_features)


class WithoutPredictor:
    """Mixin that makes methods collapse that predict a view from another one."""

    def _predictor(self, dim, training):
        predictor = super()._predictor(dim, training)
        predictor.layers = nn.Identity()
        return predictor


class SimSiamWithoutPredictor(WithoutPredictor, SimSiamTransformer):
    """Made to collapse."""


class BYOLWithoutPredictor(WithoutPredictor, BYOLTransformer):
    """Made to collapse."""


def noise(batch):
    """Return two views that show nothing of their samples."""
    return [torch.rand_like(batch), torch.rand_like(batch)]


def with_equal(X):
    """Return samples of which four fifths are the same."""
    return np.concatenate([np.repeat(X[:1], 320, axis=0), X[:80]])


CENTERED = {"centering": "softmax"}  # Sinkhorn prevents both collapses
BOTTLENECK = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Linear(1, 16))
# What goes wrong: the expected cause, the method, its parameters, and what becomes of X.
PROVOKED = {
    "no stop-gradient": ("collapse", AttractionTransformer, {}, None),
    "no covariance": ("dimensions", VarianceTransformer, {"max_epochs": 40}, None),
    "bottleneck of one": ("dimensions", RotationTransformer, {"backbone": BOTTLENECK}, None),
    "SimCLR, lr=100": ("chance", SimCLRTransformer, {"lr": 100.0}, None),
    "SimCLR, SGD, lr=1e6": ("not finite", SimCLRTransformer, {"lr": 1e6, "optimizer": "sgd"}, None),
    "SimCLR, views of noise": ("chance", SimCLRTransformer, {"views": noise}, None),
    "Rotation, lr=10": ("chance", RotationTransformer, {"lr": 10.0}, None),
    "Rotation, images of noise": (
        *("chance", RotationTransformer, {}),
        lambda X: np.random.default_rng(0).random(X.shape),
    ),
    "DINO, no centering": (
        *("one prototype", DINOTransformer),
        CENTERED | {"center_momentum": 0.99999, "n_prototypes": 512},
        None,
    ),
    "DINO, teacher as flat as student": (
        *("uniform", DINOTransformer),
        CENTERED | {"teacher_temperature": 0.1, "final_teacher_temperature": 0.1},
        None,
    ),
    "DINO, published temperatures": (
        *("uniform", DINOTransformer),
        CENTERED | {"teacher_temperature": 0.04, "final_teacher_temperature": 0.07},
        None,
    ),
    "DeepCluster, ten images": (
        *("empty clusters", DeepClusterEstimator, {"n_clusters": 50}),
        lambda X: np.tile(X[:10], (40, 1, 1)),
    ),
    "DeepCluster, equal images": (
        *("dominating cluster", DeepClusterEstimator, {"n_clusters": 10}),
        with_equal,
    ),
    "DeepCluster, lr=10": ("chance", DeepClusterEstimator, {"lr": 10.0}, None),
    "SimSiam, no predictor": ("dimensions", SimSiamWithoutPredictor, {"max_epochs": 60}, None),
    "BYOL, no predictor, no teacher": (
        *("dimensions", BYOLWithoutPredictor, {"momentum": 0.0, "max_epochs": 60}),
        None,
    ),
    "TiCo, no covariance": ("collapse", TiCoTransformer, {"rho": 0.0}, None),
    "Hypersphere, no uniformity": (
        *("collapse", HypersphereTransformer, {"uniformity_weight": 0.0}),
        None,
    ),
    "VICReg, no variance and covariance": (
        *("collapse", VICRegTransformer, {"variance_weight": 0.0, "covariance_weight": 0.0}),
        None,
    ),
    "VICReg, no covariance": (
        *("dimensions", VICRegTransformer, {"covariance_weight": 0.0, "max_epochs": 40}),
        None,
    ),
    "Barlow Twins, no redundancy term": (
        *("dimensions", BarlowTwinsTransformer, {"redundancy_weight": 0.0, "max_epochs": 40}),
        None,
    ),
    "LeJEPA, no SIGReg": ("collapse", LeJEPATransformer, {"sigreg_weight": 0.0}, None),
    "VISReg, no regularization": (
        *("collapse", VISRegTransformer, {"regularization_weight": 0.0}),
        None,
    ),
    "EMP-SSL, invariance only": (
        *("collapse", EMPSSLTransformer, {"invariance_weight": 1e6}),
        None,
    ),
    "FroSSL, invariance only": ("collapse", FroSSLTransformer, {"invariance_weight": 1e6}, None),
    "MoCo, temperature of 100": ("chance", MoCoTransformer, {"temperature": 100.0}, None),
    "SwAV, flat assignments": ("chance", SwAVTransformer, {"epsilon": 10.0}, None),
    "DeepCluster v2, views of noise": ("chance", DeepClusterV2Estimator, {"views": noise}, None),
    "SCAN, no entropy": ("dimensions", SCANEstimator, {"entropy_weight": 0.0}, None),
    "iBOT, teacher as flat as student": (
        *("uniform", IBOTTransformer),
        {"centering": "softmax", "teacher_temperature": 0.1, "final_teacher_temperature": 0.1},
        None,
    ),
    "MSN, no prior, no Sinkhorn": (
        *("one prototype", MSNTransformer, {"prior_weight": 0.0, "sinkhorn_iterations": 0}),
        None,
    ),
    "I-JEPA, no teacher, lr=0.01": (
        *("collapse", IJEPATransformer, {"momentum": 0.0, "lr": 0.01, "max_epochs": 40}),
        None,
    ),
    "data2vec, no teacher, lr=0.01": (
        *("collapse", Data2VecTransformer, {"momentum": 0.0, "lr": 0.01, "max_epochs": 40}),
        None,
    ),
    "Jigsaw, images of noise": (
        *("chance", JigsawTransformer, {}),
        lambda X: np.random.default_rng(0).random(X.shape),
    ),
}


def told_of(estimator, X):
    """Fit, and return the causes of warnings, and the figures of all epochs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            texts, figures = [], estimator.fit(X).health_
        except ValueError as error:
            texts, figures = [str(error)], {}
    texts += [str(w.message) for w in caught if w.category is ConvergenceWarning]
    return [c for t in texts for c, begin in CAUSES.items() if re.match(begin, t)], figures


def provoked(name, seed):
    """Provoke a collapse; return the expected cause, and what ``told_of`` returns."""
    cause, method, parameters, change = PROVOKED[name]
    X = load_digits().images[:400]
    model = method(**{"max_epochs": 20, "random_state": seed} | parameters)
    return cause, *told_of(model, X if change is None else change(X))


def healthy_data(folder, n_images):
    """Return the samples of each data set."""
    data = {"digits": load_digits().images, "breast cancer": load_breast_cancer().data}
    for name in ("fashion_mnist", "cifar10") if folder else ():
        with np.load(folder / f"{name}.npz") as file:
            data[name] = file["X_train"][:n_images]
    return data


def nearest(figures):
    """Return the figures that warnings look at, nearest to a warning in the second half."""
    half = len(figures["epoch"]) // 2
    last = {name: values[half:] for name, values in figures.items()}
    found = {
        "embedding_std": last["embedding_std"].min(),
        "effective_rank": last["effective_rank"].min(),
        "loss / chance": (last["train_loss"] / last["chance_loss"]).max(),
    }
    for name in ("teacher_entropy", "empty_clusters", "largest_cluster"):
        if name in last:
            found[name] = last[name].max()
    if "prototype_entropy" in last:
        found["prototype_entropy"] = last["prototype_entropy"].min()
    return {name: float(value) for name, value in found.items()}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-images", type=int, default=500)
    parser.add_argument("--only", choices=["provoked", "healthy"])
    parser.add_argument("--provoked", nargs="+", choices=PROVOKED, help="those to run")
    parser.add_argument("--name", default="health", help="name of the JSON file")
    options = parser.parse_args()
    results = {}
    names = options.provoked or PROVOKED
    for name in names if options.only != "healthy" else ():
        fits = [provoked(name, seed) for seed in range(options.seeds)]
        expected = fits[0][0]
        others = Counter(cause for _, causes, _ in fits for cause in causes if cause != expected)
        row = {"expected": expected, "warned": sum(expected in fit[1] for fit in fits)}
        results[f"provoked: {name}"] = row | {"fits": len(fits), "others": dict(others)}
        print(name, results[f"provoked: {name}"], flush=True)
    only = options.only == "provoked" or options.provoked
    data = {} if only else healthy_data(options.data, options.n_images)
    for data_name, X in data.items():
        for method_name, method in all_methods().items():
            if ("table" if X.ndim == 2 else "image") not in method.default_views:
                continue
            if method.needs_color and X.ndim == 3:
                continue
            start = time.perf_counter()
            fits = [told_of(method(random_state=seed), X) for seed in range(options.seeds)]
            figures = [nearest(figures) for _, figures in fits]
            row = {"fits": len(fits), "warned": sum(bool(causes) for causes, _ in fits)}
            row |= {"causes": dict(Counter(cause for causes, _ in fits for cause in causes))}
            for name in figures[0]:
                values = [figure[name] for figure in figures]
                smallest = name in ("embedding_std", "effective_rank", "prototype_entropy")
                row[name] = min(values) if smallest else max(values)
            row["minutes"] = (time.perf_counter() - start) / 60
            results[f"healthy: {data_name}, {method_name}"] = row
            print(data_name, method_name, row, flush=True)
    write(options.name, vars(options) | {"data": options.data is not None}, results)


if __name__ == "__main__":
    main()
