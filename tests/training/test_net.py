"""The training loop: steps, hooks, optimizers, precision, and interrupts."""

import copy
import math
import signal
from functools import partial

import numpy as np
import pytest
import skorch.callbacks
import torch
from common import IMAGE_METHODS, exhaustively, shrunk, slowly, takes_network
from torch import nn
from torch._inductor import config as inductor

from sklearn_ssl import Device, SimCLRTransformer
from sklearn_ssl._runtime.isolation import isolated
from sklearn_ssl.data.sources import ArraySource
from sklearn_ssl.inference.batches import in_batches
from sklearn_ssl.training.clock import Clock
from sklearn_ssl.training.objective import Epoch, Objective
from sklearn_ssl.training.recipe import Hooks, Model, TrainingRecipe
from sklearn_ssl.training.run import run as run_model
from sklearn_ssl.training.schedule import Training, learning_rate_factor
from sklearn_ssl.views import ImageViews

simclr = partial(shrunk, SimCLRTransformer)


CPU = torch.device("cpu")


def test_order_is_a_function_of_seed_and_epoch():
    def order(**settings):
        objective = Recorder()
        run(objective, **settings)
        return np.concatenate(objective.samples)

    first = order(max_epochs=3)
    np.testing.assert_array_equal(first, order(max_epochs=3))
    np.testing.assert_array_equal(first[18:], order(first_epoch=1, max_epochs=2))
    assert not np.array_equal(first[:18], first[18:36])
    assert not np.array_equal(first, order(max_epochs=3, seed=1))
    assert len(np.unique(first[:18], axis=0)) == 18
    left_out = [set(range(20)) - set(part) for part in _numbers(order(max_epochs=9)).reshape(9, 18)]
    assert len(set().union(*left_out)) > 2  # not always the same samples


class Recorder(Objective):
    """Counts what the engine does with it."""

    def __init__(self):
        super().__init__(nn.Linear(3, 3))
        self.progress, self.samples, self.draws = [], [], []

    def forward(self, views):
        self.samples.append(views[0].numpy())
        self.draws.append(torch.rand(1).item())
        return {"loss": self.encoder(views[0]).square().mean(), "one": torch.tensor(1.0)}

    def after_update(self, terms, progress):
        self.progress.append(progress)


def test_optimizer_and_its_settings_may_change_between_epochs(images):
    kept, decayed = (simclr(weight_decay=0.0).partial_fit(images) for _ in range(2))
    kept.partial_fit(images)
    decayed.set_params(weight_decay=20.0).partial_fit(images)
    norms = [model.encoder_.backbone[0][0].weight.norm().item() for model in (kept, decayed)]
    assert norms[1] < 0.95 * norms[0]
    changed = simclr()
    for optimizer in ("sgd", "adamw", "lars"):
        changed.set_params(optimizer=optimizer).partial_fit(images)
    assert {key for state in changed._optimizer_state.values() for key in state} == {"velocity"}


SAMPLES = np.random.default_rng(0).normal(size=(20, 3)).astype("f4")


def _numbers(samples):
    """Which of the 20 samples each one is."""
    return (samples[:, None] == SAMPLES).all(axis=2).argmax(axis=1)


def run(objective, callbacks=(), **settings):
    training = Training(
        **{
            "max_epochs": 4,
            "batch_size": 8,
            "optimizer": "sgd",
            "lr": 0.1,
            "weight_decay": 0.0,
            "warmup_epochs": 1,
            "device": CPU,
            "precision": "float32",
            "compile": False,
            "seed": 0,
            "n_samples": 20,
        }
        | settings
    )
    source = ArraySource(SAMPLES, (3,))
    parts = None, None, None, lambda planned: training, None, None
    recipe = TrainingRecipe(*parts, n_epochs=training.max_epochs, device=CPU, seed=training.seed)
    with isolated(CPU):
        model = run_model(
            recipe,
            Model(objective, objective.encoder, training, 3, []),
            source,
            lambda batch: [batch],
            lambda: SAMPLES,
            Clock(math.inf),
            Hooks(callbacks),
            unit="sample",
        )
    return model.history, model.optimizer_state


