"""BERT: which tokens are masked, its loss beside a slow reference, and fill_mask."""

import math
import pickle

import numpy as np
import pytest
import torch
from common import sentences, shrunk
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import gelu, layer_norm, log_softmax

import sklearn_ssl
from sklearn_ssl import BERTTransformer, EncoderTransformer, Text
from sklearn_ssl.data.tokens import MASK_ID
from sklearn_ssl.methods.sequence.bert import BERTObjective
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.views import TextViews

SHAPE = 40, 300


class FakeDevice:
    """A tensor on the CPU that says it were on a GPU."""

    def __init__(self, tensor):
        self.tensor, self.device = tensor, torch.device("cuda")

    def __getattr__(self, name):
        return getattr(self.tensor, name)


PATTERN = ["the cat sat on the mat", "a dog ran in the park", "we ate in the old house"] * 40


def objective(mask_ratio=0.15):
    torch.manual_seed(0)
    encoder = make_encoder("small_bert", SHAPE, [], [])
    return BERTObjective(encoder, 512, mask_ratio)


def padded(*lengths):
    ids = torch.randint(2, SHAPE[1], (len(lengths), SHAPE[0]))
    return ids * (torch.arange(SHAPE[0]) < torch.tensor(lengths)[:, None])


@pytest.mark.parametrize(("ratio", "expected"), [(0.15, (6, 2, 1, 1, 0)), (0.5, (20, 5, 2, 1, 0))])
def test_only_real_tokens_are_masked_and_exactly_their_share(ratio, expected):
    ids = padded(40, 10, 4, 1, 0)
    masked, chosen = objective(ratio).masked(ids)
    assert chosen.sum(dim=1).tolist() == list(expected)
    assert not (chosen & (ids == 0)).any()
    assert torch.equal(masked[~chosen], ids[~chosen])
    assert ((masked == 0) == (ids == 0)).all()


def test_masked_tokens_are_drawn_for_each_text():
    _, chosen = objective().masked(padded(*[20] * 100))
    assert len(torch.unique(chosen, dim=0)) > 80
    assert (chosen.sum(dim=0)[:20] > 3).all()


def test_shares_of_what_masked_tokens_become():
    ids = padded(*[40] * 4000)
    masked, chosen = objective(0.5).masked(ids)
    before, after = ids[chosen], masked[chosen]
    assert (after == MASK_ID).float().mean() == pytest.approx(0.8, abs=0.01)
    assert (after == before).float().mean() == pytest.approx(0.1, abs=0.01)
    random = after[(after != MASK_ID) & (after != before)]
    assert len(random) / len(after) == pytest.approx(0.1, abs=0.01)
    assert sorted(set(random.tolist())) == list(range(2, SHAPE[1]))  # no special token


def test_bert(monkeypatch):
    """The mean of -log p of the masked tokens, by hand; and its gradients."""
    model, ids = objective().double(), padded(12, 5, 3)
    masked, chosen = model.masked(ids)
    monkeypatch.setattr(model, "masked", lambda ids, n_views: (masked, chosen))
    result = model([ids])
    result["loss"].backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    features, losses, correct = model.encoder.features(masked), [], []
    linear, _, norm = model.head
    weights = model.encoder.backbone.embedding.weight
    for i, j in chosen.nonzero().tolist():
        state = gelu(linear.weight @ features.tokens[i, j] + linear.bias)
        state = layer_norm(state, (512,), norm.weight, norm.bias)
        logits = weights @ state + model.bias
        losses.append(-log_softmax(logits, dim=0)[ids[i, j]])
        correct.append(logits.argmax() == ids[i, j])
    assert len(losses) == 2 + 1 + 1
    loss = torch.stack(losses).mean()
    assert result["loss"].item() == pytest.approx(loss.item(), rel=1e-9)
    assert result["accuracy"].item() == pytest.approx(np.mean(correct))
    torch.testing.assert_close(result["embedding"], features.pooled)
    loss.backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_selection_without_waiting_for_a_gpu():
    model, ids = objective(0.3), padded(40, 12, 3, 0)
    _, chosen = model.masked(ids)
    states = torch.randn(*ids.shape, 8)
    expected, labels = model.selected(states, ids, chosen)
    on_gpu = FakeDevice(ids)
    given, found = model.selected(states, on_gpu, chosen)
    assert len(found) == 4 * 12
    assert torch.equal(found[found != 0], labels)
    assert torch.equal(given[found != 0], expected)


def test_loss_of_texts_without_tokens_is_0():
    result = objective()([padded(0, 0)[:, :1]])
    assert result["loss"].item() == result["accuracy"].item() == 0


def test_an_untrained_network_is_at_chance_level():
    model = objective()
    loss = model([padded(*[40] * 50)])["loss"].item()
    assert model.chance_loss(50) == math.log(300)
    assert loss == pytest.approx(math.log(300), rel=0.15)


