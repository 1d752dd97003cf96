"""The transformer encoder of texts."""

import pytest
import torch
from torch import nn

from sklearn_ssl.networks.bert import SmallBERT
from sklearn_ssl.networks.encoder import count_features, make_encoder

SHAPE = 12, 50


@pytest.fixture
def network():
    """One whose blocks do something, as after training."""
    torch.manual_seed(0)
    network = SmallBERT(*SHAPE, width=16, n_heads=2).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return network


def test_features_are_the_mean_of_tokens_without_padding(network):
    ids = torch.tensor([[5, 9, 3, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    features = network.features(ids)
    assert features.tokens.shape == (3, 5, 16)
    assert features.mask.tolist() == (ids != 0).tolist()
    torch.testing.assert_close(features.pooled[0], features.tokens[0, :3].mean(dim=0))
    torch.testing.assert_close(features.pooled[1], features.tokens[1, 0])
    assert (features.pooled[2] == 0).all()
    torch.testing.assert_close(network(ids), features.pooled)
    assert features.tokens.isfinite().all()


def test_padding_changes_nothing(network):
    ids = torch.randint(1, 50, (4, 6))
    padded = torch.cat([ids, torch.zeros(4, 6, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(network(ids), network(padded))
    # And tokens that are not padding do.
    assert not torch.allclose(network(ids), network(padded + (padded == 0)), atol=1e-3)


def test_words_and_their_order_are_read(network):
    ids = torch.tensor([[5, 9, 3]])
    assert not torch.allclose(network(ids), network(ids.flip(1)), atol=1e-3)
    network.positions.data.zero_()
    torch.testing.assert_close(network(ids), network(ids.flip(1)))


def test_blocks_are_those_of_torch(network):
    """Transformer encoder layers with the norm first and gelu."""
    block = network.blocks[0]
    layer = nn.TransformerEncoderLayer(
        *(16, 2, 64, 0.0, "gelu"), batch_first=True, norm_first=True
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
    tokens, seen = torch.randn(3, 5, 16), torch.tensor([[1, 1, 1, 0, 0]] * 3).bool()
    expected = layer(tokens, src_key_padding_mask=~seen)
    torch.testing.assert_close(block(tokens, seen[:, None, None])[:, :3], expected[:, :3])


def test_it_starts_as_the_mean_of_embeddings():
    network = SmallBERT(*SHAPE, width=16)
    ids = torch.tensor([[5, 9, 3, 0]])
    expected = (network.embedding.weight[ids[0, :3]] + network.positions[:3]).mean(dim=0)
    torch.testing.assert_close(network(ids)[0], expected)


def test_encoders_of_texts_are_tried_with_ids():
    encoder = make_encoder("small_bert", SHAPE, [], [])
    assert count_features(encoder, SHAPE) == count_features(encoder, (3,)) == 256
    with pytest.raises(ValueError, match=r"fails on samples of shape \(13,\)"):
        count_features(encoder, (13,))  # longer than its positions