def test_loop_hands_progress_views_and_records():
    objective = Recorder()
    history, _ = run(objective)
    assert [len(samples) for samples in objective.samples] == [6] * 3 * 4
    np.testing.assert_allclose(objective.progress, np.arange(1, 13) / 12)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert [row["one"] for row in history] == [1.0] * 4
    losses = [row["train_loss"] for row in history]
    assert losses == sorted(losses, reverse=True)
    rates = [row["lr"] for row in history]  # in the middle of each epoch's last step
    expected = [0.1 * learning_rate_factor(e + 5 / 6, 1, 4) for e in range(4)]
    np.testing.assert_allclose(rates, expected)


class Planner(Recorder):
    """Plans its epochs: some samples, targets, and weights set anew."""

    def __init__(self):
        super().__init__()
        self.steps, self.targets, self.embedded, self.moments = [], [], [], []

    def plan_epoch(self, embed, rng):
        self.embedded.append((embed(), rng.random(), self.training))
        self.order = np.arange(4, 20)
        self.eval()  # as embedding samples does
        return Epoch(self.order, torch.arange(20) * 10, (self.encoder.bias,))

    def forward(self, views, targets):
        assert self.training
        self.targets.append((views[0].numpy(), targets.numpy()))
        return super().forward(views)

    def before_update(self, progress):
        self.steps.append((progress, self.encoder.weight.grad.clone()))
        self.encoder.weight.grad.zero_()

    def after_training(self, embed, rng, unfinished):
        self.last = (embed(), rng.random(), unfinished)


def test_hooks_get_what_they_need_and_are_heeded():
    objective = Planner()
    weight, bias = (
        objective.encoder.weight.detach().clone(),
        objective.encoder.bias.detach().clone(),
    )
    run(objective, max_epochs=2)
    assert all(embedded is SAMPLES for embedded, *_ in objective.embedded)
    assert all(training for *_, training in objective.embedded)
    assert len(objective.targets) == 2 * 2  # 16 samples in batches of 8
    for samples, targets in objective.targets:
        np.testing.assert_array_equal(10 * _numbers(samples), targets)
    np.testing.assert_array_equal(_numbers(objective.targets[0][0]), np.arange(4, 12))
    # Gradients are there before the step, and what the hook makes of them is what is used.
    assert [progress for progress, _ in objective.steps] == [1 / 8, 3 / 8, 5 / 8, 7 / 8]
    assert all(gradient.abs().sum() > 0 for _, gradient in objective.steps)
    torch.testing.assert_close(objective.encoder.weight, weight)
    assert not torch.equal(objective.encoder.bias, bias)
    assert objective.last[0] is SAMPLES
    assert objective.last[2] is False
    later = Planner()
    run(later, max_epochs=1, first_epoch=1)
    draws = [draw for _, draw, _ in objective.embedded]
    assert draws[1] == later.embedded[0][1] != draws[0]  # a function of seed and epoch
    assert later.last[1] == objective.last[1]


def test_optimizer_forgets_reinitialized_parameters():
    """Their moments are those of one epoch; all others' go on."""
    objective = Planner()
    _, state = run(objective, max_epochs=3, optimizer="adamw")
    assert sorted(int(moments["step"]) for moments in state.values()) == [2, 6]


def test_weight_decay_rises_to_its_end_and_the_rate_falls_to_its_own():
    seen = []

    class Watch(skorch.callbacks.Callback):
        def on_grad_computed(self, net, **kwargs):
            seen.append([group["weight_decay"] for group in net.optimizer_.param_groups])

    class Rises(Recorder):
        def optimizer_groups(self):
            return [group | {"final_weight_decay": 0.5} for group in super().optimizer_groups()]

    history, _ = run(Rises(), [Watch()], weight_decay=0.1, final_lr=0.25)
    progress = (np.arange(12) + 0.5) / 12
    decays, spared = np.array(seen).T
    np.testing.assert_allclose(decays, 0.1 + 0.4 * (1 - np.cos(np.pi * progress)) / 2)
    assert (spared == 0).all()
    expected = 0.1 * (0.25 + 0.75 * learning_rate_factor(3 + 5 / 6, 1, 4))
    assert history[-1]["lr"] == pytest.approx(expected)
    run(Recorder(), [Watch()], weight_decay=0.1)
    assert {decay for decay, _ in seen[12:]} == {0.1}


