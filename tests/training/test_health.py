"""Fits that go wrong are told of, and why; healthy ones are left in peace."""

import importlib.util
import math
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from common import (
    IMAGE_METHODS,
    METHODS,
    REPRESENTED,
    digits,
    exhaustively,
    narrow_network,
    quick_or_slow,
    shrunk,
    slowly,
    takes,
    taking_gray,
)
from sklearn.datasets import load_breast_cancer

import sklearn_ssl
from sklearn_ssl import (
    ColorizationTransformer,
    DeepClusterEstimator,
    Device,
    DINOTransformer,
    ExemplarTransformer,
    FitCache,
    IBOTTransformer,
    SimCLRTransformer,
    SplitBrainTransformer,
    SupConTransformer,
)
from sklearn_ssl.methods.contrastive.simclr import nt_xent
from sklearn_ssl.networks.queue import Queue
from sklearn_ssl.training.health import spread, symptoms

simclr = partial(shrunk, SimCLRTransformer)


def _benchmark():
    """Return the benchmark whose provoked collapses are tried here with one seed."""
    folder = Path(__file__).parents[2] / "benchmarks"
    before, sys.path = sys.path, [str(folder), *sys.path]
    tests_common = sys.modules.pop("common")  # benchmarks have a module of that name, too
    try:
        spec = importlib.util.spec_from_file_location("health_benchmark", folder / "health.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path, sys.modules["common"] = before, tests_common
    return module


benchmark = _benchmark()


def _one_for_each_cause():
    """Leave one of the ways to each cause, and mark the others as exhaustive."""
    seen = set()
    for name, (cause, *_) in benchmark.PROVOKED.items():
        again = cause in seen
        seen.add(cause)
        yield pytest.param(name, marks=pytest.mark.exhaustive) if again else name


@pytest.mark.slow
@pytest.mark.parametrize("name", list(_one_for_each_cause()))
def test_provoked_collapses_warn(name):
    expected, causes, _ = benchmark.provoked(name, seed=0)
    assert causes.count(expected) == 1
    assert set(causes) <= {expected, "chance"}


TAKE_LONG = *REPRESENTED, "DINOTransformer", "EMPSSLTransformer", "JigsawTransformer"
TAKE_LONG += "ColorizationTransformer", "MAETransformer"


@pytest.mark.parametrize("kind", ["image", "table"])
@pytest.mark.parametrize(
    "method",
    [
        exhaustively(method) if method.__name__ in TAKE_LONG else slowly(method)
        for method in METHODS
    ],
)
def test_healthy_fits_are_not(method, kind):
    if not takes(method, kind):
        return
    X = digits()[0][:300] if kind == "image" else load_breast_cancer().data
    method = taking_gray(method)
    model = method(random_state=0, max_epochs=25).fit(X)  # a warning would be an error
    health = model.health_
    assert {len(values) for values in health.values()} == {25}
    assert (health["embedding_std"] > 0.3).all()
    assert (health["effective_rank"] > 1.7).all()
    assert (health["effective_rank"] <= health["embedding_dim"]).all()
    np.testing.assert_array_equal(health["train_loss"], model.loss_curve_)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_spread_follows_its_definition(shape):
    embedding = torch.from_numpy(np.random.default_rng(0).normal(size=shape)) * 3 + 1
    vectors = embedding / embedding.norm(dim=1, keepdim=True)
    values = torch.linalg.eigvalsh(vectors.T.cov(correction=0))
    found = spread(embedding)
    torch.testing.assert_close(found["embedding_std"].double(), values.sum().sqrt())
    rank = values.sum() ** 2 / values.square().sum()
    torch.testing.assert_close(found["effective_rank"].double(), rank, rtol=1e-4, atol=0)


def test_spread_at_its_ends():
    everywhere = torch.cat([torch.eye(8), -torch.eye(8)])
    assert spread(everywhere)["embedding_std"].item() == pytest.approx(1)
    assert spread(everywhere)["effective_rank"].item() == pytest.approx(8)
    for same in (torch.ones(5, 3), torch.zeros(5, 3)):
        assert spread(same)["embedding_std"].item() < 1e-6
        assert math.isfinite(spread(same)["effective_rank"].item())
    line = torch.outer(torch.tensor([-1.0, 1, 1, -1]), torch.rand(6))
    assert spread(line)["effective_rank"].item() == pytest.approx(1)
    low = spread(everywhere.half())
    assert {value.dtype for value in low.values()} == {torch.float32}


class Quiet:
    near_chance = 0.9

    def diagnose(self, row):
        return {}


def rows(n, first=1, **figures):
    healthy = {"train_loss": 1.0, "chance_loss": 2.0, "embedding_std": 0.9, "effective_rank": 9.0}
    healthy |= {"embedding_dim": 16, "n_steps": 20, "skipped_steps": 0}
    return [healthy | {"epoch": first + i} | figures for i in range(n)]


@pytest.mark.parametrize(
    ("cause", "bad", "good"),
    [
        ("collapse", {"embedding_std": 0.09}, {"embedding_std": 0.11}),
        ("dimensions", {"effective_rank": 1.4}, {"effective_rank": 1.6}),
        ("dimensions", {"effective_rank": 1.4}, {"effective_rank": 1.4, "embedding_dim": 4}),
        ("chance", {"train_loss": 1.9}, {"train_loss": 1.7}),
        ("chance", {"train_loss": 1.9}, {"train_loss": 1.9, "chance_loss": 9.0}),
        ("skipped", {"skipped_steps": 5}, {"skipped_steps": 3}),
    ],
)
def test_when_it_is_told(cause, bad, good):
    def found(given, max_epochs=20):
        return set(symptoms([r | {"progress": r["epoch"] / max_epochs} for r in given], Quiet()))

    assert found(rows(10, **bad)) == {cause}
    assert found(rows(10, **good)) == set()
    assert found(rows(10, **bad), max_epochs=21) == set()  # less than half of the epochs
    assert found(rows(4, **bad), max_epochs=4) == set()  # less than a hundred steps
    assert found(rows(5, **bad), max_epochs=4) == {cause}
    assert found(rows(8) + rows(2, 9, **bad)) == set()  # not for three epochs
    assert found(rows(7) + rows(3, 8, **bad)) == {cause}
    assert found(rows(9, **bad) + rows(1, 10)) == set()  # over


def test_an_objective_that_states_nothing():
    """Without embedding and chance there is nothing to watch but the loss."""
    bare = [{"epoch": i, "train_loss": 1.0, "n_steps": 50, "progress": 1.0} for i in range(5)]
    assert symptoms(bare, Quiet()) == {}


@pytest.mark.slow
def test_each_cause_warns_once_and_again_when_the_fit_is_loaded(images, tmp_path):
    def fit():
        views = benchmark.noise
        model = SimCLRTransformer(views=views, max_epochs=35, random_state=0, memory=tmp_path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(images)
        return [str(warning.message) for warning in caught]

    first = fit()
    assert len(first) == 1
    again = fit()
    assert len(again) == 1
    assert first[0].split(":")[0] == again[0].split(":")[0] == "The loss is near chance level"


@pytest.mark.slow
def test_single_epochs_are_evaluated_with_earlier_ones(images):
    model = simclr(views=benchmark.noise, max_epochs=10, batch_size=10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(8):
            model.partial_fit(images)
    assert [str(w.message).split(":")[0] for w in caught] == ["The loss is near chance level"]
    assert "in epoch 5 " in str(caught[0].message)


# Their loss has no bound that equal outputs would reach, or one of at most 0.
WITHOUT_CHANCE = "All4OneTransformer", "BYOLTransformer", "EMPSSLTransformer", "FroSSLTransformer"
WITHOUT_CHANCE += "HypersphereTransformer", "MMCRTransformer", "SimSiamTransformer"
WITHOUT_CHANCE += "Data2VecTransformer", "IJEPATransformer", "TiCoTransformer"


def at_chance(method):
    """An objective whose heads return the same for all samples, and what it is given of 10."""
    objective = shrunk(method).fit(digits()[0][:100]).objective_
    for name, part in objective.named_children():
        for parameter in part.parameters() if name not in ("encoder", "student") else ():
            torch.nn.init.zeros_(parameter)
    for queue in (m for m in objective.modules() if isinstance(m, Queue)):
        queue.push(torch.zeros_like(queue.vectors))
    # Each pixel is a standard deviation from the mean, which inpainting guesses.
    encoder = objective.encoder
    if method is SplitBrainTransformer:
        encoder = encoder.backbone.of_lightness
    batch = encoder.mean + encoder.std * torch.randn(10, 1, 8, 8).sign()
    targets = ()
    if method is ExemplarTransformer:
        objective.train().exemplars, objective.bank = np.arange(5), torch.eye(5, 16)
    if method in (DeepClusterEstimator, ExemplarTransformer):
        targets = (torch.arange(10) % 5,)
    if method.__name__ == "DeepClusterV2Estimator":
        targets = (torch.zeros(10, 3, dtype=torch.long),)
    if method.__name__ == "DistillationTransformer":
        targets = (torch.randn(10, objective.n_targets),)
    if method in (DINOTransformer, IBOTTransformer):
        objective.koleo_weight = 0.0  # it has no chance level
    if method is SupConTransformer:
        targets = (torch.arange(10),)
    if method is ColorizationTransformer:  # who guesses knows how frequent colors are
        with torch.no_grad():
            objective.before_training([batch])
            objective.decode.last.bias.copy_(objective.mean_code.clamp(min=1e-30).log())
    if method is SplitBrainTransformer:
        with torch.no_grad():
            objective.before_training([batch])
            for head in objective.heads:
                head.decode.last.bias.copy_(head.counts.clamp(min=1e-30).log())
    return objective, [batch, batch], targets


@pytest.mark.parametrize(
    "method", quick_or_slow(m for m in IMAGE_METHODS if m is not SimCLRTransformer)
)
def test_chance_loss_is_the_loss_at_chance_level(method):
    """Each objective states what it is for a network that gives all samples the same."""
    objective, views, targets = at_chance(method)
    if method.__name__ in WITHOUT_CHANCE:
        assert objective.chance_loss(10) is None
        return
    loss = objective(views, *targets)["loss"].item()
    assert objective.chance_loss(10) == pytest.approx(loss, rel=1e-5)


def test_chance_loss_of_simclr_is_that_of_equal_projections():
    model = simclr().fit(digits()[0][:100])
    same = torch.ones(7, 4)
    assert model.objective_.chance_loss(7) == pytest.approx(nt_xent(same, same, 0.2).item())
    assert model.health_["chance_loss"].tolist() == [pytest.approx(math.log(2 * 50 - 1))]


def test_health_is_stored(images, tmp_path):
    model = shrunk(DINOTransformer, max_epochs=2).fit(images)
    assert {"teacher_entropy", "prototype_entropy", "chance_loss"} <= set(model.health_)
    assert not {"dur", "lr", "train_loss_best"} & set(model.health_)
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
    np.testing.assert_equal(loaded.health_, model.health_)
    model.partial_fit(images)
    assert {len(values) for values in model.health_.values()} == {3}
    assert model.health_["epoch"].tolist() == [1, 2, 3]


def test_prototype_entropy_is_that_of_the_use_of_prototypes():
    """Each sample another one: no entropy for a sample, all of it for the batch."""
    model = shrunk(DINOTransformer, n_prototypes=4).fit(digits()[0][:60])
    objective = model.objective_.eval()
    objective.teacher.encoder = objective.student = torch.nn.Flatten()
    objective.teacher.head = objective.student_head = torch.nn.Identity()
    batch = 100 * torch.eye(4).reshape(4, 1, 2, 2)
    found = objective([batch, batch])
    assert found["teacher_entropy"].item() < 1e-6
    assert found["prototype_entropy"].item() == pytest.approx(math.log(4))


# Losses that are NaN or infinite


class Spoiled:
    """Views that are infinite at some steps."""

    def __init__(self, *steps, times=1):
        self.steps, self.times, self.seen = steps, times, 0

    def __call__(self, batch):
        self.seen += len(batch) == 40  # not where views are tried
        factor = math.inf if self.seen in self.steps else 1.0
        return [batch * factor, batch + 0.1 * torch.rand_like(batch)]


def test_the_step_is_named(images):
    settings = {"max_epochs": 3, "batch_size": 40, "lr": 0.003}
    with pytest.raises(ValueError, match=r"became nan in step 3 of epoch 2, at lr=0.003 and pr"):
        simclr(views=Spoiled(8), **settings).fit(images)
    model = simclr(**settings).partial_fit(images)
    model.views = Spoiled(3)
    with pytest.raises(ValueError, match="became nan in step 3 of epoch 2"):
        model.partial_fit(images)
    assert model.n_iter_ == 1


def test_no_invalid_state_is_saved(images, tmp_path):
    settings = {
        "max_epochs": 3,
        "batch_size": 40,
        "memory": FitCache(tmp_path, checkpoint_minutes=0),
    }
    with pytest.raises(ValueError, match="step 3 of epoch 2"):
        simclr(views=Spoiled(8), **settings).fit(images)
    (path,) = tmp_path.rglob("checkpoint.safetensors")
    state = sklearn_ssl.persistence.file_format.read_values(path)
    assert len(state["rows"]) == 1
    assert state["begun"]["n_steps"] == 2
    assert all(value.isfinite().all() for value in state["objective"].values())


@pytest.mark.slow
def test_steps_that_overflow_half_precision_are_left_out_and_counted(images):
    settings = {"max_epochs": 2, "batch_size": 40, "device": Device(precision="float16")}
    settings["backbone"] = narrow_network()
    model = simclr(views=Spoiled(7, 9), **settings).fit(images)
    whole = simclr(views=Spoiled(), **settings).fit(images)
    extra = model.health_["skipped_steps"] - whole.health_["skipped_steps"]
    assert extra.tolist() == [0, 2]
    assert np.isfinite(model.loss_curve_).all()
    assert all(p.isfinite().all() for p in model.encoder_.parameters())
    with pytest.raises(ValueError, match=r'became nan in step 1 of epoch 2.*precision="float16"'):
        simclr(views=Spoiled(*range(6, 11)), **settings).fit(images)
