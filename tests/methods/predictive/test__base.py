"""Pretext tasks: what is predicted and scored, also of unreadable files and after loading."""

import math

import numpy as np
import pytest
import torch
from common import digits, shrunk
from numpydoc.docscrape import FunctionDoc
from PIL import Image
from torch import nn

import sklearn_ssl
from sklearn_ssl import Images, JigsawTransformer, RelativePatchTransformer, RotationTransformer
from sklearn_ssl.methods.predictive._base import PretextObjective
from sklearn_ssl.views import Tiles

BOTH = pytest.mark.parametrize("method", [JigsawTransformer, RelativePatchTransformer])


@BOTH
def test_unreadable_files_are_not_counted(photos, tmp_path, method):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, photo in zip(paths, photos, strict=False):
        Image.fromarray(photo).save(path)
    paths[3].write_bytes(b"no image")
    model = shrunk(method, input=Images(on_error="skip")).fit(paths)
    predicted = model.predict_pretext(paths)
    assert (predicted[3] == -1).all()
    assert (np.delete(predicted, 3, axis=0) >= 0).all()
    assert model.score_pretext(paths) == model.score_pretext(np.delete(photos[:12], 3, axis=0))
    with pytest.raises(ValueError, match="None of the images in X could be read"):
        model.score_pretext(paths[3:4])
    if method is JigsawTransformer:
        shuffled = model.shuffle(paths, np.arange(12))
        assert (shuffled[3] == -1).all()
        expected = model.shuffle(photos[4:5], 4)
        np.testing.assert_array_equal(shuffled[4], expected[0])


@BOTH
@pytest.mark.slow
def test_predictions_are_the_same_after_saving(method, tmp_path):
    images = digits()[0][:60]
    model = shrunk(method, max_epochs=5, tiles=Tiles(gap=0.0, jitter=0.6)).fit(images)
    model.save(tmp_path / "model.safetensors")
    loaded = sklearn_ssl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict_pretext(images), model.predict_pretext(images))
    assert loaded.score_pretext(images) == model.score_pretext(images)
    assert loaded.tiles == model.tiles == Tiles(gap=0.0, jitter=0.6)
    if method is JigsawTransformer:
        np.testing.assert_array_equal(loaded.permutations_, model.permutations_)


class Parity(PretextObjective):
    """Whether the sum of a sample is odd, by a linear layer; several parts have each label."""

    def __init__(self):
        super().__init__(nn.Linear(4, 3), n_classes=2)
        self.classify = nn.Linear(3, 2)

    def task(self, views):
        features = self.encoder(torch.cat(views))
        return features, self.classify(features), torch.cat(views).sum(dim=1).long() % 2

    def predict(self, images):
        return self.classify(self.encoder(images)).argmax(dim=1)[:, None].expand(-1, 2)


def test_loss_and_accuracy_are_those_of_the_labels():
    torch.manual_seed(0)
    objective = Parity().double()
    views = list(torch.randint(5, (2, 6, 4)).double())
    result, samples = objective(views), torch.cat(views)
    logits, losses, correct = objective.classify(objective.encoder(samples)), [], 0
    for sample, (even, odd) in zip(samples, logits, strict=True):
        label = int(sample.sum()) % 2
        chosen, other = (odd, even) if label else (even, odd)
        losses.append(torch.log(1 + torch.exp(other - chosen)))
        correct += bool(chosen > other)
    expected = sum(losses) / 12
    torch.testing.assert_close(result["loss"], expected)
    parameters = list(objective.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (result["loss"], expected))
    torch.testing.assert_close(ours, theirs)
    assert result["pretext_accuracy"].item() == pytest.approx(correct / 12)
    torch.testing.assert_close(result["embedding"], objective.encoder(views[0]))
    assert objective.chance_loss(6) == pytest.approx(math.log(2))
    assert objective.accuracy(samples).tolist() == [0.5] * 12  # one part has each label


def test_loss_is_computed_in_full_precision():
    torch.manual_seed(0)
    objective = Parity()
    with torch.autocast("cpu", torch.bfloat16):
        assert objective(list(torch.ones(1, 6, 4)))["loss"].dtype == torch.float32


@pytest.mark.parametrize(
    "method", [JigsawTransformer, RelativePatchTransformer, RotationTransformer]
)
def test_docstrings_of_the_task_are_filled_in(method):
    predict, score = (FunctionDoc(getattr(method, n)) for n in ("predict_pretext", "score_pretext"))
    assert [part.name for part in predict["Parameters"]] == ["X"]
    assert [part.name for part in score["Parameters"]] == ["X", "y"]
    [labels], [accuracy] = predict["Returns"], score["Returns"]
    assert labels.name in ("permutation", "position", "transformation")
    assert "ndarray of shape (n_samples" in labels.type
    assert "hance level is 1" in " ".join(accuracy.desc)
    for function in (method.predict_pretext, method.score_pretext):
        assert "{" not in function.__doc__

    class Derived(method):
        pass

    assert Derived.predict_pretext is method.predict_pretext
