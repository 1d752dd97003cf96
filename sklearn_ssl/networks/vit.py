"""Torchvision's vision transformer for any image size, and its attention maps."""

import math

import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import VisionTransformer

from sklearn_ssl.networks.features import Features, HasFeatures
from sklearn_ssl.networks.layers import sharing


class AnySizeVisionTransformer(HasFeatures, VisionTransformer):
    """Torchvision's vision transformer, which interpolates position embeddings to other sizes."""

    token_layer = "encoder.ln"

    def features(self, images, visible=None):
        """Return the features of a batch: the class token's, and the output tokens of patches.

        With ``visible``, indices (n, k) of patches, the others are removed from the input; the
        output has 1 + k tokens and no map.
        """
        tokens, grid = self._embedded(images)
        if visible is not None:
            patches = tokens[:, 1:].gather(1, visible[:, :, None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([tokens[:, :1], patches], dim=1)
        tokens = self.encoder.ln(self.encoder.layers(self.encoder.dropout(tokens)))
        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, grid) if visible is None else None
        return Features(self.heads(tokens[:, 0]), maps, tokens)

    def block_outputs(self, images):
        """Return the output tokens of each block, (n, 1 + patches, d)."""
        tokens, _ = self._embedded(images)
        outputs = [self.encoder.dropout(tokens)]
        for block in self.encoder.layers:
            outputs.append(block(outputs[-1]))
        return outputs[1:]

    def attention(self, images):
        """Return the attention of the class token in the last block, (n, heads, height, width)."""
        tokens, grid = self._embedded(images)
        *blocks, last = self.encoder.layers
        for block in blocks:
            tokens = block(tokens)
        return _attention(last.self_attention, last.ln_1(tokens)).unflatten(2, grid)

    def _embedded(self, images):
        """Return the input tokens of the class token and of the patches, and the patches' grid."""
        patches = self.conv_proj(images)  # (n, d, rows, columns)
        positions = _positions(self.encoder.pos_embedding, patches.shape[2], patches.shape[3])
        class_token = self.class_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)
        return tokens + positions, patches.shape[2:]


@torch.fx.wrap  # not traced by ``layer``, since it branches on the size
def _positions(embedding, rows, columns):
    """Return position embeddings of the class token and a grid of patches, (1, 1 + patches, d)."""
    side = math.isqrt(embedding.shape[1] - 1)
    if (rows, columns) == (side, side):
        return embedding
    grid = embedding[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    grid = interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def attention_maps(encoder, images):
    """Return the attention of the class token in the last block, (n, heads, height, width)."""
    if isinstance(encoder.backbone, AnySizeVisionTransformer):
        return encoder.backbone.attention(encoder.normalized(images))
    blocks = [m for m in encoder.modules() if isinstance(m, nn.MultiheadAttention)]
    if not blocks:
        raise ValueError(
            'Attention maps require a vision transformer, such as backbone="small_vit"; this '
            "encoder has no torch.nn.MultiheadAttention."
        )
    # The input of a block of an unknown network is found by a hook, of a copy, since threads may
    # share the encoder.
    encoder, tokens = sharing(encoder), []
    block = [m for m in encoder.modules() if isinstance(m, nn.MultiheadAttention)][-1]
    block.register_forward_pre_hook(
        lambda block, args, kwargs: tokens.append(args[0] if args else kwargs["query"]),
        with_kwargs=True,
    )
    encoder(images)
    attention = _attention(block, *tokens)
    side = math.isqrt(attention.shape[2])
    if side**2 != attention.shape[2]:
        raise ValueError(
            f"The last attention block has {attention.shape[2] + 1} tokens; expected one class "
            "token and a square grid of patches."
        )
    return attention.unflatten(2, (side, side))


def _attention(block, tokens):
    """Return the attention of the class token to the patches, (n, heads, patches)."""
    # Not the mean over heads. Weights are of shape (n, heads, 1 + patches, 1 + patches).
    _, weights = block(tokens, tokens, tokens, average_attn_weights=False)
    return weights[:, :, 0, 1:]
