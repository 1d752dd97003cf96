"""Encoders by name, by factory and as given."""

import pytest
import torch
from torchvision import models

from networks.helpers import encoder
from sklearn_ssl.networks.vit import _positions, attention_maps


@pytest.mark.parametrize("name", ["small_vit", "vit_b_16"])
@pytest.mark.slow
def test_vision_transformers_take_images_of_other_sizes(name):
    model, _ = encoder(name)
    model.eval()
    images = torch.rand(2, 3, 32, 32)
    torchvision = models.VisionTransformer.forward
    if name == "small_vit":  # at its own size it is torchvision's
        torch.testing.assert_close(
            model.backbone(images), torchvision(model.backbone, images), atol=1e-5, rtol=1e-4
        )
    # Half the side has half the positions on each side: means of four, here on a ramp.
    positions = model.backbone.encoder.pos_embedding
    ramp = torch.arange(8.0).expand(8, 8).reshape(64, 1)
    with torch.no_grad():
        positions[0, 1:] = ramp
        small = _positions(positions, 4, 4)
    assert small.shape == (1, 17, positions.shape[2])
    torch.testing.assert_close(small[0, 1:, 0].view(4, 4)[:, 1:3], torch.tensor([[2.5, 4.5]] * 4))
    torch.testing.assert_close(small[0, 0], positions[0, 0])
    assert model(torch.rand(2, 3, 16, 16)).std() > 0
    assert model(torch.rand(2, 3, 12, 20)).shape == model(images).shape


def test_attention_maps_are_the_last_block_s():
    model, _ = encoder("small_vit")
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        maps = attention_maps(model.eval(), images)
        assert maps.shape == (3, 4, 8, 8)
        block = model.backbone.encoder.layers[-1]
        seen = []
        hook = block.ln_1.register_forward_hook(lambda *args: seen.append(args[2]))
        model(images)
        hook.remove()
        weight, bias = block.self_attention.in_proj_weight, block.self_attention.in_proj_bias
        q, k, _ = (seen[0] @ weight.T + bias).chunk(3, dim=2)
        q, k = (t.unflatten(2, (4, 32)).transpose(1, 2) for t in (q, k))
        expected = (q @ k.mT / 32**0.5).softmax(dim=3)[:, :, 0, 1:]
    torch.testing.assert_close(maps.flatten(2), expected, atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="require a vision transformer"):
        attention_maps(encoder("small_convnet")[0], images)
