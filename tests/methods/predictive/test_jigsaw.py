"""Jigsaw: its loss beside a slow reference, its views, and what it returns."""

import numpy as np
import pytest
import torch
from common import digits, shrunk

from methods.predictive.references import check_gradients, slow_tile, tiles_of
from sklearn_ssl import JigsawTransformer
from sklearn_ssl._runtime.world import World
from sklearn_ssl.methods.predictive._puzzles import far_permutations
from sklearn_ssl.methods.predictive.jigsaw import JigsawObjective
from sklearn_ssl.methods.predictive.relative_patch import RelativePatchObjective
from sklearn_ssl.views import Tiles
from sklearn_ssl.views.tiles import TileCutter


def test_jigsaw():
    encoder, tiles = tiles_of(2)
    permutations = far_permutations(4, 7, np.random.default_rng(0))
    objective = JigsawObjective(encoder, 128, tiles, permutations, 5, 6).double().eval()
    views = list(torch.rand(2, 3, 1, 12, 12, dtype=torch.float64))
    torch.manual_seed(1)
    loss = objective(views)["loss"]
    torch.manual_seed(1)
    drawn, losses = objective.draw(6, "cpu"), []
    assert len(set(drawn.tolist())) > 2
    for image, number in zip(torch.cat(views), drawn, strict=True):
        parts = []
        for cell in permutations[number]:
            features = slow_tile(image, cell // 2, cell % 2, 6, encoder)
            parts.append(objective.project(features).clamp(min=0))
        scores = objective.classify(torch.cat(parts)[None])[0]
        losses.append(-torch.log(torch.exp(scores[number]) / torch.exp(scores).sum()))
    check_gradients(objective, loss, sum(losses) / len(losses))


def objective_of(encoder, tiles):
    if tiles.grid == 2:
        return JigsawObjective(encoder, 128, tiles, far_permutations(4, 24, None), 5, 6)
    return RelativePatchObjective(encoder, 128, tiles, True, 5, 6)


@pytest.mark.parametrize("grid", [2, 3])
def test_processes_draw_shares_of_the_tasks_of_one(grid, monkeypatch):
    encoder, _ = tiles_of(grid, n_channels=3)
    tiles = TileCutter(Tiles(grid, gap=0.1, jitter=0.4), (12 // grid,) * 2)
    objective = objective_of(encoder, tiles).eval()
    views, losses = torch.rand(2, 6, 3, 12, 12), []
    for size in (1, 2):
        for rank in range(size):
            here = World(None, rank, size)
            for task in ("jigsaw", "_tiles"):
                name = f"sklearn_ssl.methods.predictive.{task}.world"
                monkeypatch.setattr(name, lambda here=here: here)
            torch.manual_seed(1)
            losses.append(objective(list(views[:, here.share(6)]))["loss"].item())
    whole, *parts = losses
    assert parts[0] != parts[1]
    assert np.mean(parts) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("grid", [2, 3])
def test_tiles_pass_in_one_batch_each_alone(grid):
    encoder, tiles = tiles_of(grid)
    objective = objective_of(encoder, tiles)
    seen = []
    encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    objective([torch.rand(5, 1, 12, 12)] * 2)
    assert seen == [(10 * grid**2, 1, 12 // grid, 12 // grid)]


@pytest.fixture(scope="module")
def jigsaw():
    return shrunk(JigsawTransformer, max_epochs=8, tile_dim=64, hidden_dim=256).fit(
        digits()[0][:800]
    )


@pytest.mark.slow
def test_puzzles_of_digits_are_solved(jigsaw):
    """Of digits that were in no training; who guesses has 1 / 24."""
    images = digits()[0][1000:1400]
    numbers = np.random.default_rng(0).integers(24, size=len(images))
    shuffled = jigsaw.shuffle(images, numbers)
    order = jigsaw.permutations_[numbers[0]]
    cells = [images[0, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
    np.testing.assert_array_equal(shuffled[0, :4, 4:], cells[order[1]])
    told = jigsaw.predict_pretext(shuffled)
    right = told == numbers
    assert right.mean() > 0.35
    solved = jigsaw.solve(shuffled)
    np.testing.assert_array_equal(solved[right], images[right])
    assert (solved[~right] != images[~right]).any(axis=(1, 2)).mean() > 0.9
    score = jigsaw.score_pretext(images)
    assert score == jigsaw.score_pretext(images)
    told = [jigsaw.predict_pretext(jigsaw.shuffle(images, k)) == k for k in range(24)]
    assert score == pytest.approx(np.mean(told), abs=1e-3)


def test_images_are_scored_in_a_hundred_orders_of_more(monkeypatch):
    X = np.random.default_rng(0).random((6, 12, 12))
    model = shrunk(JigsawTransformer, tiles=Tiles(grid=3), n_permutations=250).fit(X)
    numbers = []

    def logits(tiles, order):
        """Classify all images correctly except one."""
        numbers.append(model.permutations_.tolist().index(order[0].tolist()))
        told = torch.tensor([numbers[-1] - 1] + 5 * [numbers[-1]]) % 250
        return torch.nn.functional.one_hot(told, 250)

    monkeypatch.setattr(model.objective_, "logits", logits)
    assert model.score_pretext(X) == pytest.approx(5 / 6)
    assert (len(numbers), numbers[0], numbers[-1]) == (100, 0, 249)
    assert set(np.diff(numbers)) == {2, 3}


def test_permutations_are_the_users_own():
    jigsaw = shrunk(JigsawTransformer).fit(digits()[0][:20])
    assert not np.shares_memory(jigsaw.permutations_, jigsaw.objective_.permutations.numpy())


def test_more_permutations_than_there_are_are_refused():
    with pytest.raises(ValueError, match=r"n_permutations=25 is more than the 24 that 2 x 2"):
        JigsawTransformer(n_permutations=25).fit(digits()[0][:5])
