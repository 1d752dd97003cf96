"""How an objective is trained: the loop of every method, and the place that knows skorch."""

import contextlib
import copy
import dis
import math
import os
import threading
import time
from dataclasses import dataclass

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.utils import TeeGenerator
from torch import nn

from sklearn_ssl.optimizers import make_optimizer

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Epoch:
    """What an objective decides about an epoch before it begins."""

    order: np.ndarray | None = None  # indices of the samples to train on; None is all, shuffled
    targets: torch.Tensor | None = None  # one for each sample of X, the second argument of forward
    renewed: tuple = ()  # parameters that were set anew, of which the optimizer shall know nothing


class Objective(nn.Module):
    """What a method trains: encoder, heads and loss in one module.

    ``encoder`` is what embeds samples once training has ended. ``forward`` takes the list of
    views of a batch, and its targets if ``before_epoch`` gave any, and returns a dict of scalar
    tensors with ``"loss"``, which is minimised; the others are kept in the history.
    """

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, views):
        """Return a dict of scalars, ``"loss"`` among them."""
        raise NotImplementedError

    def before_epoch(self, embed, rng):
        """Return the :class:`Epoch` to come, in evaluation mode one that judges and learns nothing.

        ``embed()`` gives the encoder's features of all samples in their order, (n, d) float32,
        without views; ``rng`` is a NumPy generator, a function of seed and epoch.
        """
        return Epoch()

    def before_step(self, progress):
        """Change gradients before the optimizer uses them.

        Progress runs from 0 to 1, and beyond where training goes on after its planned end.
        """

    def after_step(self, progress):
        """Move what moves after each step, as teachers do."""

    def after_training(self, embed, rng, unfinished):
        """Do what the trained encoder is needed for, as a last clustering.

        ``unfinished`` tells whether the last epoch was stopped before its end; then it is in no
        history.
        """


def resolve_device(device):
    """Turn a device parameter into a torch.device that is there."""
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except RuntimeError:
        resolved = None
    n_gpus = torch.cuda.device_count()
    if resolved is None or resolved.type not in ("cpu", "cuda"):
        raise ValueError(f'device={device!r} is unknown. Give "auto", "cpu", "cuda" or "cuda:1".')
    if resolved.type == "cpu":
        return torch.device("cpu")
    if (resolved.index or 0) >= n_gpus:
        raise ValueError(
            f'device="{device}" is not there: torch sees {n_gpus} GPUs. Give "auto" or "cpu".'
        )
    return torch.device(
        "cuda", torch.cuda.current_device() if resolved.index is None else resolved.index
    )


@dataclass
class Training:
    """How to train: the settings of a fit, all resolved."""

    max_epochs: int
    batch_size: int
    optimizer: str
    lr: float
    weight_decay: float
    warmup_epochs: float
    device: torch.device
    precision: str
    compile: bool
    seed: int
    n_samples: int
    first_epoch: int = 0
    anneal: bool = True  # follow the schedule to a learning rate of 0 in max_epochs
    final_lr: float = 0.0  # what the cosine falls to, as a share of lr
    final_weight_decay: float | None = None  # reached by half a cosine; None keeps it as it is

    @property
    def n_steps(self):
        """Number of steps in max_epochs passes over all samples."""
        return self.max_epochs * len(split(np.arange(self.n_samples), self.batch_size))


class StopTraining(Exception):  # noqa: N818
    """Raised inside the loop to end training after the current epoch."""


# torch's random states and default dtype belong to the process, and a fit takes all its cores.
_alone = threading.RLock()


def _forget_owner():
    """Begin anew in a forked process, which has not the thread that may hold the lock."""
    global _alone
    _alone = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_owner)


