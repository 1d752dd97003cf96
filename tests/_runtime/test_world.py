"""Processes that compute together: what they exchange, and how they end."""

import multiprocessing

import numpy as np
import pytest
import torch

from _runtime.two_processes import run_in
from sklearn_ssl._runtime.world import World, ending_together, launched, local_rank, world
from sklearn_ssl.views import ImageViews


def test_one_process_exchanges_nothing():
    alone = world()
    tensor = torch.rand(4, 3)
    assert (alone.rank, alone.size, alone.is_main) == (0, 1, True)
    assert alone.gather(tensor) is tensor
    assert alone.mean(tensor) is tensor
    assert alone.gather_objects("a") == ["a"]
    assert alone.from_main("a") == "a"
    assert alone.largest(3) == 3
    assert alone.share(10) == slice(0, 10)
    with ending_together("fit") as inside:
        assert inside is alone
    assert not launched()
    assert local_rank() is None


def test_shares_are_disjoint_and_cover_a_batch():
    for n in (6, 7, 12):
        shares = [np.arange(n)[World(None, rank, 3).share(n)] for rank in range(3)]
        assert np.array_equal(np.concatenate(shares), np.arange(n))


def test_random_values_are_shares_of_one_draw():
    def draw(n):
        return torch.rand(n, 2, generator=torch.Generator().manual_seed(0))

    whole = draw(12)  # of 2 views of 6 samples
    for rank in range(3):
        share = World(None, rank, 3).drawn(draw, 4, n_views=2)
        start = 2 * rank
        expected = torch.cat([whole[start : start + 2], whole[6 + start : 8 + start]])
        assert torch.equal(share, expected)
    recipe = ImageViews(n_views=1)

    def draw_views(n):
        return recipe.draw(n, (3, 8, 8), device="cpu", generator=torch.Generator().manual_seed(0))

    share = World(None, 1, 3).drawn(draw_views, 4, n_views=2)
    assert torch.equal(share.crop.top, draw_views(12).crop.top[[2, 3, 8, 9]])


def test_workers_of_joblib_are_alone(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launched()
    assert local_rank() == 1
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    assert not launched()


@pytest.mark.slow
def test_two_processes_exchange_tensors_and_objects(tmp_path):
    code = """
    import torch
    from sklearn_ssl._runtime.world import ending_together, world

    with ending_together("fit") as w:
        z = (torch.arange(8.0).reshape(4, 2) + 10 * rank).requires_grad_()  # of 2 views
        whole = w.gather(z, n_views=2)
        (whole**2).sum().backward()  # the same loss in both
        found["gathered"], found["gradient"] = whole.detach().numpy(), z.grad.numpy()
        found["labels"] = w.gather(torch.full((2,), rank)).tolist()
        parts = [torch.full((3,), float(rank)), torch.full((2, 2), 2 * rank)]
        w.average_(parts)
        found["averaged"] = [part.tolist() for part in parts]
        found["rest"] = w.largest(rank), w.from_main(rank), w.gather_objects(rank), w.is_main
        found["inside"] = world().size
    found["outside"] = world().size
    with ending_together("fit") as w:
        found["again"] = w.largest(rank)
    """
    (first, second), _, _ = run_in(2, code, tmp_path)
    # Views of all processes, each with its samples in the order of the processes.
    expected = [[0, 1], [2, 3], [10, 11], [12, 13], [4, 5], [6, 7], [14, 15], [16, 17]]
    for rank, of in enumerate((first, second)):
        assert of["gathered"].tolist() == expected
        own = (np.arange(8.0) + 10 * rank).reshape(4, 2)
        assert np.array_equal(of["gradient"], 2 * own * 2)  # from the losses of both
        assert of["labels"] == [0, 0, 1, 1]
        assert of["averaged"] == [[0.5] * 3, [[1, 1], [1, 1]]]
        assert of["rest"] == (1.0, 0, [0, 1], rank == 0)
        assert (of["inside"], of["outside"], of["again"]) == (2, 1, 1.0)


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_with_its_message(tmp_path):
    code = """
    import time
    from sklearn_ssl._runtime.world import ending_together

    for what in ("first", "second"):
        begun = time.perf_counter()
        try:
            with ending_together(what) as w:
                if rank == 1:
                    raise ValueError(f"bad sample in {what}")
                w.largest(0)
        except Exception as error:
            found[what] = type(error).__name__, str(error), time.perf_counter() - begun
    # Both raise their own errors, as for a wrong parameter.
    try:
        with ending_together("third") as w:
            w.largest(0)
            raise ValueError(f"own error of {rank}")
    except ValueError as error:
        found["third"] = str(error)
    try:
        with ending_together("fit" if rank else "score"):
            pass
    except RuntimeError as error:
        found["other"] = str(error)
    """
    (first, second), _, _ = run_in(2, code, tmp_path)
    for what in ("first", "second"):
        text = f"{what} ended because process 1 raised ValueError: bad sample in {what}"
        assert first[what][:2] == ("RuntimeError", text)
        assert second[what][:2] == ("ValueError", f"bad sample in {what}")
        assert first[what][2] < 30
    assert (first["third"], second["third"]) == ("own error of 0", "own error of 1")
    assert "they called score and fit" in first["other"]


@pytest.mark.slow
def test_no_process_waits_for_one_that_was_killed(tmp_path):
    code = """
    import os, signal
    from sklearn_ssl._runtime.world import ending_together

    with ending_together("fit") as w:
        w.largest(0)
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        w.largest(0)
    """
    _, _, printed = run_in(2, code, tmp_path, ends_well=False)
    assert "fit ended because another process was ended" in printed
