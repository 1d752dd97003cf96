"""The queue of recent projections: order, places, neighbors, and what is saved of it."""

import torch
from torch.nn.functional import normalize

from sklearn_ssl.networks.queue import Queue


def unit(n, dim=3, seed=0):
    return normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)))


def test_queue_holds_the_latest_vectors():
    queue, vectors = Queue(5, 3), unit(12)
    for part in vectors.split(4):
        queue.push(part)
        seen = vectors[: queue.n_pushed]
        assert queue.is_filled.sum() == min(5, len(seen))
        held = {tuple(row.tolist()) for row in queue.vectors[queue.is_filled]}
        assert held == {tuple(row.tolist()) for row in seen[-5:]}
    queue.push(unit(7, seed=1))  # more than it holds: the last ones
    assert {tuple(r.tolist()) for r in queue.vectors} == {
        tuple(r.tolist()) for r in unit(7, seed=1)[-5:]
    }


def test_empty_places_are_neither_neighbors_nor_negatives():
    queue, vectors = Queue(5, 3), -unit(4)
    torch.testing.assert_close(queue.nearest(vectors)[:, 0], vectors)  # nothing is known yet
    queue.push(unit(2, seed=2))
    similarities = queue.similarities(vectors)
    assert torch.isinf(similarities[:, 2:]).all()
    torch.testing.assert_close(similarities[:, :2], vectors @ unit(2, seed=2).T)
    for vector, near in zip(vectors, queue.nearest(vectors, 3), strict=True):
        known = sorted(unit(2, seed=2), key=lambda other: -(vector @ other))
        torch.testing.assert_close(near, torch.stack([*known, vector]))


def test_gradients_do_not_reach_the_queue_and_pushes_not_the_graph():
    queue, z = Queue(5, 3), unit(4).requires_grad_()
    queue.push(z.detach())
    loss = queue.similarities(z)[:, :4].sum()
    loss.backward()
    queue.push(z)
    assert not queue.vectors.requires_grad
    assert not queue.nearest(z).requires_grad


def test_queue_is_saved_with_the_weights():
    queue, other = Queue(5, 3), Queue(5, 3)
    queue.push(unit(7))
    other.load_state_dict(queue.state_dict())
    other.push(unit(2, seed=1)), queue.push(unit(2, seed=1))
    torch.testing.assert_close(other.vectors, queue.vectors)


def test_a_loaded_queue_has_the_size_of_the_saved_one():
    saved, queue = Queue(5, 3), Queue(8, 3)
    saved.push(unit(2))
    queue.load_state_dict(saved.state_dict())
    assert torch.equal(queue.vectors, saved.vectors)
    assert queue.is_filled.tolist() == [True, True, False, False, False]
