"""Training by a recipe: builds the networks, plans the time, and trains."""

import contextlib
import copy
import functools
import gc
import math
from dataclasses import replace

import numpy as np
import torch

from sklearn_ssl._runtime.isolation import isolated, seed_torch
from sklearn_ssl._runtime.malloc import untrimmed_heap
from sklearn_ssl._runtime.world import world
from sklearn_ssl.data.batch import mapped, shape_of
from sklearn_ssl.inference.batches import TRIAL_SAMPLES, check_views, in_batches, views_of
from sklearn_ssl.networks.encoder import count_features, encoder_at
from sklearn_ssl.networks.sync_batchnorm import synchronized_batch_norms
from sklearn_ssl.training.callbacks import (
    AverageBuffers,
    Checkpoint,
    Diagnostics,
    EpochTask,
    ProgressBar,
    Schedule,
    StopTraining,
    TimeBudget,
    Trial,
    records,
)
from sklearn_ssl.training.callbacks.users import ours
from sklearn_ssl.training.net import make_net
from sklearn_ssl.training.optimizers import load_moments, moments_on_cpu
from sklearn_ssl.training.recipe import Hooks, Model

SILENT = Hooks()


def train(recipe, data, clock, hooks=SILENT, state=None):
    """Train by a recipe on the samples of a source; return the :class:`Model`.

    ``clock`` limits the time, and ``state`` is that of a checkpoint to resume.
    """
    device = recipe.device
    with isolated(device), untrimmed_heap(device.type == "cpu"), clock.running():
        near, scale = data.near(device, hooks.verbose), recipe.scaling.on(device)
        make_views = functools.partial(views_of, recipe.views, scale)
        embed = functools.partial(_embed, near, scale, device)
        model = _untrained(recipe, data, None if state is None else state["planned"])
        few = near.batch(slice(TRIAL_SAMPLES), device)
        known = [shape_of(data.spec.samples())]
        for view in check_views(recipe.views, scale, few, data.spec):
            if shape_of(view) not in known:
                known.append(shape_of(view))
                two = mapped(lambda part: part[:2].cpu(), view)
                count_features(model.objective.encoder, two)
        if state is not None:
            clock.spent, clock.origin = clock.spent + state["elapsed"], state["origin"]
        elif clock.seconds < math.inf and model.settings.anneal:
            # On a copy, as a factory may return the same module again.
            tried = copy.deepcopy(model.objective)
            parts = tried, near, make_views, functools.partial(embed, tried), model.settings
            model = _untrained(recipe, data, plan_epochs(*parts, clock, recipe, hooks.verbose))
            clock.origin = clock.elapsed
        if recipe.start is None and state is None:  # else it was called before
            samples = (scale(near.batch(part, device)) for part in near.parts())
            with torch.no_grad():
                model.objective.to(device).before_training(samples)
        parts = near, make_views, functools.partial(embed, model.objective)
        finished = functools.partial(_as_if_finished, recipe, data, model)
        how = {"unit": data.spec.unit, "finished": finished, "state": state}
        return run(recipe, model, *parts, clock, hooks, **how)


def run(recipe, model, data, make_views, embed, clock, hooks, *, unit, finished=None, state=None):
    """Train an untrained model; return the trained one."""
    objective, settings = model.objective, model.settings
    budget, bar = TimeBudget(recipe.n_epochs, clock), ProgressBar(unit)
    write = hooks.write and functools.partial(_checkpointed, hooks.write, clock, recipe, settings)
    task = EpochTask(hooks.epoch_task, hooks.given, lambda net: hooks.finished(finished(net)))
    callbacks = [
        *ours(budget, Schedule(), AverageBuffers(), Diagnostics(recipe.earlier, objective)),
        *ours(*([bar] if hooks.verbose else [])),
        *hooks.callbacks,
        *ours(Checkpoint(write, hooks.checkpoint_seconds, state)),
        *ours(*([task] if hooks.epoch_task else [])),
    ]
    plan = recipe.plan(embed)
    net = make_net(objective, settings, make_views, plan, budget, callbacks, hooks.verbose)
    if recipe.start is not None and recipe.start.optimizer_state is not None:
        load_moments(net.optimizer_, recipe.start.optimizer_state)
    if hooks.verbose and state is not None:
        print(f"Resumed at epoch {settings.first_epoch + len(state['rows']) + 1}.")
    try:
        with synchronized_batch_norms(objective):
            goes_on = _agreed(net.notify, "on_train_begin", X=data, y=None)
            while goes_on and budget.allows_epoch(net):
                goes_on = _agreed(net.fit_loop, data, epochs=1)
        with contextlib.suppress(StopTraining):
            net.notify("on_train_end", X=data, y=None)
        finish(objective, embed, settings, len(records(net)), net.epoch is not None)
    finally:
        bar.close()
    objective.zero_grad()  # gradients would stay in memory
    return _finished(
        replace(model, stopped_from_outside=task.requested_stop),
        recipe,
        objective.cpu().eval(),
        records(net),
        moments_on_cpu(net.optimizer_),
    )