@pytest.fixture(scope="module")
def trained():
    bert = BERTTransformer(max_epochs=90, mask_ratio=0.3, batch_size=40, lr=0.002, random_state=0)
    return bert.fit(PATTERN)


def test_fill_mask(trained):
    texts = [
        "the cat [MASK] on the mat",
        "[MASK] dog ran in the park.",
        "[MASK] [MASK] ran in the park",
    ]
    filled = trained.fill_mask(texts)
    assert filled.shape == (3,)
    assert filled.tolist() == [
        *("the cat sat on the mat", "a dog ran in the park.", "a dog ran in the park")
    ]
    many = trained.fill_mask(texts, n_candidates=4)
    assert many.shape == (3, 4)
    assert (many[:, 0] == filled).all()
    assert all(len(set(row)) == 4 for row in many.tolist())
    assert not any("[MASK]" in text or "\ufffd" in text for text in many.ravel())
    np.testing.assert_array_equal(trained.fill_mask(np.array(texts)[:, None])[:1], filled[:1])


def test_other_text_is_left_as_it_is(trained):
    (filled,) = trained.fill_mask(["The  CAT\n[MASK] on [PAD]"])
    assert filled.startswith("The  CAT ")
    assert filled.endswith(" on [PAD]")


def test_bad_fill_mask(trained):
    with pytest.raises(
        ValueError, match=r'requires "\[MASK\]" in each text; sample 1 of X.*no mask'
    ):
        trained.fill_mask(["a [MASK]", "no mask"])
    with pytest.raises(ValueError, match=r"sample 0 of X has not all of them among its first 128"):
        trained.fill_mask(["cat " * 127 + "[MASK] [MASK]"])
    with pytest.raises(ValueError, match="n_candidates must be an int, at least 1"):
        trained.fill_mask(["a [MASK]"], n_candidates=0)
    with pytest.raises(ValueError, match="sample 0 of X is missing"):
        trained.fill_mask([None])


def test_mask_in_a_text_is_text(trained):
    """Except in fill_mask."""
    special, plain = trained.transform(["the [MASK] sat", "the [mask] sat"])
    np.testing.assert_array_equal(special, plain)


def test_restored_models_fill_the_same(trained, tmp_path):
    texts = ["the cat [MASK] on the mat", "we [MASK]"]
    path = tmp_path / "bert.safetensors"
    trained.save(path)
    for restored in (sklearn_ssl.load(path), pickle.loads(pickle.dumps(trained))):
        np.testing.assert_array_equal(restored.transform(PATTERN), trained.transform(PATTERN))
        assert (restored.fill_mask(texts, 3) == trained.fill_mask(texts, 3)).all()
        assert restored.score(PATTERN) == trained.score(PATTERN)


def test_loss_falls_below_chance_level(trained):
    assert trained.health_["chance_loss"][0] == pytest.approx(math.log(trained._spec.shape[1]))
    assert trained.loss_curve_[-1] < 0.2 * trained.loss_curve_[0]
    assert trained.health_["accuracy"][-1] > 0.7


def test_output_weights_are_those_of_the_embedding(trained):
    names = [name for name, _ in trained.objective_.named_parameters()]
    shapes = [p.shape for p in trained.objective_.parameters()]
    assert sum(shape == (*trained._spec.shape[1:], 512) for shape in shapes) == 1
    assert {name.split(".")[0] for name in names} == {"encoder", "head", "bias"}


def test_a_backbone_of_the_user():
    class Words(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.embedding = nn.Embedding(shape[1], 8)

        def forward(self, ids):
            return self.embedding(ids)

    model = shrunk(BERTTransformer, backbone=lambda shape: Words(shape)).fit(PATTERN)
    assert model.transform(PATTERN).shape == (120, 8)
    with pytest.raises(ValueError, match="an attribute"):
        shrunk(BERTTransformer, backbone=lambda shape: nn.Embedding(shape[1], 8)).fit(PATTERN)


def test_views_shorten_texts():
    views = TextViews(deletion=0.3, n_views=2)
    model = shrunk(BERTTransformer, views=views, input=Text(max_length=20)).fit(PATTERN)
    assert np.isfinite(model.loss_curve_).all()


def accuracy(features, y, n_labels=10):
    scores = []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(y))
        train = np.concatenate([order[y[order] == c][:n_labels] for c in np.unique(y)])
        test = np.setdiff1d(order, train)
        probe = LogisticRegression(max_iter=2000).fit(features[train], y[train])
        scores.append(probe.score(features[test], y[test]))
    return np.mean(scores)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_features_of_contrasted_texts_beat_the_untrained_encoder():
    X, y = sentences()
    untrained = EncoderTransformer(random_state=0).fit_transform(X)
    trained = sklearn_ssl.SimCLRTransformer(max_epochs=30, random_state=0).fit_transform(X)
    scale = [features.std(axis=0).mean() for features in (untrained, trained)]
    before, after = accuracy(untrained / scale[0], y), accuracy(trained / scale[1], y)
    print(f"untrained {before:.3f}, trained {after:.3f}")
    assert after > before + 0.02
