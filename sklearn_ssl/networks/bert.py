"""Small transformer encoder for texts."""

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from sklearn_ssl.data.spec import PADDING
from sklearn_ssl.networks.features import HasFeatures, features_of_tokens


class SmallBERT(HasFeatures):
    """Transformer encoder of token ids (n, length), with learned positions and pre-norm blocks.

    The features of a text are the mean of its tokens, without padding. There is no norm after the
    last block, so that the network can learn the weight of a token in the mean. Blocks start as the
    identity, and the features as the mean of embeddings.
    """

    token_layer = "blocks"

    def __init__(self, max_length, n_tokens, width=256, depth=2, n_heads=4):
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, width, padding_idx=PADDING)
        with torch.no_grad():  # of length one, for logits of usual size where it predicts tokens
            self.embedding.weight.div_(width**0.5)
        self.positions = nn.Parameter(0.02 * torch.randn(max_length, width))
        self.blocks = nn.ModuleList(Block(width, n_heads) for _ in range(depth))

    def features(self, samples):
        """Return the features of a batch: mean, tokens, and which are not padding."""
        mask = samples != PADDING
        # The attention of a text without tokens would be NaN.
        seen = mask | (torch.arange(samples.shape[1], device=samples.device) == 0)
        tokens = self.embedding(samples) + self.positions[: samples.shape[1]]
        for block in self.blocks:
            tokens = block(tokens, seen[:, None, None])
        return features_of_tokens(tokens, mask)


class Block(nn.Module):
    """Self-attention and a hidden layer, each after a layer norm and added to the tokens."""

    def __init__(self, width, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for last in (self.join, self.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, tokens, seen):
        """Return the tokens; ``seen``, (n, 1, 1, length), is False for those to ignore."""
        parts = self.attend(self.norm_1(tokens)).chunk(3, dim=2)
        query, key, value = (x.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for x in parts)
        read = scaled_dot_product_attention(query, key, value, attn_mask=seen)
        tokens = tokens + self.join(read.transpose(1, 2).flatten(2))
        return tokens + self.narrow(gelu(self.widen(self.norm_2(tokens))))


# Backbones of texts by name.
OF_TEXTS = {"small_bert": SmallBERT}
