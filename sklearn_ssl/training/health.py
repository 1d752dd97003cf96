"""Whether training goes well: what is watched, and what is said where it does not."""

import math

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch.nn.functional import normalize

from sklearn_ssl._runtime.warnings import tell

# Nothing is said before so many steps and this share of the planned training, since much mends
# itself, nor of what has not lasted for so many epochs.
STEPS, SHARE, EPOCHS = 100, 0.5, 3
# What the history holds beside figures.
NO_FIGURES = {"train_loss_best", "lr", "dur", "progress"}
# Healthy fits stay clear of these (benchmarks/README.md).
LEAST_STD, LEAST_RANK, SKIPPED = 0.05, 1.5, 0.2


@torch.no_grad()
def spread(embedding):
    """Return how far the vectors of a batch, (n, d), differ, as scalars on their device.

    ``embedding_std`` is the standard deviation of the vectors brought to length one, over all
    dimensions together: 0 if all point one way, near 1 if they point everywhere.
    ``effective_rank`` is the number of dimensions that they differ in: the participation ratio
    of the eigenvalues of their covariance, 1 to d, which needs no eigenvalues.
    """
    vectors = normalize(embedding.float())
    vectors = vectors - vectors.mean(dim=0)
    products = vectors @ vectors.T if len(vectors) < vectors.shape[1] else vectors.T @ vectors
    total = products.diagonal().sum()
    return {
        "embedding_std": (total / len(vectors)).sqrt(),
        "effective_rank": total.square() / products.square().sum().clamp_min(1e-30),
    }


def symptoms(rows, objective):
    """Return what is wrong after some epochs, a dict of causes and what to say of each."""
    n_steps = sum(row.get("n_steps", 0) for row in rows)
    if n_steps < STEPS or rows[-1]["progress"] < SHARE - 1e-9:
        return {}
    near = objective.near_chance
    found = [_of_epoch(row, rows, near) | objective.symptoms(row) for row in rows[-EPOCHS:]]
    lasting = {name: text for name, text in found[-1].items() if all(name in f for f in found)}
    if len(lasting) > 1:
        lasting.pop("chance", None)  # it comes with the other, which says more
    return lasting


def warn(found, told=()):
    """Warn of symptoms, but of those that were told of."""
    for name, text in found.items():
        if name not in told:
            tell(text, ConvergenceWarning)


def _of_epoch(row, rows, near_chance):
    """Return what the figures of an epoch tell of any method."""
    told, at = {}, f"in epoch {row['epoch']}"
    std, rank = row.get("embedding_std", math.inf), row.get("effective_rank", math.inf)
    if std < LEAST_STD:
        told["collapse"] = (
            f"The embedding collapsed: {at} the vectors of all samples are nearly the same, their "
            f"standard deviation is {std:.2g} of at most 1. Lower lr, or check that the loss keeps "
            "samples apart and that no view is constant."
        )
    elif rank < LEAST_RANK and row.get("embedding_dim", 0) > 4:
        told["dimensions"] = (
            f"The embedding lost its dimensions: {at} samples differ in {rank:.2g} of its "
            f"{row['embedding_dim']} dimensions (effective rank), {rows[0]['effective_rank']:.2g} "
            "in the first. Lower lr or weight_decay, or choose views that keep more of a sample."
        )
    chance = row.get("chance_loss", -math.inf)
    if row["train_loss"] > near_chance * chance > 0:
        told["chance"] = (
            f"Nothing was learned, or little: {at} the loss is {row['train_loss']:.4g}, chance "
            f"level is {chance:.4g}. Try more epochs, another lr, or views that keep more of a "
            "sample; the samples may also hold nothing for this method to learn from."
        )
    skipped = row.get("skipped_steps", 0)
    if skipped > SKIPPED * row.get("n_steps", math.inf):
        told["skipped"] = (
            f'{skipped} of the {row["n_steps"]} steps {at} were left out, as precision="float16" '
            'overflowed. Use "bfloat16" or "float32", or a lower lr.'
        )
    return told


def health(rows):
    """Return the figures of all epochs, a dict of arrays; NaN where an epoch has none."""
    numbers = ((k, v) for row in rows for k, v in row.items() if isinstance(v, int | float))
    names = dict.fromkeys(name for name, _ in numbers if name not in NO_FIGURES)
    return {name: np.array([row.get(name, math.nan) for row in rows], float) for name in names}
