"""The losses that contrastive methods share, beside slow references."""

import math

import pytest
import torch
from common import check_inputs
from torch.nn.functional import normalize

from methods.contrastive.references import slow_info_nce
from sklearn_ssl.methods.contrastive._base import info_nce
from sklearn_ssl.networks.queue import Queue


def check_queue():
    """The queue for which the values of the losses are known, (5, 4)."""
    k, j = torch.arange(5, dtype=torch.float64)[:, None], torch.arange(4, dtype=torch.float64)
    queue = Queue(5, 4).double()
    queue.push(normalize(torch.cos(0.9 * k + 0.4 * j)))
    return queue


@pytest.mark.parametrize(
    ("queue", "temperature", "value"),
    [
        (None, 0.2, 0.133787 / 0.4),  # that of MoCo v3 is multiplied by 2 * temperature
        (None, 0.5, 0.764381),
        (check_queue(), 0.2, 0.235987),
    ],
)
def test_info_nce(queue, temperature, value):
    a, b = (t.requires_grad_() for t in check_inputs())
    loss = info_nce(a, b, temperature, queue)
    assert loss.item() == pytest.approx(value, abs=2e-6)
    expected = slow_info_nce(a, b, temperature, None if queue is None else queue.vectors)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, (a, b)) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_info_nce_of_equal_projections_is_at_chance():
    z, queue = torch.ones(5, 3), Queue(7, 3)
    assert info_nce(z, z, 0.2).item() == pytest.approx(math.log(5))
    queue.push(normalize(torch.ones(7, 3)))
    assert info_nce(z, z, 0.2, queue).item() == pytest.approx(math.log(1 + 7))


def test_an_empty_queue_has_no_negatives():
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = info_nce(z, z.detach().roll(1, 0), 0.2, Queue(7, 3))
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_info_nce_stays_in_full_precision_under_autocast():
    torch.manual_seed(0)
    q, k = torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = info_nce(q, k, 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == info_nce(q, k, 0.05).item()
