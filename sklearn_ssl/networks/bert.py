"""Small transformer encoder for texts."""

import torch
from torch import nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from sklearn_ssl.data.spec import PADDING
from sklearn_ssl.networks.features import HasFeatures, features_of_tokens


class SmallBERT(HasFeatures):
    """Transformer encoder of token ids (n, length), with learned positions and pre-norm blocks.

    The features of a text are the mean of its tokens, without padding, scaled to the same length
    for all texts; they are 0 without tokens. Embeddings are wider than the blocks (``n_heads`` of
    32 features each), as words say more about short texts than their order. There is no norm after
    the last block, so that the network can learn the weight of a token in the mean. Blocks start as
    the identity, and the features as the mean of embeddings.
    """

    token_layer = "blocks"

    def __init__(self, max_length, n_tokens, width=512, depth=1, n_heads=2):
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, width, padding_idx=PADDING)
        with torch.no_grad():  # of length one, for logits of usual size where it predicts tokens
            self.embedding.weight.div_(width**0.5)
        self.scale = width**0.5  # blocks, whose output is about 1, would outweigh short embeddings
        self.positions = nn.Parameter(torch.zeros(max_length, width))
        self.blocks = nn.ModuleList(Block(width, n_heads) for _ in range(depth))

    def features(self, samples):
        """Return the features of a batch: mean, tokens, and which are not padding."""
        mask = samples != PADDING
        places = torch.arange(samples.shape[1], device=samples.device).expand_as(samples)
        ids, places = (packed(x[:, :, None], mask)[..., 0] for x in (samples, places))
        tokens = self.scale * self.embedding(ids) + self.positions[places]
        for block in self.blocks:
            tokens = block(tokens, mask)
        features = features_of_tokens(padded(tokens, mask), mask)
        # Means of few tokens are longer, which says nothing about the text.
        pooled = normalize(features.pooled) * features.pooled.shape[1] ** 0.5
        return features._replace(pooled=pooled)


class Block(nn.Module):
    """Self-attention and a hidden layer, each after a layer norm and added to the tokens."""

    def __init__(self, width, n_heads, head_width=32):
        super().__init__()
        self.n_heads, inner = n_heads, n_heads * head_width
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.join = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.widen, self.narrow = nn.Linear(width, 4 * inner), nn.Linear(4 * inner, width)
        for last in (self.join, self.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, tokens, mask):
        """Return the tokens, as ``packed`` by their mask."""
        parts = padded(self.attend(self.norm_1(tokens)), mask).chunk(3, dim=2)
        query, key, value = (x.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for x in parts)
        # The attention of a text without tokens would be NaN.
        seen = mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
        read = scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
        tokens = tokens + self.join(packed(read.transpose(1, 2).flatten(2), mask))
        return tokens + self.narrow(gelu(self.widen(self.norm_2(tokens))))


@torch.fx.wrap
def packed(tokens, mask):
    """Return tokens (n, length, d) without padding, (m, d), where that saves time: on the CPU."""
    if not _is_packed(mask):
        return tokens
    # The gradient of indexing by a mask takes several times as long.
    return tokens.flatten(0, 1).index_select(0, _places(mask))


@torch.fx.wrap
def padded(tokens, mask):
    """Return packed tokens with padding, (n, length, d)."""
    if not _is_packed(mask):
        return tokens
    empty = tokens.new_zeros(mask.numel(), tokens.shape[1])
    return empty.index_copy(0, _places(mask), tokens).unflatten(0, mask.shape)


def _places(mask):
    return mask.flatten().nonzero()[:, 0]


def _is_packed(mask):
    """Return whether padding is left out: a GPU and a compiler would wait for its number."""
    return mask.device.type == "cpu" and not torch.compiler.is_compiling()


# Backbones of texts by name.
OF_TEXTS = {"small_bert": SmallBERT}
