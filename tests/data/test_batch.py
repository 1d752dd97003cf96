"""Batches of several tensors, as a modality of pairs has them, in all that training does."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ssl import Device, SimCLRTransformer
from sklearn_ssl.data.batch import concatenated, mapped, n_samples, parts_of, shape_of
from sklearn_ssl.data.modality import Modality
from sklearn_ssl.data.sources import ArraySource
from sklearn_ssl.data.spec import Spec, trial_values
from sklearn_ssl.parameters import recipe

X = np.random.default_rng(0).random((60, 7), dtype=np.float32)
BATCH = {"left": torch.zeros(5, 3), "right": (torch.ones(5, 4, 2), torch.ones(5))}


def pair(rows):
    return {"left": rows[:, :3], "right": rows[:, 3:]}


class PairSpec(Spec):
    kind = "pair"

    def samples(self, n=2):
        return pair(trial_values(n, 7))


@dataclass(frozen=True)
class PairSource(ArraySource):
    def _as_seen(self, samples):
        return pair(samples)

    def digests(self):
        return ArraySource(self.array, self.sample_shape).digests()


class Unscaled:
    mean = std = ()

    def on(self, device):
        return lambda batch: batch

    def check(self, source, name):
        pass


@recipe
class Pairs(Modality):
    kind = "pair"

    def find(self, given, request):
        return PairSource(given.array, (7,), spec=PairSpec((7,)))

    def learn(self, source):
        return Unscaled()


class PairSimCLR(SimCLRTransformer):
    _recipes = SimCLRTransformer._recipes | {"input": (Pairs,)}
    default_views = {"pair": None}


class TwoTowers(nn.Module):
    def __init__(self, norm=nn.LayerNorm):
        super().__init__()
        self.left, self.right = nn.Linear(3, 8), nn.Linear(4, 8)
        self.norm = norm(16)

    def forward(self, batch):
        towers = self.left(batch["left"]), self.right(batch["right"])
        return self.norm(torch.cat(towers, dim=1))


def noisy(batch):
    return [mapped(lambda part: part + 0.1 * torch.randn_like(part), batch) for _ in range(2)]


def fitted(views=noisy, **parameters):
    torch.manual_seed(0)
    settings = {"backbone": TwoTowers(), "max_epochs": 3, "batch_size": 20, "random_state": 0}
    return PairSimCLR(input=Pairs(), views=views, **(settings | parameters)).fit(X)


def test_batches_are_counted_joined_and_split():
    assert n_samples(BATCH) == 5
    assert shape_of(BATCH) == {"left": (3,), "right": ((4, 2), ())}
    parts = parts_of(BATCH, 2)
    assert [n_samples(part) for part in parts] == [2, 2, 1]
    again = concatenated(parts)
    assert shape_of(again) == shape_of(BATCH)
    assert torch.equal(again["right"][0], BATCH["right"][0])


@pytest.mark.filterwarnings("ignore:The loss is near chance level")
def test_batches_of_several_tensors_are_trained_on_and_embedded():
    model = fitted()
    with torch.no_grad():
        expected = model.encoder_(pair(torch.from_numpy(X)))
    np.testing.assert_allclose(model.transform(X), expected, atol=1e-6)
    start = fitted(lr=1e-12)
    assert not np.allclose(model.transform(X), start.transform(X), atol=1e-3)
    assert np.isfinite(model.score(X))
    plain = {"optimizer": "sgd", "lr": 0.1}  # "adamw" enlarges rounding errors
    in_parts = fitted(device=Device("cpu", micro_batch_size=8), **plain).transform(X)
    np.testing.assert_allclose(in_parts, fitted(**plain).transform(X), atol=1e-5)
    assert not np.allclose(in_parts, start.transform(X), atol=1e-3)


@pytest.mark.parametrize(
    ("views", "problem"),
    [
        (lambda batch: [batch["left"], batch["left"]], "View 0 is a Tensor"),
        (lambda batch: [batch, batch | {"left": batch["left"][:3]}], "View 1 has the shape"),
        (lambda batch: [batch, batch | {"left": 0}], "View 1 is a int"),
        (lambda batch: [batch, batch | {"left": batch["left"] / 0}], "must be finite"),
    ],
)
def test_views_must_have_the_structure_of_the_batch(views, problem):
    with pytest.raises(ValueError, match=problem):
        fitted(views)
