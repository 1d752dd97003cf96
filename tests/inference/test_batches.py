"""Inference in batches that several processes share, and their views."""

import numpy as np
import pytest
import torch
from _runtime.two_processes import run_in
from common import digits

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl._runtime.world import World
from sklearn_ssl.inference import batches
from sklearn_ssl.views import CombinedViews, ImageViews, MultiCrop, TableViews


@pytest.mark.slow
def test_processes_share_a_transform_that_all_call(tmp_path):
    model = tmp_path / "simclr.safetensors"
    simclr = SimCLRTransformer(max_epochs=1, random_state=0).fit(digits()[0][:100])
    simclr.save(model)
    code = f"""
    import time
    import numpy as np
    from torch import distributed
    from common import digits
    from sklearn_ssl import load
    from sklearn_ssl._runtime import world
    from sklearn_ssl.data.sources import ArraySource
    from sklearn_ssl.inference import batches

    distributed.init_process_group("gloo")
    simclr, X = load({str(model)!r}), digits()[0]
    read, batch = [], ArraySource.batch
    ArraySource.batch = lambda self, part, *device: (
        read.append(len(self.array[part])) or batch(self, part, *device)
    )
    found["small"] = simclr.transform(X)
    found["alone"], _ = sum(read), read.clear()
    batches.SHARED_BATCHES = 2
    found["shared"] = simclr.transform(X)
    found["part"], _ = sum(read), read.clear()
    # Each process has other samples, or one of them none: nobody waits for long.
    world.JOIN_SECONDS = 0.5
    begun = time.perf_counter()
    found["other"] = simclr.transform(X[rank:])
    if rank == 0:
        found["first alone"] = simclr.transform(X)
    found["seconds"] = time.perf_counter() - begun
    world.JOIN_SECONDS = 60
    distributed.barrier()
    found["again"] = simclr.transform(X[::-1].copy())
    distributed.destroy_process_group()
    """
    both, _, _ = run_in(2, code, tmp_path)
    X = digits()[0]
    expected = simclr.transform(X)
    for rank, found in enumerate(both):
        assert found["alone"] - found["part"] > 0.4 * len(X)
        for name in ("small", "shared"):
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
        np.testing.assert_allclose(found["other"], expected[rank:], atol=1e-5)
        np.testing.assert_allclose(found["again"], expected[::-1], atol=1e-5)
        assert found["seconds"] < 20
    np.testing.assert_allclose(both[0]["first alone"], expected, atol=1e-5)


@pytest.mark.parametrize(
    "recipe",
    [ImageViews(), MultiCrop(), CombinedViews((ImageViews(rotation=9.0),)), TableViews(n_views=3)],
)
def test_views_of_processes_are_shares_of_one_draw(monkeypatch, recipe):
    batch = torch.rand(12, 3, 16, 16) if recipe.kind == "image" else torch.rand(12, 6)
    views = []
    for size in (1, 3):
        for rank in range(size):
            here = World(None, rank, size)
            here.gather = lambda samples: batch
            here.gather_objects = lambda shape: [shape]
            monkeypatch.setattr(batches, "world", lambda here=here: here)
            torch.manual_seed(0)
            views.append(batches.views_of(recipe, lambda part: part, batch[here.share(12)]))
    whole, *parts = views
    for view, *shares in zip(whole, *parts, strict=True):
        torch.testing.assert_close(torch.cat(shares), view, atol=1e-6, rtol=1e-5)


def test_each_process_calls_functions_of_a_batch(monkeypatch):
    monkeypatch.setattr(batches, "world", lambda: World(None, 1, 2))
    (view,) = batches.views_of(lambda batch: [2 * batch], lambda part: part, torch.ones(3, 4))
    assert torch.equal(view, torch.full((3, 4), 2.0))
    noise = []
    for rank in (0, 1):  # with other random values, and the same after it
        monkeypatch.setattr(batches, "world", lambda rank=rank: World(None, rank, 2))
        torch.manual_seed(0)
        views = batches.views_of(
            lambda part: [torch.rand(3, 4)], lambda part: part, torch.ones(3, 4)
        )
        noise.append((views[0], torch.rand(2)))
    assert not torch.equal(noise[0][0], noise[1][0])
    assert torch.equal(noise[0][1], noise[1][1])
