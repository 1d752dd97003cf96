"""How an objective is trained: the loop of every method, and the place that knows skorch."""

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

# Smaller parts of a batch than this would take ever longer and save little.
SMALLEST_MICRO_BATCH = 8
# What an epoch takes is told by so many steps, or fewer where they take this share of the time.
TRIAL_STEPS, TRIAL_SHARE = 5, 0.01


class StopTraining(Exception):  # noqa: N818
    """Raised inside the loop to end training after the current epoch."""


def check_callbacks(callbacks):
    """Raise for what is not a callback of skorch, or needs labels or validation samples."""
    given = [callback[-1] if isinstance(callback, tuple) else callback for callback in callbacks]
    for callback in given:
        if not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                f"callbacks holds {callback!r}, which is not a skorch callback. Give instances of "
                "skorch.callbacks.Callback; scikit-learn's callbacks go into set_callbacks."
            )
    given = [callback() if isinstance(callback, type) else callback for callback in given]
    only_skorch = all(type(callback).__module__.startswith("skorch.") for callback in given)
    for callback in given:
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        if isinstance(callback, ScoringBase):
            raise ValueError(
                f"callbacks holds {name}, which scores predictions of labels; training without "
                "labels has none. Monitor train_loss, or record a score of your own in "
                "on_epoch_end of a callback."
            )
        if isinstance(callback, InputShapeSetter):
            raise ValueError(
                f"callbacks holds {name}, but the shape of samples is set by fit. Leave it out."
            )
        # Another callback may record what it likes, under any name.
        if only_skorch and isinstance(monitor, str) and monitor.startswith("valid_"):
            raise ValueError(
                f"callbacks holds {name}(monitor={monitor!r}), but fit has no validation samples. "
                f"Set monitor={monitor.replace('valid_', 'train_', 1)!r}."
            )