def test_rate_of_a_group_is_constant_after_warm_up():
    seen = []

    class Watch(skorch.callbacks.Callback):
        def on_grad_computed(self, net, **kwargs):
            seen.append([group["lr"] for group in net.optimizer_.param_groups])

    class Constant(Recorder):
        def __init__(self):
            super().__init__()
            self.predict = torch.nn.Linear(2, 2)

        def optimizer_groups(self):
            others = {"params": list(self.encoder.parameters())}
            predictor = {"params": list(self.predict.parameters()), "constant_lr": True}
            return [others, predictor]

    history, _ = run(Constant(), [Watch()])
    position = (np.arange(12) + 0.5) / 3
    decayed = [0.1 * learning_rate_factor(at, 1, 4) for at in position]
    np.testing.assert_allclose(np.transpose(seen)[:2], [decayed, decayed])
    np.testing.assert_allclose(np.transpose(seen)[2:], [np.minimum(position, 1) * 0.1] * 2)
    assert history[-1]["lr"] == pytest.approx(decayed[-1])


def test_groups_of_parameters_minimize_losses_of_their_own():
    class Two(Recorder):
        def __init__(self):
            torch.manual_seed(0)
            super().__init__()
            self.critic = torch.nn.Parameter(torch.ones(1))

        def forward(self, views):
            found = super().forward(views)
            found["loss"] = found["loss"] + 7 * self.critic.sum()
            return found | {"critic": 2 * self.critic.sum() - self.encoder(views[0]).mean()}

        def optimizer_groups(self):
            others = [p for name, p in self.named_parameters() if name != "critic"]
            return [{"params": others}, {"params": [self.critic], "loss": "critic"}]

    class Alone(Two):
        def optimizer_groups(self):
            return super().optimizer_groups()[:1]

    found = {}

    class Watch(skorch.callbacks.Callback):
        def on_grad_computed(self, net, named_parameters=(), **kwargs):
            found.setdefault(net, {n: p.grad for n, p in named_parameters if p.grad is not None})

    run(Two(), [Watch()])
    run(Alone(), [Watch()])
    both, alone = found.values()
    assert both.pop("critic").item() == 2
    alone.pop("critic")
    assert both.keys() == alone.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(both[name], gradient)


def test_draws_are_a_function_of_seed_epoch_and_step():
    """An epoch draws the same, whatever came before it in the process."""
    first, later = Recorder(), Recorder()
    run(first)
    run(later, first_epoch=2, max_epochs=2)
    assert first.draws[6:] == later.draws
    assert len(set(first.draws)) == 12


@pytest.mark.slow
def test_fit_of_some_epochs_equals_one_that_went_on(images):
    """partial_fit carries weights, optimizer, seed and epoch, also through a pickle."""
    import pickle

    straight, stopped = simclr(optimizer="adamw"), simclr(optimizer="adamw")
    for _ in range(4):
        straight.partial_fit(images)
    stopped.partial_fit(images).partial_fit(images)
    resumed = pickle.loads(pickle.dumps(stopped))
    resumed.partial_fit(images).partial_fit(images)
    np.testing.assert_array_equal(straight.transform(images), resumed.transform(images))
    assert straight.loss_curve_ == resumed.loss_curve_
    assert straight.n_iter_ == resumed.n_iter_ == 4
    steps = 4 * math.ceil(len(images) / resumed.batch_size_)
    assert {state["step"].item() for state in resumed._optimizer_state.values()} == {steps}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_trains_and_embeds_in_float32(images, precision):
    seen = []

    class Spy(nn.Flatten):
        def forward(self, x):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(x)

    model = simclr(
        device=Device(precision=precision), backbone=nn.Sequential(Spy(), nn.Linear(64, 8))
    )
    embedding = model.fit_transform(images[:40])
    assert model.precision_ == precision
    assert True in seen
    assert seen[-1] is False
    assert embedding.dtype == np.float32
    assert all(p.dtype == torch.float32 for p in model.encoder_.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["small_convnet", "resnet18"])
def test_embedding_in_bfloat16_is_near_that_in_float32(photos, backbone):
    """As a GPU computes it, on the processor; transform itself stays with float32 there."""
    photos = photos[:16]
    model = simclr(backbone=backbone, device=Device(precision="bfloat16")).fit(photos)
    exact, source = model.transform(photos), ArraySource(photos, photos.shape[1:], 2)
    parts = source, model._scaling.on(torch.device("cpu")), torch.device("cpu")
    rough = in_batches(lambda x: model._network()(x).float(), *parts, "bfloat16")
    error = np.linalg.norm(rough - exact) / np.linalg.norm(exact)
    assert 1e-6 < error < 1e-2
    assert rough.dtype == np.float32
    assert model._resolve_precision(torch.device("cuda")) == "bfloat16"
    assert (
        model.set_params(device__precision="float32")._resolve_precision(torch.device("cuda"))
        == "float32"
    )