@contextlib.contextmanager
def isolated(device):
    """Leave the process as it was: random states, default dtype, grad and inference modes.

    Other threads wait, as those of joblib's threading backend; a thread that waits for another
    one's fit inside of its own, as a callback could, would wait for ever.
    """
    devices = [device] if device.type == "cuda" else []
    # Leaving inference mode turns gradients on as well, where the caller had turned them off.
    with _alone, torch.random.fork_rng(devices), torch.inference_mode(False):
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def seed_torch(device, *key):
    """Make all that torch draws next on the processor and the device a function of the key."""
    # NumPy takes a key for the same with zeros behind it, so the length stands in front.
    seed = int(np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


def autocast(device, precision):
    """Context in which a network's products have a precision, whatever the caller's have."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "float32")


def full_precision(device):
    """Context in which autocast is off on a device, whatever the caller's is.

    Losses need it: exponentials at low temperatures, softmax over many negatives, covariances.
    """
    return autocast(device, "float32")


def split(order, batch_size):
    """Cut the order of an epoch's samples into batches, shape (n_batches, size).

    All batches have one size, at most ``batch_size`` and at least 2 samples where there are as
    many; what does not fill up the last one, fewer samples than there are batches, is left out.
    """
    n_batches = max(1, min(math.ceil(len(order) / batch_size), len(order) // 2))
    size = len(order) // n_batches
    return order[: n_batches * size].reshape(n_batches, size)


def learning_rate_factor(epochs_done, warmup_epochs, max_epochs, final=0.0):
    """Linear warm-up, then half a cosine in max_epochs; constant when that is None."""
    if epochs_done < warmup_epochs:
        return epochs_done / warmup_epochs
    if max_epochs is None:
        return 1.0
    progress = (epochs_done - warmup_epochs) / (max_epochs - warmup_epochs)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class SSLNet(NeuralNet):
    """skorch's net around an objective; reads the loss from the device once an epoch."""

    _default_callbacks = []  # they read the loss at every step
    unfinished = False  # whether an epoch has begun and not ended

    def initialize_optimizer(self):
        """Build the optimizer from its name."""
        t = self.training
        self.optimizer_ = make_optimizer(
            t.optimizer, self.module_.parameters(), t.lr, t.weight_decay
        )
        self.scaler_ = torch.amp.GradScaler(t.device.type, enabled=t.precision == "float16")
        return self

    def get_split_datasets(self, X, y=None, **fit_params):
        """Train on all samples."""
        return X, None

    def get_iterator(self, dataset, training=False):
        """Give the samples themselves; the epochs draw their batches."""
        return dataset

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train one epoch and record the means of what the objective returned."""
        if not training:
            return
        t = self.training
        epoch, start = t.first_epoch + len(self.history) - 1, time.perf_counter()
        rng = np.random.default_rng((t.seed, epoch))
        self.module_.train()
        seed_torch(t.device, t.seed, epoch)
        plan = self.module_.before_epoch(self.embed, rng)
        for parameter in plan.renewed:
            self.optimizer_.state.pop(parameter, None)
        order = rng.permutation(len(iterator)) if plan.order is None else plan.order
        batches = split(order, t.batch_size)
        # Looked up once an epoch: indexing by an array waits for a GPU.
        targets = None if plan.targets is None else plan.targets[batches]
        self.unfinished, steps = True, []
        self.module_.train()
        for i, batch in enumerate(iterator.batches(batches, t.device, rng)):
            done = (0 if t.anneal else t.first_epoch) + len(self.history) - 1
            done += (i + 0.5) / len(batches)
            horizon = t.max_epochs if t.anneal else None
            factor = learning_rate_factor(done, t.warmup_epochs, horizon, t.final_lr)
            for group in self.optimizer_.param_groups:
                group["lr"] = t.lr * factor
            self.progress = done / t.max_epochs
            if t.final_weight_decay is not None:
                rise = 0.5 * (1 - math.cos(math.pi * min(1.0, self.progress)))
                decay = t.weight_decay + (t.final_weight_decay - t.weight_decay) * rise
                self.optimizer_.param_groups[0]["weight_decay"] = decay
            seed_torch(t.device, t.seed, epoch, i)
            self.notify("on_batch_begin", batch=batch, training=True)
            views = self.make_views(batch)
            step = step_fn((views,) if targets is None else (views, targets[i]))
            self.module_.after_step((done + 0.5 / len(batches)) / t.max_epochs)
            steps.append(step)
            self.notify("on_batch_end", batch=batch, training=True, **step)
        # The one read from the device in an epoch.
        means = {k: torch.stack([s[k] for s in steps]).float().mean().item() for k in steps[0]}
        seconds = time.perf_counter() - start
        self.history.record("epoch", epoch + 1)
        for name, value in means.items():
            self.history.record(f"{prefix}_{name}" if name == "loss" else name, value)
        best = min([row.get("train_loss", math.inf) for row in self.history])
        self.history.record("train_loss_best", means["loss"] <= best)
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        self.history.record("dur", seconds)
        self.unfinished = False
        if not math.isfinite(means["loss"]):
            raise ValueError(
                f"The loss became {means['loss']} in epoch {epoch + 1}, at lr={t.lr:g} and "
                f'precision="{t.precision}". Try a lower lr, or precision="float32".'
            )

    def train_step(self, batch, **fit_params):
        """Take a step on a batch's views, and its targets; nothing is read from the device."""
        t = self.training
        with autocast(t.device, t.precision):
            step = self.module_(*batch)
        self.optimizer_.zero_grad()
        self.scaler_.scale(step["loss"]).backward()
        if self.scaler_.is_enabled():
            self.scaler_.unscale_(self.optimizer_)
        self.module_.before_step(self.progress)
        self.notify(
            "on_grad_computed",
            named_parameters=TeeGenerator(self.module_.named_parameters()),
            batch=batch,
            training=True,
        )
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()
        return {name: value.detach() for name, value in step.items()}

    def notify(self, method_name, **kwargs):
        """Call the callbacks; tell a callback that asks to stop from the user's Ctrl-C.

        skorch's EarlyStopping stops with ``raise KeyboardInterrupt``. An interrupt from the
        keyboard arrives between two instructions and no raise statement stands where it does.
        """
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as interrupt:
            last = interrupt.__traceback__
            while last.tb_next:
                last = last.tb_next
            if dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS":
                raise StopTraining from None
            raise


def records(net):
    """Return what was recorded of each epoch that ended, without the single batches."""
    ended = [row for row in net.history if "train_loss" in row]
    return [{k: v for k, v in row.items() if k != "batches"} for row in ended]


class Progress(Callback):
    """A tqdm bar over all samples of all epochs: samples a second, time left, loss."""

    def __init__(self, unit):
        self.unit = unit

    def on_train_begin(self, net, X=None, **kwargs):
        """Open the bar."""
        from tqdm.auto import tqdm

        self.bar = tqdm(total=net.max_epochs * len(X), unit=self.unit, unit_scale=True)
        self.n_samples = len(X)

    def on_batch_end(self, net, batch=None, **kwargs):
        """Move by a batch."""
        self.bar.update(len(batch))

    def on_epoch_end(self, net, **kwargs):
        """Show the epoch's loss, and count the samples it left out as done."""
        self.bar.update(len(net.history) * self.n_samples - self.bar.n)
        self.bar.set_postfix(epoch=len(net.history), loss=net.history[-1, "train_loss"])

    def close(self):
        """Leave the bar as it stands."""
        if hasattr(self, "bar"):
            self.bar.close()


def finish(objective, embed, training, n_epochs, unfinished=False):
    """Let an objective do what it does after training, which had some epochs."""
    key = training.seed, training.first_epoch + n_epochs
    seed_torch(training.device, *key)
    objective.after_training(embed, np.random.default_rng(key), unfinished)


def train(
    objective,
    source,
    make_views,
    embed,
    training,
    *,
    n_epochs,
    epoch_task,
    callbacks=(),
    optimizer_state=None,
    unit="sample",
    verbose=0,
):
    """Train an objective in place; return a dict of records an epoch, and the optimizer's moments.

    ``source`` has a length and ``batches(order, device)``, which yields the samples of each row of
    an array of indices; ``make_views`` turns a batch into its views; ``embed`` is what the
    objective's hooks get. ``epoch_task(records)`` gives a context around each epoch, which may
    raise StopTraining at its end. Any other exception leaves the objective wherever it was.
    """
    for callback in callbacks:
        if not hasattr(callback[-1] if isinstance(callback, tuple) else callback, "on_epoch_end"):
            raise TypeError(
                f"callbacks holds {callback!r}, which is no skorch callback. Give instances of "
                "skorch.callbacks.Callback; scikit-learn's callbacks go into set_callbacks."
            )
    progress = Progress(unit)
    net = SSLNet(
        objective.to(training.device, memory_format=torch.channels_last),
        criterion=nn.Identity,
        max_epochs=n_epochs,
        device=training.device,
        compile=training.compile,
        callbacks=[*([progress] if verbose else []), *callbacks],
        verbose=verbose,
    )
    net.training, net.make_views, net.embed = training, make_views, embed
    net.initialize()
    if optimizer_state is not None:
        # The moments alone, as learning rate and weight decay may have been changed since; and a
        # copy of them, as steps change them in place.
        state = {"state": copy.deepcopy(optimizer_state)}
        net.optimizer_.load_state_dict(net.optimizer_.state_dict() | state)
    try:
        with contextlib.suppress(StopTraining):
            net.notify("on_train_begin", X=source, y=None)
            for _ in range(n_epochs):
                stopped = True
                with epoch_task(lambda: records(net)), contextlib.suppress(StopTraining):
                    net.fit_loop(source, epochs=1)
                    stopped = False
                if stopped:
                    break
        with contextlib.suppress(StopTraining):
            net.notify("on_train_end", X=source, y=None)
        finish(objective, embed, training, len(records(net)), net.unfinished)
    finally:
        progress.close()
    state = net.optimizer_.state_dict()["state"]
    return records(net), {
        index: {name: value.cpu() for name, value in moments.items()}
        for index, moments in state.items()
    }
