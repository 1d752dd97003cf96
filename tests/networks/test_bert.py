"""The transformer encoder of texts."""

import pytest
import torch
from torch import nn

from sklearn_ssl.data.spec import TextSpec, trial_ids
from sklearn_ssl.networks.bert import SmallBERT, packed, padded
from sklearn_ssl.networks.encoder import count_features, make_encoder

SHAPE = 12, 50


@pytest.fixture
def network():
    """One whose blocks do something, as after training."""
    torch.manual_seed(0)
    network = SmallBERT(*SHAPE, width=64, depth=2, n_heads=2).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return network


def test_features_are_the_mean_of_tokens_without_padding(network):
    ids = torch.tensor([[5, 9, 3, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    features = network.features(ids)
    assert features.tokens.shape == (3, 5, 64)
    assert features.mask.tolist() == (ids != 0).tolist()
    for row, n in ((0, 3), (1, 1)):
        mean = features.tokens[row, :n].mean(dim=0)
        torch.testing.assert_close(features.pooled[row], 8 * mean / mean.norm())
    assert (features.pooled[2] == 0).all()
    torch.testing.assert_close(network(ids), features.pooled)
    assert features.tokens.isfinite().all()


def test_padding_changes_nothing(network):
    ids = torch.randint(1, 50, (4, 6))
    padded = torch.cat([ids, torch.zeros(4, 6, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(network(ids), network(padded))
    # And tokens that are not padding do.
    assert not torch.allclose(network(ids), network(padded + (padded == 0)), atol=1e-3)


def test_leaving_out_padding_changes_nothing(network, monkeypatch):
    """As on the CPU only."""
    ids = torch.tensor([[5, 9, 3, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    expected = network.features(ids)
    tokens = torch.randn(3, 5, 4)
    assert packed(tokens, ids != 0).shape == (4, 4)
    assert torch.equal(padded(packed(tokens, ids != 0), ids != 0), tokens * (ids != 0)[:, :, None])
    monkeypatch.setattr("sklearn_ssl.networks.bert._is_packed", lambda mask: False)
    features = network.features(ids)
    torch.testing.assert_close(features.pooled, expected.pooled)
    torch.testing.assert_close(features.tokens[ids != 0], expected.tokens[ids != 0])


def test_words_and_their_order_are_read(network):
    ids = torch.tensor([[5, 9, 3]])
    assert not torch.allclose(network(ids), network(ids.flip(1)), atol=1e-3)
    network.positions.data.zero_()
    torch.testing.assert_close(network(ids), network(ids.flip(1)))


def test_blocks_are_those_of_torch(network):
    """Transformer encoder layers with the norm first and gelu."""
    block = network.blocks[0]
    layer = nn.TransformerEncoderLayer(
        *(64, 2, 256, 0.0, "gelu"), batch_first=True, norm_first=True
    ).eval()
    pairs = {
        "self_attn.in_proj": block.attend,
        "self_attn.out_proj": block.join,
        "linear1": block.widen,
        "linear2": block.narrow,
        "norm1": block.norm_1,
        "norm2": block.norm_2,
    }
    state = {}
    for name, ours in pairs.items():
        between = "_" if name.endswith("in_proj") else "."
        state |= {f"{name}{between}{part}": value for part, value in ours.state_dict().items()}
    layer.load_state_dict(state)
    tokens, mask = torch.randn(3, 5, 64), torch.tensor([[1, 1, 1, 0, 0]] * 3).bool()
    expected = layer(tokens, src_key_padding_mask=~mask)
    torch.testing.assert_close(
        padded(block(packed(tokens, mask), mask), mask)[mask], expected[mask]
    )


def test_it_starts_as_the_mean_of_embeddings():
    network = SmallBERT(*SHAPE, width=16)
    ids = torch.tensor([[5, 9, 3, 0]])
    expected = (4 * network.embedding.weight[ids[0, :3]] + network.positions[:3]).mean(dim=0)
    assert expected.norm().item() / 4 == pytest.approx(
        3**-0.5, rel=0.4
    )  # of three words, each of length 4
    torch.testing.assert_close(network(ids)[0], 4 * expected / expected.norm())


def test_encoders_of_texts_are_tried_with_ids():
    encoder = make_encoder("small_bert", SHAPE, [], [])
    assert count_features(encoder, TextSpec(SHAPE).samples()) == 512
    assert count_features(encoder, trial_ids(2, 3, SHAPE[1])) == 512
    with pytest.raises(ValueError, match=r"fails on samples of shape \(13,\)"):
        count_features(encoder, trial_ids(2, 13, SHAPE[1]))  # longer than its positions
