"""SwAV: its loss beside a slow reference, its codes, queue and prototypes."""

import itertools
import math

import numpy as np
import pytest
import torch
from common import check_inputs, shrunk
from torch import nn
from torch.nn.functional import normalize

from methods.test__sinkhorn import slow_sinkhorn
from sklearn_ssl.methods.clustering.swav import SwAVObjective, SwAVTransformer
from sklearn_ssl.networks.heads import mlp
from sklearn_ssl.networks.queue import Queue


def slow_swav(views, prototypes, temperature, epsilon):
    """The mean over global views and other views of the cross entropies of the samples."""
    scores = [normalize(z) @ prototypes.T for z in views]
    losses = []
    for i, v in itertools.product(range(2), range(len(views))):
        codes = slow_sinkhorn(scores[i].detach(), epsilon, 3)
        for q, s in zip(codes, scores[v], strict=True) if i != v else ():
            p = torch.exp(s / temperature) / torch.exp(s / temperature).sum()
            losses.append(-(q * torch.log(p)).sum())
    return sum(losses) / len(losses)


def swav_objective(encoder=None, queue_size=0):
    """An objective whose features are compared with five prototypes, by default as they are."""
    torch.manual_seed(0)
    projector, queue = mlp(4, 8, 4) if encoder else nn.Identity(), Queue(queue_size, 4)
    parts = encoder or nn.Identity(), projector, torch.randn(5, 4), queue
    objective = SwAVObjective(*parts, 0.1, 0.05, 0.25).double()
    k, j = torch.arange(5.0).double()[:, None], torch.arange(4.0).double()
    objective.prototypes.data = normalize(torch.cos(0.9 * k + 0.4 * j))
    return objective


def test_swav():
    a, b = check_inputs()
    assert swav_objective()([a, b])["loss"].item() == pytest.approx(1.323148, abs=1e-6)
    objective, views = swav_objective(nn.Linear(4, 4)), [a, b, a * b, a - b]
    parameters = list(objective.parameters())
    loss = objective(views)["loss"]
    z = [objective.project(objective.encoder(view)) for view in views]
    expected = slow_swav(z, normalize(objective.prototypes), 0.1, 0.05)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_swav_of_equal_scores_is_at_chance():
    objective, view = swav_objective(), torch.zeros(6, 4).double()
    assert objective([view, view])["loss"].item() == pytest.approx(math.log(5))
    assert objective.chance_loss(6) == pytest.approx(math.log(5))


def test_swav_assigns_a_full_queue_together_with_the_batch():
    (a, b), objective = check_inputs(), swav_objective(queue_size=18)
    without = swav_objective()([a, b])["loss"]
    torch.testing.assert_close(objective([a, b])["loss"], without)
    objective.after_update(objective([a, b]), 0.5)
    torch.testing.assert_close(objective.queue.vectors[:12], normalize(torch.cat([a, b])))
    torch.testing.assert_close(objective([a, b])["loss"], without)  # not full
    objective.after_update(objective([b, a]), 0.5)
    scores = normalize(a) @ objective.prototypes.T
    together = torch.cat([scores, objective.queue.vectors.double() @ objective.prototypes.T])
    codes = objective.codes(scores)
    torch.testing.assert_close(codes, slow_sinkhorn(together.detach(), 0.05, 3)[:6])
    assert not codes.requires_grad
    assert objective([a, b])["loss"] != without


def test_swav_prototypes_are_fixed_at_first_and_have_length_one():
    objective = swav_objective()
    terms = objective(list(check_inputs()))
    terms["loss"].backward()
    objective.before_update(0.3)
    assert objective.prototypes.grad is not None
    objective.before_update(0.2)
    assert objective.prototypes.grad is None
    before = objective.prototypes.detach().clone()
    objective.prototypes.data *= 3
    objective.after_update(terms, 0.3)
    torch.testing.assert_close(objective.prototypes.detach(), before)


def test_swav_loss_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    objective, views = swav_objective(queue_size=4).float(), list(torch.randn(2, 8, 4))
    expected = objective(views)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(views)["loss"]
    assert loss.dtype == torch.float32
    assert loss == expected


def test_swav_refuses_a_single_view():
    with pytest.raises(ValueError, match="SwAV needs 2 views or more; the view recipe gave 1"):
        swav_objective()([torch.ones(4, 4).double()])


def test_swav_predicts_the_nearest_prototype(images):
    model = shrunk(SwAVTransformer, n_prototypes=7).fit(images)
    assert model.prototypes_.shape == (7, 16)
    np.testing.assert_allclose(np.linalg.norm(model.prototypes_, axis=1), 1, rtol=1e-5)
    with torch.no_grad():
        z = model.objective_.projected(torch.from_numpy(images).float()[:, None] / 16)
    labels = (z.numpy() @ model.prototypes_.T).argmax(axis=1)
    np.testing.assert_array_equal(model.predict(images), labels)


def test_swav_continues_on_another_number_of_samples(images):
    model = shrunk(SwAVTransformer, queue_size=40).partial_fit(images)
    assert model.partial_fit(images[:100]).prototypes_.shape == (10, 16)
    assert len(model.objective_.queue.vectors) == 40