@pytest.mark.slow
def test_random_state(images):
    one = simclr(random_state=1).fit_transform(images)
    np.testing.assert_array_equal(one, simclr(random_state=1).fit_transform(images))
    assert not np.allclose(one, simclr(random_state=2).fit_transform(images))
    rng = np.random.RandomState(0)
    first, second = simclr(random_state=rng), simclr(random_state=rng)
    assert not np.allclose(first.fit_transform(images), second.fit_transform(images))
    a, b = (simclr(random_state=None).fit_transform(images) for _ in range(2))
    assert not np.allclose(a, b)


def interrupt(*args):
    """What a terminal's Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)
    return ImageViews()(*args)


def test_ctrl_c_leaves_fit(images):
    model = simclr(views=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(images)
    assert not hasattr(model, "encoder_")
    fitted = simclr().fit(images)
    before = fitted.transform(images)
    with pytest.raises(KeyboardInterrupt):
        fitted.set_params(views=interrupt).partial_fit(images)
    np.testing.assert_array_equal(fitted.transform(images), before)
    assert fitted.n_iter_ == 1


@pytest.mark.parametrize(
    "method", [slowly(m) if m is SimCLRTransformer else exhaustively(m) for m in IMAGE_METHODS]
)
def test_compiled_objective_trains_and_pickles(method, images, monkeypatch):
    import pickle

    asked, compile_module = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda m: asked.append(m) or compile_module(m))
    n_channels = 3 if method.needs_color else 1
    backbone = nn.Sequential(nn.Conv2d(n_channels, 8, 3, 2, 1), nn.ReLU(), nn.Flatten())
    if not takes_network(method, backbone):
        return
    small = partial(shrunk, method, backbone=backbone, max_epochs=2)
    plain = small().fit(images)
    with inductor.patch(fallback_random=True):  # it draws the same masks, patches and tiles
        compiled = small(device=Device(compile=True)).fit(images)
    assert compiled.objective_ in asked
    assert plain.objective_ not in asked
    np.testing.assert_allclose(compiled.loss_curve_, plain.loss_curve_, rtol=1e-3)
    copied = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_array_equal(copied.transform(images), compiled.transform(images))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"device": "tpu"}, r"device='tpu' is unknown. Give \"auto\", \"cpu\""),
        ({"device": "cuda:99"}, r'device="cuda:99" is not available: torch finds \d+ GPUs'),
        ({"max_epochs": 0}, r"'max_epochs' .* in the range \[1, inf\). Got 0"),
        ({"batch_size": 1}, r"'batch_size' .* in the range \[2, inf\). Got 1"),
        ({"lr": 0}, "'lr' .* Got 0"),
        ({"optimizer": "adam"}, "'optimizer' .* Got 'adam'"),
        ({"temperature": -1.0}, "'temperature' .* Got -1.0"),
        ({"views": lambda batch: batch}, "must map a batch to a list of tensors"),
        ({"views": lambda batch: [batch, batch[:3]]}, "a view of all 64 samples"),
        ({"views": lambda batch: [batch]}, "the view recipe gave 1"),
    ],
)
def test_bad_parameters(images, parameters, message):
    model = simclr(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(images)
    assert not hasattr(model, "encoder_")
    assert not hasattr(model, "n_features_in_")


def test_batch_size_may_exceed_the_samples(images):
    model = simclr(batch_size=1000).fit(images[:30])
    assert model.batch_size_ == 30
    assert simclr().fit(images[:2]).transform(images[:1]).shape[0] == 1


def test_a_partial_fit_that_raises_leaves_the_moments_as_they_were(images):
    class Raise(skorch.callbacks.Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history[-1, "batches"]) == 3:
                raise BrokenPipeError

    model = simclr(batch_size=40).partial_fit(images)
    before = copy.deepcopy(model._optimizer_state)
    with pytest.raises(BrokenPipeError):
        model.set_params(callbacks=[Raise()]).partial_fit(images)
    for index, moments in before.items():
        for name, value in moments.items():
            assert torch.equal(model._optimizer_state[index][name], value), name
