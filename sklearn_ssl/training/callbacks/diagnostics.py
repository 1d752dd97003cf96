"""Records of epochs, and warnings of training that fails."""

import math
import time

import torch
from skorch.callbacks import Callback

from sklearn_ssl._runtime.world import world
from sklearn_ssl.training.health import spread, symptoms, warn


def records(net):
    """Return the records of finished epochs, without those of batches."""
    ended = [row for row in net.history if "train_loss" in row]
    return [{k: v for k, v in row.items() if k != "batches"} for row in ended]


def check_loss(net, losses):
    """Raise if the loss of a step is NaN or infinite."""
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = bad[0].item()
        raise _not_finite(net, f"The loss became {losses[step].item()} in step {step + 1}")


def _not_finite(net, what):
    """Return the error for a loss or weights that are NaN or infinite."""
    s, remedy = net.settings, 'or precision="float32"'
    if s.precision == "float32":
        remedy = "and check that views contain no NaN or infinite values"
    return ValueError(
        f"{what} of epoch {s.first_epoch + len(net.history)}, at lr={s.lr:g} and "
        f'precision="{s.precision}". Try a lower lr, {remedy}.'
    )


class Diagnostics(Callback):
    """Records epochs in the history, and warns of problems, once per cause."""

    def __init__(self, earlier, objective):
        self.earlier = list(earlier)  # records of previous fits
        self.warned = set(symptoms(self.earlier, objective))

    def on_epoch_begin(self, net, **kwargs):
        """Note the time."""
        self.start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        """Record the epoch, and warn."""
        for name, value in self._row(net).items():
            net.history.record(name, value)
        net.history.record("dur", world().largest(time.perf_counter() - self.start))
        net.epoch = None  # it is finished
        found = symptoms(self.earlier + records(net), net.objective)
        warn(found, self.warned)
        self.warned |= found.keys()

    def _row(self, net):
        """Return the record of an epoch, reading from the device once."""
        epoch, skips = net.epoch, net.scaler_.is_enabled()
        values, embedding = epoch.values(), epoch.embedding
        loss, means = values["loss"], {name: value.mean() for name, value in values.items()}
        if skips:
            means["loss"] = loss.where(loss.isfinite(), torch.nan).nanmean()
            means["skipped_steps"] *= epoch.n_steps
        if embedding is not None:
            means |= {name: world().mean(value) for name, value in spread(embedding).items()}
        weights = torch._foreach_norm(list(net.objective.parameters()))
        means["size"] = torch.stack(weights).sum()
        means = dict(zip(means, torch.stack(list(means.values())).tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            check_loss(net, loss)
        if not math.isfinite(size := means.pop("size")):
            raise _not_finite(net, f"The weights became {size} at the end")
        if skips:
            means["skipped_steps"] = round(means["skipped_steps"])
        loss = means.pop("loss")
        best = loss <= min([row.get("train_loss", math.inf) for row in net.history])
        row = {"epoch": epoch.number + 1, "train_loss": loss, "train_loss_best": best}
        row |= means | epoch.figures
        row |= {"lr": net.optimizer_.param_groups[0]["lr"], "n_steps": epoch.n_steps}
        row["progress"] = net.progress
        if embedding is not None:
            row["embedding_dim"] = embedding.shape[1]
        chance = net.objective.chance_loss(epoch.batches.shape[1])
        return row if chance is None else row | {"chance_loss": chance}
