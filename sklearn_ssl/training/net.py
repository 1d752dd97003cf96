"""Training loop of all methods, based on skorch."""

import contextlib
import copy
import dis
import inspect
import math
import time
import traceback

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, InputShapeSetter
from skorch.callbacks.scoring import ScoringBase
from skorch.exceptions import SkorchException
from skorch.utils import TeeGenerator
from torch import nn

from sklearn_ssl._runtime.device import autocast, gpu_emptied, may_run_out
from sklearn_ssl._runtime.isolation import seed_torch
from sklearn_ssl._runtime.warnings import tell
from sklearn_ssl.training.clock import Clock
from sklearn_ssl.training.health import spread, symptoms, warn
from sklearn_ssl.training.micro_batches import micro_batches, needs_whole_batches
from sklearn_ssl.training.optimizers import make_optimizer
from sklearn_ssl.training.schedule import learning_rate_factor, split

# Smaller micro-batches are slow and save little memory.
SMALLEST_MICRO_BATCH = 8
# The duration of an epoch is estimated from this many steps, or until this share of the time limit.
TRIAL_STEPS, TRIAL_SHARE = 5, 0.01


class StopTraining(Exception):  # noqa: N818
    """Raised inside the loop to end training after the current epoch."""


def check_callbacks(callbacks):
    """Raise if a callback is not one of skorch, or needs labels or validation samples."""
    given = [callback[-1] if isinstance(callback, tuple) else callback for callback in callbacks]
    for callback in given:
        if not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                f"callbacks contains {callback!r}, which is not a skorch callback. Pass instances "
                "of skorch.callbacks.Callback; set callbacks of scikit-learn with set_callbacks."
            )
    given = [callback() if isinstance(callback, type) else callback for callback in given]
    only_skorch = all(type(callback).__module__.startswith("skorch.") for callback in given)
    for callback in given:
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        if isinstance(callback, ScoringBase):
            raise ValueError(
                f"callbacks contains {name}, which scores predicted labels, but training is "
                "unsupervised. Monitor train_loss, or record another score in on_epoch_end of a "
                "callback."
            )
        if isinstance(callback, InputShapeSetter):
            raise ValueError(
                f"callbacks contains {name}, but fit sets the shape of samples. Remove it."
            )
        # Custom callbacks may record scores under any name.
        if only_skorch and isinstance(monitor, str) and monitor.startswith("valid_"):
            raise ValueError(
                f"callbacks contains {name}(monitor={monitor!r}), but fit has no validation set. "
                f"Set monitor={monitor.replace('valid_', 'train_', 1)!r}."
            )


