"""Torchvision's vision transformer for any image size, and its attention maps."""

import math

import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import VisionTransformer


class AnySizeVisionTransformer(VisionTransformer):
    """Torchvision's vision transformer, which interpolates position embeddings to other sizes."""

    def forward(self, images):
        """Return the class token's features, (n, d)."""
        return self.heads(self.tokens(images)[:, 0])

    def tokens(self, images, keep=None):
        """Return the output tokens of the class token and of the patches, (n, 1 + patches, d).

        With ``keep``, indices (n, k) of visible patches, the others are removed from the input, and
        the output has 1 + k tokens.
        """
        patches = self.conv_proj(images)  # (n, d, rows, columns)
        positions = _positions(self.encoder.pos_embedding, patches.shape[2], patches.shape[3])
        class_token = self.class_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1) + positions
        if keep is not None:
            visible = tokens[:, 1:].gather(1, keep[:, :, None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([tokens[:, :1], visible], dim=1)
        return self.encoder.ln(self.encoder.layers(self.encoder.dropout(tokens)))


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
    blocks = [m for m in encoder.modules() if isinstance(m, nn.MultiheadAttention)]
    if not blocks:
        raise ValueError(
            'Attention maps require a vision transformer, such as backbone="small_vit"; this '
            "encoder has no torch.nn.MultiheadAttention."
        )
    tokens = []
    hook = blocks[-1].register_forward_pre_hook(
        lambda block, args, kwargs: tokens.append(args[0] if args else kwargs["query"]),
        with_kwargs=True,
    )
    try:
        encoder(images)
    finally:
        hook.remove()
    _, weights = blocks[-1](*3 * tokens, need_weights=True, average_attn_weights=False)
    side = math.isqrt(weights.shape[-1] - 1)  # weights: (n, heads, 1 + patches, 1 + patches)
    if side**2 != weights.shape[-1] - 1:
        raise ValueError(
            f"The last attention block has {weights.shape[-1]} tokens; expected one class token "
            "and a square grid of patches."
        )
    return weights[:, :, 0, 1:].unflatten(2, (side, side))
