"""Training diagnostics: collapse, loss at chance level, and their warnings."""

import math

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch.nn.functional import normalize

from sklearn_ssl._runtime.warnings import tell

# Warn only after this many steps and this share of the planned training, since many problems are
# transient, and only of problems that last for this many epochs.
STEPS, SHARE, EPOCHS = 100, 0.5, 3
# Entries of the history that are not diagnostics.
NOT_DIAGNOSTICS = {"train_loss_best", "lr", "dur", "progress"}
# Thresholds, far from the values of healthy fits (benchmarks/README.md).
LEAST_STD, LEAST_RANK, SKIPPED = 0.1, 1.5, 0.2


@torch.no_grad()
def spread(embedding):
    """Return the spread of the embedding of a batch, (n, d), as scalars on its device.

    ``embedding_std`` is the standard deviation of the L2-normalized vectors over all dimensions: 0
    if all are equal, near 1 if they cover all directions. ``effective_rank`` is the participation
    ratio of the eigenvalues of their covariance, from 1 to d, computed without eigenvalues.
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
    """Return problems after some epochs, a dict of causes and messages."""
    n_steps = sum(row.get("n_steps", 0) for row in rows)
    if n_steps < STEPS or rows[-1]["progress"] < SHARE - 1e-9:
        return {}
    near = objective.near_chance
    found = [_of_epoch(row, rows, near) | objective.diagnose(row) for row in rows[-EPOCHS:]]
    lasting = {name: text for name, text in found[-1].items() if all(name in f for f in found)}
    if len(lasting) > 1:
        lasting.pop("chance", None)  # a consequence of the other, which is more specific
    return lasting


def warn(found, warned=()):
    """Warn of symptoms, except for causes already warned of."""
    for name, text in found.items():
        if name not in warned:
            tell(text, ConvergenceWarning)


def _of_epoch(row, rows, near_chance):
    """Return the symptoms in the diagnostics of an epoch that apply to any method."""
    found, at = {}, f"in epoch {row['epoch']}"
    std, rank = row.get("embedding_std", math.inf), row.get("effective_rank", math.inf)
    if std < LEAST_STD:
        found["collapse"] = (
            f"The embedding collapsed: {at} all samples have nearly the same vector, with a "
            f"standard deviation of {std:.2g} (maximum 1). Lower lr, and check that the loss "
            "prevents collapse and that views are not constant."
        )
    elif rank < LEAST_RANK and row.get("embedding_dim", 0) > 4:
        found["dimensions"] = (
            f"Dimensional collapse: {at} the effective rank of the embedding, of "
            f"{row['embedding_dim']} dimensions, is {rank:.2g}, and was "
            f"{rows[0]['effective_rank']:.2g} in the first epoch. Lower lr or weight_decay, or use "
            "weaker augmentations in views."
        )
    chance = row.get("chance_loss", -math.inf)
    if row["train_loss"] > near_chance * chance > 0:
        found["chance"] = (
            f"The loss is near chance level: {at} it is {row['train_loss']:.4g}, chance level is "
            f"{chance:.4g}. Train for more epochs, change lr, or use weaker augmentations in "
            "views. The samples may also lack structure that this method can learn."
        )
    skipped = row.get("skipped_steps", 0)
    if skipped > SKIPPED * row.get("n_steps", math.inf):
        found["skipped"] = (
            f'{skipped} of {row["n_steps"]} steps {at} were skipped because precision="float16" '
            'overflowed. Use "bfloat16" or "float32", or a lower lr.'
        )
    return found


def health(rows):
    """Return the diagnostics of all epochs, a dict of arrays; NaN if an epoch has none."""
    numbers = ((k, v) for row in rows for k, v in row.items() if isinstance(v, int | float))
    names = dict.fromkeys(name for name, _ in numbers if name not in NOT_DIAGNOSTICS)
    return {name: np.array([row.get(name, math.nan) for row in rows], float) for name in names}