def plan_epochs(objective, data, make_views, embed, settings, clock, recipe, verbose=0):
    """Return the number of epochs to plan for the remaining time, at most those of the recipe.

    Takes a few training steps, which change the objective.
    """
    trial, budget, n_epochs = Trial(clock), TimeBudget(1), recipe.n_epochs
    net = make_net(objective, settings, make_views, recipe.plan(embed), budget, ours(trial))
    with contextlib.suppress(StopTraining):
        net.fit_loop(data, epochs=1)
    epochs, n_steps = trial.epochs(net), net.epoch.n_planned
    if verbose:
        limit = "" if epochs < n_epochs else f"; max_epochs={n_epochs} is reached earlier"
        print(
            f"{max(0.0, clock.left):.3g} seconds of max_time are left, enough for about "
            f"{epochs:.3g} epochs of {n_steps} steps{limit}."
        )
    return min(n_epochs, round(epochs) if epochs > 1 else max(epochs, 1 / n_steps))


def _agreed(function, *args, **given):
    """Call a function; return whether it stopped training in no process."""
    stopped = True
    with contextlib.suppress(StopTraining):
        function(*args, **given)
        stopped = False
    return not world().largest(stopped)


def finish(objective, embed, settings, n_epochs, unfinished=False):
    """Call ``after_training`` of an objective with its own seed."""
    key = settings.seed, settings.first_epoch + n_epochs
    seed_torch(settings.device, *key)
    objective.after_training(embed, np.random.default_rng(key), unfinished)


def _untrained(recipe, data, planned=None):
    """Return the model before training, for a planned number of epochs if it is limited by time."""
    with torch.device("cpu"):  # whatever the process's default device is
        if recipe.start is None:
            seed_torch(recipe.device, recipe.seed)
        encoder = recipe.make_encoder()
        n_features = count_features(encoder, data.spec.samples())
        settings = recipe.make_settings(planned)
        objective = recipe.make_objective(encoder, n_features, settings).float()
        encoder = encoder_at(objective.encoder, recipe.layer)
        n_features_out = count_features(encoder, data.spec.samples())
    if recipe.start is not None:
        _restore(objective, recipe.start.objective)
    if world().size > 1:  # a backbone that was given may differ
        objective.load_state_dict(world().from_main(objective.state_dict()))
    return Model(objective, encoder, settings, n_features_out, [])


def _finished(model, recipe, objective, rows, optimizer_state=None):
    """Return the model after the epochs with these records."""
    encoder = encoder_at(objective.encoder, recipe.layer).eval()
    if recipe.layer is not None:
        # Tracing leaves reference cycles of frames, which hold the samples on a GPU.
        gc.collect()
    rows = recipe.earlier + rows
    trained = {"objective": objective, "encoder": encoder, "history": rows}
    return replace(model, **trained, optimizer_state=optimizer_state)


def _as_if_finished(recipe, data, model, net):
    """Return the model as if training ended now."""
    copied, rows, cpu = copy.deepcopy(model.objective).cpu(), records(net), torch.device("cpu")
    parts = copied.encoder.eval(), data, recipe.scaling.on(cpu), cpu
    finish(copied, functools.partial(in_batches, *parts), model.settings, len(rows))
    return _finished(model, recipe, copied.eval(), rows)


def _checkpointed(write, clock, recipe, settings, state):
    """Write a checkpoint."""
    times = {"elapsed": clock.elapsed, "origin": clock.origin, "planned": settings.max_epochs}
    write("checkpoint", state | times | {"seed": recipe.seed})


def _embed(data, scale, device, objective):
    """Return the current features of all samples."""
    return in_batches(objective.encoder.eval(), data, scale, device)


def _restore(objective, old):
    """Load the weights of an old objective into a new one."""
    try:
        objective.load_state_dict(old.state_dict())
    except RuntimeError as error:
        raise ValueError(
            "Training cannot continue from the weights of the previous fit because a parameter "
            "that determines the shape of the network was changed. Set it back, or fit a clone."
        ) from error