class SSLNet(NeuralNet):
    """skorch's net around an objective; reads the loss from the device once an epoch."""

    _default_callbacks = []  # they read the loss at every step
    unfinished = False  # whether an epoch has begun and not ended
    checkpoint = None  # what is called with the state of training
    begun = None  # what there is of an epoch to go on with
    progress = 0.0  # from 0 to 1, beyond where training goes on after its end
    step_seconds = before_seconds = 0.0  # of a step, and of what is done before an epoch

    @property
    def objective(self):
        """The objective itself, whose state has the same names whether it is compiled or not."""
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
        """Give the samples themselves; the epochs draw their batches."""
        return dataset

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train one epoch, or the rest of one, and record the means of what was returned."""
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
            self.module_.after_step(self.progress)
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
                "epoch, so that many samples were never seen. Give more time, or choose a smaller "
                "backbone or smaller images.",
                ConvergenceWarning,
            )
        self.record(epoch, stacked(earlier, steps), embedding, taken, begun["figures"])
        self.history.record("dur", time.perf_counter() - start)
        self.unfinished = False
        self.watch()

    @property
    def timed(self):
        """Whether time decides how far training goes."""
        return self.clock.seconds < math.inf and self.training.anneal

    def batches(self, source, begun, rng):
        """Give the samples of each batch of an epoch, and their targets if there are any.

        In the last epoch that there is time for they come again, in another order each time.
        """
        device, first, targets = self.training.device, begun["n_steps"], begun["targets"]
        while True:
            batches = begun["batches"]
            parts = source.batches(batches[first:], device, rng)
            if targets is None:
                yield from ((part,) for part in parts)
            else:
                # Looked up at once: indexing by an array waits for a GPU.
                yield from zip(parts, targets.to(device)[batches[first:]], strict=True)
            first = len(batches)
            ended = not self.timed or len(self.history) >= self.n_epochs
            if ended or self.has_time_for_epoch():
                return
            again = rng.permutation(batches[: begun["n_planned"]].ravel())
            begun["batches"] = np.concatenate([batches, again.reshape(-1, batches.shape[1])])

    def position(self, epochs):
        """Return where in its plan training is after some epochs; where time is short, by that."""
        t = self.training
        if not self.timed:
            return epochs
        clock = self.clock
        usable = clock.seconds - self.before_seconds - clock.origin
        if usable <= 0:  # for the one step that is taken
            return epochs
        share = (clock.elapsed - clock.origin) / usable
        return t.max_epochs * min(1.0, max(share, epochs / self.n_epochs))

    def seconds_of_step(self, moments):
        """Return what a step takes, by the moments at which those of this epoch ended."""
        if len(moments) > 2:
            return (moments[-1] - moments[1]) / (len(moments) - 2)
        if self.training.compile and len(self.history) == 1:
            # The first step, in which the network was compiled, tells nothing of the others.
            self.clock.origin = self.clock.elapsed
            return self.step_seconds
        return moments[1] - moments[0]

    def has_time(self, seconds):
        """Tell whether there is time for more than this."""
        return self.clock.left > seconds

    def goes_on(self):
        """Tell whether there is to be another epoch."""
        if len(self.history) >= self.n_epochs:
            return False
        return not self.history or self.begun is not None or self.has_time_for_epoch()

    def has_time_for_epoch(self):
        """Tell whether there is time for another epoch.

        What an objective does after training takes about as long as what it does before an epoch,
        for which there should be as long for its steps.
        """
        return self.has_time(3 * self.before_seconds + self.step_seconds / 2)

    def begin(self, n_samples, epoch, rng):
        """Let the objective decide about an epoch; return all that its steps depend on."""
        start = time.perf_counter()
        self.module_.train()
        seed_torch(self.training.device, self.training.seed, epoch)
        plan = self.module_.before_epoch(self.embed, rng)
        for parameter in plan.renewed:
            self.optimizer_.state.pop(parameter, None)
        order = rng.permutation(n_samples) if plan.order is None else plan.order
        batches = split(order, self.training.batch_size)
        begun = {"batches": batches, "n_planned": len(batches)}
        begun |= {"targets": plan.targets, "figures": plan.figures}
        self.before_seconds = time.perf_counter() - start
        return begun | {"steps": {}, "n_steps": 0, "rng": rng.bit_generator.state}

    def record(self, epoch, values, embedding, batches, figures):
        """Write an epoch into the history: the one read from the device in it."""
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
        """Stop where the loss of a step of this epoch is no number any more."""
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            step = bad[0].item()
            raise self.not_finite(f"The loss became {losses[step].item()} in step {step + 1}")

    def not_finite(self, what):
        """Return the error that says what is no number any more."""
        t, remedy = self.training, 'or precision="float32"'
        if t.precision == "float32":
            remedy = "and look for views with values that are no numbers"
        return ValueError(
            f"{what} of epoch {t.first_epoch + len(self.history)}, at lr={t.lr:g} and "
            f'precision="{t.precision}". Try a lower lr, {remedy}.'
        )

    def watch(self):
        """Warn of what goes wrong, once of each cause."""
        rows = self.earlier + records(self)
        found = symptoms(rows, self.objective)
        warn(found, self.warned)
        self.warned |= found.keys()

    def due(self):
        """Tell whether the state of training is to be written, within an epoch."""
        return (
            self.checkpoint is not None
            and time.perf_counter() - self.checkpointed_at > self.checkpoint_seconds
        )

    def save_state(self, begun=None):
        """Hand over all that the rest of training depends on; ``begun`` is an epoch under way."""
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
        """Go on from where a checkpoint was written."""
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
        """Give the optimizer moments, copied and in the order of memory of their weights.

        Learning rate and weight decay are not taken over, as they may have been changed since.
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
        """Take a step on a batch's views, and its targets; nothing is read from the device."""
        step = self.with_gradients(batch)
        if self.scaler_.is_enabled():
            self.scaler_.unscale_(self.optimizer_)
            gradients = [p.grad for p in self.module_.parameters() if p.grad is not None]
            finite = torch.stack(torch._foreach_norm(gradients)).isfinite().all()
            step["skipped_steps"] = (~finite).float()  # as the scaler will
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

    def with_gradients(self, batch):
        """Return what the objective gives for a batch, its gradients at the parameters.

        Where a GPU's memory is not enough, the step is repeated from where it began, in less.
        """
        t = self.training
        go_back = _way_back(self.objective, t.device) if may_run_out(t.device) else None
        while True:
            try:
                # What was compiled knows nothing of micro-batches.
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
        """Return a size of micro-batches for which memory may suffice; tell of it, once."""
        size, whole = self.micro_batch_size, needs_whole_batches(self.objective)
        if size is not None and (whole or size <= SMALLEST_MICRO_BATCH):
            raise MemoryError(
                f"The memory of {self.training.device} is not enough for batches of {n_samples} "
                "samples, also in smaller parts. Lower batch_size or the size of the images, or "
                "choose a smaller backbone."
            ) from error
        smaller = max(SMALLEST_MICRO_BATCH, (size or n_samples) // 2)
        if size is None:
            how = "in micro-batches"
            if whole:
                how = "with activations moved to the memory of the CPU, for its batch norms"
            tell(
                f"The memory of {self.training.device} is not enough for batches of {n_samples} "
                f"samples at once. Steps are taken {how}, to the same result, and take longer. "
                "Set micro_batch_size to begin so."
            )
        return smaller

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
        except (KeyError, ValueError, SkorchException) as error:
            if "not found in history" not in str(error):
                raise
            names = sorted(name for name in self.history[-1] if name != "batches")
            monitors = [c.monitor for c in self.theirs() if hasattr(c, "monitor")]
            raise ValueError(
                f"A callback monitors what is not in the history: one of {monitors}. Recorded are "
                f"{names}."
            ) from error


def _way_back(objective, device):
    """Return a function that undoes what a step changes before it has all gradients."""
    buffers = list(objective.buffers())
    # One operation for those of a number type, where each its own would be felt.
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
    """Return what the steps of an epoch returned, one tensor (n_steps,) for each name."""
    values = {name: torch.stack([step[name] for step in steps]).float() for name in steps[0]}
    if not earlier:
        return values
    return {name: torch.cat([earlier[name].to(v.device), v]) for name, v in values.items()}


def _state_of(callback):
    """Return what a callback has learned: all but what it was made with."""
    made_with = inspect.signature(type(callback)).parameters
    return {name: value for name, value in vars(callback).items() if name not in made_with}


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

        total = math.ceil(min(net.n_epochs, net.training.max_epochs) * len(X))
        self.bar = tqdm(total=total, unit=self.unit, unit_scale=True)
        self.n_samples = len(X)

    def go_on(self, net):
        """Begin where a checkpoint was written: what was done before counts in no rate."""
        steps = 0 if net.begun is None else net.begun["n_steps"] * net.begun["batches"].shape[1]
        self.bar.initial = self.bar.n = len(net.history) * self.n_samples + steps
        self.bar.refresh()

    def on_batch_end(self, net, batch=None, **kwargs):
        """Move by a batch; where time decides, the share of it that is gone tells the total."""
        self.bar.update(len(batch))
        if net.timed:
            self.bar.total = max(self.bar.n, round(self.bar.n / net.progress))

    def on_epoch_end(self, net, **kwargs):
        """Show the epoch's loss, and count the samples it left out as done."""
        if not net.timed:
            self.bar.update(len(net.history) * self.n_samples - self.bar.n)
        self.bar.set_postfix(epoch=len(net.history), loss=net.history[-1, "train_loss"])

    def on_train_end(self, net, **kwargs):
        """End at the total where time decided it."""
        if net.timed:
            self.bar.total = self.bar.n
            self.bar.refresh()

    def close(self):
        """Leave the bar as it stands."""
        if hasattr(self, "bar"):
            self.bar.close()


def finish(objective, embed, training, n_epochs, unfinished=False):
    """Let an objective do what it does after training, which had some epochs."""
    key = training.seed, training.first_epoch + n_epochs
    seed_torch(training.device, *key)
    objective.after_training(embed, np.random.default_rng(key), unfinished)


def epochs_within(clock, objective, source, make_views, embed, training):
    """Return how many epochs the rest of a clock's time gives, and the steps that one has.

    It takes a few steps to find out, after which the objective is of no use.
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
        net.train_step((make_views(batch), *given))["loss"].item()  # which waits for the device
        # One step alone, which is the slowest, is not enough unless it takes very long.
        share = TRIAL_SHARE * (1 if len(moments) > 1 else 10)
        if time.perf_counter() - moments[0] > share * clock.seconds:
            break
    moments.append(time.perf_counter())
    # The first step is the slowest, and is left out where there are others.
    step = (moments[-1] - moments[min(1, len(moments) - 2)]) / max(1, len(moments) - 2)
    left = clock.left - net.before_seconds  # at the end, too
    epoch = max(net.before_seconds + step * len(batches), 1e-9)
    return max(0.0, left) / epoch, len(batches)


def planned_epochs(clock, objective, source, make_views, embed, training, *, n_epochs, verbose=0):
    """Return how many epochs to plan for the rest of a clock's time, at most ``n_epochs``.

    The objective is of no use afterwards.
    """
    parts = objective, source, make_views, embed
    epochs, n_steps = epochs_within(clock, *parts, training)
    if verbose:
        limit = "" if epochs < n_epochs else f", and max_epochs={n_epochs} ends it before"
        print(
            f"{max(0.0, clock.left):.3g} seconds are left of max_time, which gives about "
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
    """Train an objective in place; return a dict of records an epoch, and the optimizer's moments.

    ``source`` has a length and ``batches(order, device)``, which yields the samples of each row of
    an array of indices; ``make_views`` turns a batch into its views; ``embed`` is what the
    objective's hooks get. ``epoch_task(records)`` gives a context around each epoch, which may
    raise StopTraining at its end. Any other exception leaves the objective wherever it was.
    There are at most ``n_epochs``, which may be infinite, in the time that a ``clock`` gives.
    ``earlier`` are the records of the epochs before. ``checkpoint(state)`` gets all that the rest
    depends on after each epoch, and in it after so many seconds; with such a ``state`` training
    goes on from there, to the same end.
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