class SSLNet(NeuralNet):
    """skorch net of an objective; reads the loss from the device once per epoch."""

    _default_callbacks = []  # they read the loss at every step
    unfinished = False  # whether an epoch was interrupted
    checkpoint = None  # called with the state of training
    begun = None  # state of an epoch to resume
    progress = 0.0  # from 0 to 1, larger after the planned end
    step_seconds = before_seconds = 0.0  # of a step, and of preparing an epoch

    @property
    def objective(self):
        """The objective, without the wrapper of torch.compile that renames its state."""
        return getattr(self.module_, "_orig_mod", self.module_)

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
        """Return the samples; run_single_epoch draws the batches."""
        return dataset

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train one epoch, or the rest of one, and record the mean of each loss."""
        if not training:
            return
        t = self.training
        epoch, start = t.first_epoch + len(self.history) - 1, time.perf_counter()
        begun, self.begun = self.begun, None
        rng = np.random.default_rng((t.seed, epoch))
        if begun is None:
            begun = self.begin(len(iterator), epoch, rng)
        rng.bit_generator.state = begun["rng"]
        n_planned, first, earlier = begun["n_planned"], begun["n_steps"], begun["steps"]
        self.unfinished, steps, moments = True, [], [time.perf_counter()]
        self.module_.train()
        for i, (batch, *targets) in enumerate(self.batches(iterator, begun, rng), start=first):
            if steps and not self.has_time(self.step_seconds / 2 + self.before_seconds):
                break
            ended = (0 if t.anneal else t.first_epoch) + len(self.history) - 1
            done = self.position(ended + (i + 0.5) / n_planned)
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
            step = step_fn((views, *targets))
            embedding = step.pop("embedding", None)
            self.progress = self.position(ended + (i + 1) / n_planned) / t.max_epochs
            self.module_.after_update(self.progress)
            steps.append(step)
            moments.append(time.perf_counter())
            self.step_seconds = self.seconds_of_step(moments)
            self.notify("on_batch_end", batch=batch, training=True, **step)
            if i + 1 < len(begun["batches"]) and self.due():
                begun |= {"steps": stacked(earlier, steps), "n_steps": i + 1}
                if not self.scaler_.is_enabled():
                    self.check_loss(begun["steps"]["loss"])
                self.save_state(begun)
        taken = begun["batches"][: first + len(steps)]
        if len(taken) < n_planned and epoch == 0:
            tell(
                f"max_time ended training after {len(taken)} of {n_planned} steps of the first "
                "epoch, so many samples were not used. Increase max_time, or choose a smaller "
                "backbone or smaller images.",
                ConvergenceWarning,
            )
        self.record(epoch, stacked(earlier, steps), embedding, taken, begun["figures"])
        self.history.record("dur", time.perf_counter() - start)
        self.unfinished = False
        self.watch()

    @property
    def timed(self):
        """Whether training is limited by time."""
        return self.clock.seconds < math.inf and self.training.anneal

    def batches(self, source, begun, rng):
        """Yield the samples of each batch of an epoch, and their targets if there are any.

        The last epoch with a time limit repeats them in another order until the time is up.
        """
        device, first, targets = self.training.device, begun["n_steps"], begun["targets"]
        while True:
            batches = begun["batches"]
            parts = source.batches(batches[first:], device, rng)
            if targets is None:
                yield from ((part,) for part in parts)
            else:
                # All at once: indexing by an array synchronizes with the GPU.
                yield from zip(parts, targets.to(device)[batches[first:]], strict=True)
            first = len(batches)
            ended = not self.timed or len(self.history) >= self.n_epochs
            if ended or self.has_time_for_epoch():
                return
            again = rng.permutation(batches[: begun["n_planned"]].ravel())
            begun["batches"] = np.concatenate([batches, again.reshape(-1, batches.shape[1])])

    def position(self, epochs):
        """Return the position in the schedule, in epochs, by elapsed epochs or time."""
        t = self.training
        if not self.timed:
            return epochs
        clock = self.clock
        usable = clock.seconds - self.before_seconds - clock.origin
        if usable <= 0:  # for the single step
            return epochs
        share = (clock.elapsed - clock.origin) / usable
        return t.max_epochs * min(1.0, max(share, epochs / self.n_epochs))

    def seconds_of_step(self, moments):
        """Return the duration of a step, from the times at which steps of this epoch ended."""
        if len(moments) > 2:
            return (moments[-1] - moments[1]) / (len(moments) - 2)
        if self.training.compile and len(self.history) == 1:
            # The first step includes compilation.
            self.clock.origin = self.clock.elapsed
            return self.step_seconds
        return moments[1] - moments[0]

    def has_time(self, seconds):
        """Return whether more than this time is left."""
        return self.clock.left > seconds

    def goes_on(self):
        """Return whether to train another epoch."""
        if len(self.history) >= self.n_epochs:
            return False
        return not self.history or self.begun is not None or self.has_time_for_epoch()

    def has_time_for_epoch(self):
        """Return whether there is time for another epoch.

        Finishing an objective takes about as long as preparing an epoch, and the steps of the epoch
        should take at least as long.
        """
        return self.has_time(3 * self.before_seconds + self.step_seconds / 2)

    def begin(self, n_samples, epoch, rng):
        """Prepare an epoch; return everything that its steps depend on."""
        start = time.perf_counter()
        self.module_.train()
        seed_torch(self.training.device, self.training.seed, epoch)
        plan = self.module_.plan_epoch(self.embed, rng)
        for parameter in plan.renewed:
            self.optimizer_.state.pop(parameter, None)
        order = rng.permutation(n_samples) if plan.order is None else plan.order
        batches = split(order, self.training.batch_size)
        begun = {"batches": batches, "n_planned": len(batches)}
        begun |= {"targets": plan.targets, "figures": plan.figures}
        self.before_seconds = time.perf_counter() - start
        return begun | {"steps": {}, "n_steps": 0, "rng": rng.bit_generator.state}

    def record(self, epoch, values, embedding, batches, figures):
        """Record an epoch in the history, reading from the device once."""
        loss, skips = values["loss"], self.scaler_.is_enabled()
        means = {name: value.mean() for name, value in values.items()}
        if skips:
            means["loss"] = loss.where(loss.isfinite(), torch.nan).nanmean()
            means["skipped_steps"] *= len(batches)
        if embedding is not None:
            means |= spread(embedding)
        weights = torch._foreach_norm(list(self.objective.parameters()))
        means["size"] = torch.stack(weights).sum()
        means = dict(zip(means, torch.stack(list(means.values())).tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            self.check_loss(loss)
        if not math.isfinite(size := means.pop("size")):
            raise self.not_finite(f"The weights became {size} at the end")
        if skips:
            means["skipped_steps"] = round(means["skipped_steps"])
        loss = means.pop("loss")
        best = loss <= min([row.get("train_loss", math.inf) for row in self.history])
        row = {"epoch": epoch + 1, "train_loss": loss, "train_loss_best": best} | means | figures
        row |= {"lr": self.optimizer_.param_groups[0]["lr"], "n_steps": len(batches)}
        row["progress"] = self.progress
        if embedding is not None:
            row["embedding_dim"] = embedding.shape[1]
        chance = self.objective.chance_loss(batches.shape[1])
        if chance is not None:
            row["chance_loss"] = chance
        for name, value in row.items():
            self.history.record(name, value)

    def check_loss(self, losses):
        """Raise if the loss of a step is NaN or infinite."""
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            step = bad[0].item()
            raise self.not_finite(f"The loss became {losses[step].item()} in step {step + 1}")

    def not_finite(self, what):
        """Return the error for a loss or weights that are NaN or infinite."""
        t, remedy = self.training, 'or precision="float32"'
        if t.precision == "float32":
            remedy = "and check that views contain no NaN or infinite values"
        return ValueError(
            f"{what} of epoch {t.first_epoch + len(self.history)}, at lr={t.lr:g} and "
            f'precision="{t.precision}". Try a lower lr, {remedy}.'
        )

    def watch(self):
        """Warn of problems, once per cause."""
        rows = self.earlier + records(self)
        found = symptoms(rows, self.objective)
        warn(found, self.warned)
        self.warned |= found.keys()

    def due(self):
        """Return whether to write a checkpoint within an epoch."""
        return (
            self.checkpoint is not None
            and time.perf_counter() - self.checkpointed_at > self.checkpoint_seconds
        )

    def save_state(self, begun=None):
        """Write a checkpoint; ``begun`` is the state of an unfinished epoch."""
        if self.checkpoint is not None:
            self.checkpoint(
                {
                    "objective": self.objective.state_dict(),
                    "optimizer": self.optimizer_.state_dict()["state"],
                    "scaler": self.scaler_.state_dict(),
                    "rows": records(self),
                    "callbacks": [_state_of(callback) for callback in self.theirs()],
                    "begun": begun,
                    "seconds": [self.before_seconds, self.step_seconds],
                }
            )
            self.checkpointed_at = time.perf_counter()

    def load_state(self, state):
        """Resume from a checkpoint."""
        self.objective.load_state_dict(state["objective"])
        self.load_moments(state["optimizer"])
        self.scaler_.load_state_dict(state["scaler"])
        for row in state["rows"]:
            self.history.append(row | {"batches": []})
        for callback, values in zip(self.theirs(), state["callbacks"], strict=True):
            vars(callback).update(values)
        self.begun = state["begun"]
        self.before_seconds, self.step_seconds = state["seconds"]

    def theirs(self):
        """Return the user's callbacks."""
        return [c for _, c in self.callbacks_ if not isinstance(c, Progress)]

    def load_moments(self, moments):
        """Load optimizer state, copied and in the memory format of the weights.

        Learning rate and weight decay are not restored, as they may have been changed.
        """
        groups = self.optimizer_.param_groups
        weights = [weight for group in groups for weight in group["params"]]

        def like(weight, value):
            same = isinstance(value, torch.Tensor) and value.shape == weight.shape
            return torch.empty_like(weight).copy_(value) if same else copy.deepcopy(value)

        state = {
            index: {name: like(weights[index], value) for name, value in given.items()}
            for index, given in moments.items()
        }
        self.optimizer_.load_state_dict(self.optimizer_.state_dict() | {"state": state})

    def train_step(self, batch, **fit_params):
        """Train on the views of a batch, and its targets, without reading from the device."""
        step = self.with_gradients(batch)
        if self.scaler_.is_enabled():
            self.scaler_.unscale_(self.optimizer_)
            gradients = [p.grad for p in self.module_.parameters() if p.grad is not None]
            finite = torch.stack(torch._foreach_norm(gradients)).isfinite().all()
            step["skipped_steps"] = (~finite).float()  # as the scaler does
        self.module_.before_update(self.progress)
        self.notify(
            "on_grad_computed",
            named_parameters=TeeGenerator(self.module_.named_parameters()),
            batch=batch,
            training=True,
        )
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()
        return {name: value.detach() for name, value in step.items()}

    def with_gradients(self, batch):
        """Return the output of the objective for a batch, after the backward pass.

        If a GPU runs out of memory, the step is repeated with smaller micro-batches.
        """
        t = self.training
        go_back = _way_back(self.objective, t.device) if may_run_out(t.device) else None
        while True:
            try:
                # Micro-batches do not apply to a compiled module.
                module = self.module_ if self.micro_batch_size is None else self.objective
                self.optimizer_.zero_grad()
                with micro_batches(self.objective, self.micro_batch_size):
                    with autocast(t.device, t.precision):
                        step = module(*batch)
                    self.scaler_.scale(step["loss"]).backward()
                return step
            except torch.OutOfMemoryError as error:
                traceback.clear_frames(error.__traceback__)  # they hold tensors
                self.micro_batch_size = self.smaller(len(batch[0][0]), error)
            step = None
            gpu_emptied(t.device)
            go_back()

    def smaller(self, n_samples, error):
        """Return a smaller size of micro-batches; warn the first time."""
        size, whole = self.micro_batch_size, needs_whole_batches(self.objective)
        if size is not None and (whole or size <= SMALLEST_MICRO_BATCH):
            raise MemoryError(
                f"The memory of {self.training.device} is not enough for batches of {n_samples} "
                "samples, even in micro-batches. Lower batch_size or the size of the images, or "
                "choose a smaller backbone."
            ) from error
        smaller = max(SMALLEST_MICRO_BATCH, (size or n_samples) // 2)
        if size is None:
            how = "in micro-batches"
            if whole:
                how = "with activations moved to CPU memory, as the backbone has batch norms"
            tell(
                f"The memory of {self.training.device} is not enough for batches of {n_samples} "
                f"samples. Steps are computed {how}, with the same result, which takes longer. Set "
                "micro_batch_size of Device to do so from the start."
            )
        return smaller

    def notify(self, method_name, **kwargs):
        """Call the callbacks; distinguish a callback that stops training from the user's Ctrl-C.

        EarlyStopping of skorch uses ``raise KeyboardInterrupt``. An interrupt from the keyboard is
        raised between two instructions, without a raise statement.
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
        except (KeyError, ValueError, SkorchException) as error:
            if "not found in history" not in str(error):
                raise
            names = sorted(name for name in self.history[-1] if name != "batches")
            monitors = [c.monitor for c in self.theirs() if hasattr(c, "monitor")]
            raise ValueError(
                f"A callback monitors a name that is not in the history, one of {monitors}. "
                f"Recorded names are {names}."
            ) from error


def _way_back(objective, device):
    """Return a function that restores buffers and random states from before a step."""
    buffers = list(objective.buffers())
    # One operation per data type is faster than one per buffer.
    groups = [[b for b in buffers if b.dtype == dtype] for dtype in {b.dtype for b in buffers}]
    copies = [[torch.empty_like(buffer) for buffer in group] for group in groups]
    for copied, group in zip(copies, groups, strict=True):
        torch._foreach_copy_(copied, group)
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    states = [torch.get_rng_state(), *cuda]

    def go_back():
        for copied, group in zip(copies, groups, strict=True):
            torch._foreach_copy_(group, copied)
        torch.set_rng_state(states[0])
        for state in states[1:]:
            torch.cuda.set_rng_state(state, device)

    return go_back


def stacked(earlier, steps):
    """Return the outputs of the steps of an epoch, a tensor (n_steps,) for each name."""
    values = {name: torch.stack([step[name] for step in steps]).float() for name in steps[0]}
    if not earlier:
        return values
    return {name: torch.cat([earlier[name].to(v.device), v]) for name, v in values.items()}


def _state_of(callback):
    """Return the state of a callback, without its parameters."""
    made_with = inspect.signature(type(callback)).parameters
    return {name: value for name, value in vars(callback).items() if name not in made_with}


def records(net):
    """Return the records of finished epochs, without those of batches."""
    ended = [row for row in net.history if "train_loss" in row]
    return [{k: v for k, v in row.items() if k != "batches"} for row in ended]


class Progress(Callback):
    """Progress bar over the samples of all epochs: samples per second, remaining time, loss."""

    def __init__(self, unit):
        self.unit = unit

    def on_train_begin(self, net, X=None, **kwargs):
        """Open the bar."""
        from tqdm.auto import tqdm

        total = math.ceil(min(net.n_epochs, net.training.max_epochs) * len(X))
        self.bar = tqdm(total=total, unit=self.unit, unit_scale=True)
        self.n_samples = len(X)

    def go_on(self, net):
        """Start at the position of a checkpoint, not included in the rate."""
        steps = 0 if net.begun is None else net.begun["n_steps"] * net.begun["batches"].shape[1]
        self.bar.initial = self.bar.n = len(net.history) * self.n_samples + steps
        self.bar.refresh()

    def on_batch_end(self, net, batch=None, **kwargs):
        """Advance by a batch; with a time limit, estimate the total from the elapsed share."""
        self.bar.update(len(batch))
        if net.timed:
            self.bar.total = max(self.bar.n, round(self.bar.n / net.progress))

    def on_epoch_end(self, net, **kwargs):
        """Show the loss of the epoch, and count samples that it left out."""
        if not net.timed:
            self.bar.update(len(net.history) * self.n_samples - self.bar.n)
        self.bar.set_postfix(epoch=len(net.history), loss=net.history[-1, "train_loss"])

    def on_train_end(self, net, **kwargs):
        """Set the total to the final number, with a time limit."""
        if net.timed:
            self.bar.total = self.bar.n
            self.bar.refresh()

    def close(self):
        """Close the bar."""
        if hasattr(self, "bar"):
            self.bar.close()


def finish(objective, embed, training, n_epochs, unfinished=False):
    """Call ``after_training`` of an objective with its own seed."""
    key = training.seed, training.first_epoch + n_epochs
    seed_torch(training.device, *key)
    objective.after_training(embed, np.random.default_rng(key), unfinished)


def epochs_within(clock, objective, source, make_views, embed, training):
    """Estimate how many epochs the remaining time allows; also return the steps per epoch.

    Takes a few training steps, which change the objective.
    """
    net = SSLNet(
        objective.to(training.device, memory_format=torch.channels_last),
        criterion=nn.Identity,
        device=training.device,
        callbacks=[],
        verbose=0,
    )
    net.training, net.make_views, net.embed = training, make_views, embed
    net.micro_batch_size = training.micro_batch_size
    net.initialize()
    rng = np.random.default_rng((training.seed, training.first_epoch))
    begun, moments = net.begin(len(source), training.first_epoch, rng), []
    batches, targets = begun["batches"], begun["targets"]
    for batch, indices in zip(
        source.batches(batches[:TRIAL_STEPS], training.device, rng), batches, strict=False
    ):
        given = () if targets is None else (targets.to(training.device)[indices],)
        moments.append(time.perf_counter())
        net.train_step((make_views(batch), *given))["loss"].item()  # synchronizes with the device
        # The first step is the slowest, so take a second one unless it takes very long.
        share = TRIAL_SHARE * (1 if len(moments) > 1 else 10)
        if time.perf_counter() - moments[0] > share * clock.seconds:
            break
    moments.append(time.perf_counter())
    # The first step is left out if there are others.
    step = (moments[-1] - moments[min(1, len(moments) - 2)]) / max(1, len(moments) - 2)
    left = clock.left - net.before_seconds  # needed again at the end
    epoch = max(net.before_seconds + step * len(batches), 1e-9)
    return max(0.0, left) / epoch, len(batches)


def planned_epochs(clock, objective, source, make_views, embed, training, *, n_epochs, verbose=0):
    """Return the number of epochs to plan for the remaining time, at most ``n_epochs``.

    Changes the objective.
    """
    parts = objective, source, make_views, embed
    epochs, n_steps = epochs_within(clock, *parts, training)
    if verbose:
        limit = "" if epochs < n_epochs else f"; max_epochs={n_epochs} is reached earlier"
        print(
            f"{max(0.0, clock.left):.3g} seconds of max_time are left, enough for about "
            f"{epochs:.3g} epochs of {n_steps} steps{limit}."
        )
    return min(n_epochs, round(epochs) if epochs > 1 else max(epochs, 1 / n_steps))


def train(
    objective,
    source,
    make_views,
    embed,
    training,
    *,
    n_epochs,
    epoch_task,
    clock=None,
    callbacks=(),
    earlier=(),
    optimizer_state=None,
    state=None,
    checkpoint=None,
    checkpoint_seconds=math.inf,
    unit="sample",
    verbose=0,
):
    """Train an objective in place; return the records of epochs and the state of the optimizer.

    ``source`` has a length and ``batches(order, device)``, which yields the samples of each row of
    an array of indices; ``make_views`` maps a batch to its views; ``embed`` is passed to the hooks
    of the objective. ``epoch_task(records)`` returns a context around each epoch, which may raise
    StopTraining at its end. After any other exception the objective is partly trained. There are at
    most ``n_epochs``, which may be infinite, within the time of ``clock``. ``earlier`` are records
    of previous epochs. ``checkpoint(state)`` is called after each epoch, and within one after
    ``checkpoint_seconds``; with such a ``state``, training resumes with identical results.
    """
    progress = Progress(unit)
    net = SSLNet(
        objective.to(training.device, memory_format=torch.channels_last),
        criterion=nn.Identity,
        max_epochs=math.ceil(min(n_epochs, training.max_epochs)),
        device=training.device,
        compile=training.compile,
        callbacks=[*([progress] if verbose else []), *callbacks],
        verbose=verbose,
    )
    net.training, net.make_views, net.embed = training, make_views, embed
    net.checkpoint, net.checkpoint_seconds, net.checkpointed_at = (
        checkpoint,
        checkpoint_seconds,
        time.perf_counter(),
    )
    net.earlier, net.micro_batch_size = list(earlier), training.micro_batch_size
    net.n_epochs, net.clock = n_epochs, clock or Clock(math.inf)
    net.warned = set(symptoms(net.earlier, objective))
    net.initialize()
    if optimizer_state is not None:
        net.load_moments(optimizer_state)
    if verbose and state is not None:
        print(f"Resumed at epoch {training.first_epoch + len(state['rows']) + 1}.")
    try:
        with contextlib.suppress(StopTraining):
            net.notify("on_train_begin", X=source, y=None)
            if state is not None:
                net.load_state(state)
                if verbose:
                    progress.go_on(net)
            while net.goes_on():
                stopped = True
                with epoch_task(lambda: records(net)), contextlib.suppress(StopTraining):
                    net.fit_loop(source, epochs=1)
                    net.save_state()
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
