"""NNCLR: neighbors of a view against predictions of the other one."""

import torch
from common import check_inputs
from torch import nn
from torch.nn.functional import normalize

from methods.contrastive.references import slow_info_nce, slow_nearest
from sklearn_ssl.methods.contrastive.nnclr import NNCLRObjective


def objective():
    torch.manual_seed(0)
    return NNCLRObjective(nn.Linear(4, 3), 3, 8, 5, 0.5, 7).double()


def test_nnclr():
    tested, views = objective(), [v.detach() for v in check_inputs()]
    tested.queue.push(normalize(torch.randn(5, 5).double()))
    terms = tested(views)
    z1, z2 = (tested.project(tested.encoder(v)) for v in views)
    known = tested.queue.vectors[:5]
    near1, near2 = slow_nearest(z1, known), slow_nearest(z2, known)
    expected = slow_info_nce(near1, tested.predict(z2), 0.5) / 2
    expected = expected + slow_info_nce(near2, tested.predict(z1), 0.5) / 2
    torch.testing.assert_close(terms["loss"], expected)
    parameters = list(tested.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (terms["loss"], expected))
    torch.testing.assert_close(ours, theirs)
    tested.after_update(terms, 0.0)  # the first view alone, after the loss
    latest = [tested.queue.vectors[i % 7] for i in range(5, 11)]
    torch.testing.assert_close(torch.stack(latest), normalize(z1.detach()))


def test_nnclr_begins_without_neighbors():
    """Then a view is its own neighbor, without a gradient."""
    tested, views = objective(), [v.detach() for v in check_inputs()]
    z1, z2 = (tested.project(tested.encoder(v)) for v in views)
    expected = slow_info_nce(z1.detach(), tested.predict(z2), 0.5) / 2
    expected = expected + slow_info_nce(z2.detach(), tested.predict(z1), 0.5) / 2
    loss, parameters = tested(views)["loss"], list(tested.parameters())
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
