"""MoCo: queries against keys of the teacher, in a queue or in the batch."""

import math

import pytest
import torch
from common import check_inputs, shrunk
from torch import nn
from torch.nn.functional import normalize

from methods.contrastive.references import slow_info_nce
from sklearn_ssl import MoCoTransformer
from sklearn_ssl.methods.contrastive.moco import MoCoObjective


def objective(queue_size):
    torch.manual_seed(0)
    made = MoCoObjective(nn.Linear(4, 3), 3, 8, 5, 0.2, 0.9, queue_size).double()
    for p in made.teacher.parameters():  # so that keys differ from queries
        p.data += 0.1 * torch.randn_like(p)
    return made


@pytest.mark.parametrize("queue_size", [0, 7])
def test_moco(queue_size):
    tested, views = objective(queue_size), [v.detach() for v in check_inputs()]
    negatives = None
    if queue_size:
        tested.queue.push(normalize(torch.randn(9, 5).double()))
        negatives = tested.queue.vectors
    terms = tested(views)
    z1, z2 = (tested.predict(tested.project(tested.encoder(v))) for v in views)
    k1, k2 = (tested.teacher.head(tested.teacher.encoder(v)).detach() for v in views)
    expected = slow_info_nce(z1, k2, 0.2, negatives) + slow_info_nce(z2, k1, 0.2, negatives)
    torch.testing.assert_close(terms["loss"], expected / 2)
    torch.testing.assert_close(terms["keys"], normalize(k1))
    parameters = [p for name, p in tested.named_parameters() if not name.startswith("teacher")]
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (terms["loss"], expected / 2))
    torch.testing.assert_close(ours, theirs)


def test_moco_compares_with_the_queue_before_its_own_keys_are_in_it():
    tested, views = objective(4), [v.detach() for v in check_inputs()]
    assert tested(views)["loss"].item() == 0  # nothing to compare with
    terms, before = tested(views), [p.clone() for p in tested.teacher.parameters()]
    tested.after_update(terms, 0.0)
    held = sorted(tested.queue.vectors.tolist())
    assert held == sorted(terms["keys"][-4:].tolist())
    moved = [(p - q).abs().max() for p, q in zip(tested.teacher.parameters(), before, strict=True)]
    assert max(moved) > 0
    assert tested(views)["loss"].item() > 0


@pytest.mark.slow
def test_moco_chance_level_and_queue_follow_the_samples(images):
    model = shrunk(MoCoTransformer, batch_size=20, max_epochs=3).fit(images)
    assert len(model.objective_.queue.vectors) == len(images) // 2
    assert model.objective_.queue.is_filled.all()
    assert model.objective_.chance_loss(20) == pytest.approx(math.log(1 + len(images) // 2))
    batch = shrunk(MoCoTransformer, queue_size=0).fit(images)
    assert batch.objective_.queue is None
    assert batch.objective_.chance_loss(20) == pytest.approx(math.log(20))
