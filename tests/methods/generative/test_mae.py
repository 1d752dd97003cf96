"""Masked autoencoder: its loss beside a slow reference, its patches, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from common import digits, photo_patches, shrunk
from torch import nn

from methods.generative.references import masked_objective, pictures, slow_patches
from sklearn_ssl import MAETransformer
from sklearn_ssl.methods.generative.mae import MAEObjective
from sklearn_ssl.networks.decoders import PatchDecoder
from sklearn_ssl.networks.encoder import make_encoder
from sklearn_ssl.networks.vit import AnySizeVisionTransformer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_vit", "vit_b_32"])
def test_visible_patches_are_those_of_the_indices(name):
    encoder = make_encoder(name, (1, 16, 16), [0.5], [0.2]).eval()
    assert encoder.patch_size == (2 if name == "small_vit" else 4)
    n = (16 // encoder.patch_size) ** 2
    images, order = torch.rand(3, 1, 16, 16), torch.rand(3, n).argsort(dim=1)
    with torch.no_grad():
        scaled = (images - 0.5) / 0.2
        every = encoder.backbone.features(scaled).tokens
        torch.testing.assert_close(encoder(images), every[:, 0], rtol=1e-4, atol=1e-5)
        kept = encoder.features(images, visible=order).tokens  # all of them, in another order
        for i in range(3):
            torch.testing.assert_close(kept[i, 1:], every[i, 1 + order[i]], rtol=1e-3, atol=1e-4)
        few = encoder.features(images, visible=order[:, :4]).tokens
        assert few.shape[1] == 5
        one_by_one = [
            encoder.features(x[None], visible=o[None, :4]).tokens
            for x, o in zip(images, order, strict=True)
        ]
        torch.testing.assert_close(torch.cat(one_by_one), few, rtol=1e-3, atol=1e-4)
        assert (few[:, 1:] - kept[:, 1:5]).abs().max() > 1e-4  # the others are not there


def test_networks_without_patches_have_none_to_keep():
    encoder = make_encoder("small_convnet", (1, 16, 16), [0.5], [0.2])
    assert encoder.patch_size is None


def test_the_decoder_puts_tokens_back_where_they_were():
    torch.manual_seed(0)
    decode = PatchDecoder(8, 20, 2, 5).eval()
    tokens, order = torch.randn(3, 1 + 4, 8), torch.rand(3, 12).argsort(dim=1)
    with torch.no_grad():
        told = decode(tokens, order, 4, (3, 4))
        assert told.shape == (3, 12, 5)
        # The same patches in another order are the same image.
        seen, hidden = torch.tensor([2, 0, 3, 1]), 4 + torch.randperm(8)
        again = decode(
            torch.cat([tokens[:, :1], tokens[:, 1 + seen]], dim=1),
            torch.cat([order[:, seen], order[:, hidden]], dim=1),
            *(4, (3, 4)),
        )
        torch.testing.assert_close(again, told, rtol=1e-4, atol=1e-5)
        for block in decode.blocks:  # no place sees another
            nn.init.zeros_(block.self_attn.out_proj.weight)
            nn.init.zeros_(block.self_attn.out_proj.bias)
        plain = decode(tokens, order, 4, (3, 4))
        tokens[:, 2] += torch.randn(8)
        changed = (decode(tokens, order, 4, (3, 4)) - plain).abs().amax(dim=2) > 1e-5
    assert torch.equal(changed.nonzero()[:, 1], order[:, 1])
    # Hidden ones differ by their place alone.
    hidden = plain.gather(1, order[:, 4:, None].expand(-1, -1, 5))
    assert len(torch.unique(hidden[0].round(decimals=5), dim=0)) == 8


@pytest.mark.slow
def test_normalized_patches_of_photographs_are_better_than_their_mean(photos):
    """Where mean and contrast of a hidden patch are known, patches of one color know nothing."""
    X = photos[::2]
    model = shrunk(MAETransformer, max_epochs=40, batch_size=32, decoder_dim=64).fit(X)
    assert model.objective_.norm_pix_loss
    net, batch = model.objective_, torch.from_numpy(photos[1::2]).permute(0, 3, 1, 2) / 255
    draw = torch.Generator().manual_seed(model._seed)
    masks = net.masks(batch, draw)
    mean, _ = net.scale(batch)
    flat = ((mean - batch).square() * masks).sum() / masks.sum() / 3
    assert model.score_pretext(photos[1::2]) > -10 * math.log10(flat) + 0.3


def network(X, **settings):
    model = shrunk(MAETransformer, **settings).fit(X)
    return model.backbone_, model.objective_.patch_size


def test_resolution_of_auto(photos):
    assert network(photos[:20]) == ("small_vit", 4)
    views = shrunk(MAETransformer).fit(photos[:20]).views_(torch.rand(2, 3, 32, 32))
    assert [view.shape for view in views] == [(2, 3, 32, 32)]
    assert shrunk(MAETransformer).fit(digits()[0][:20]).objective_.norm_pix_loss is False
    given = shrunk(MAETransformer, norm_pix_loss=True).fit(digits()[0][:20])
    assert given.objective_.norm_pix_loss is True
    assert given.objective_.mask_ratio == 0.5  # of 16 patches
    model = shrunk(MAETransformer).fit(photos[:20])
    assert model.objective_.mask_ratio == 0.75
    assert model.objective_.norm_pix_loss is True


def refused(X, message, **settings):
    with pytest.raises(ValueError, match=message):
        shrunk(MAETransformer, **settings).fit(X)


def test_networks_without_patches_are_refused(photos):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8))
    for backbone in ("small_convnet", lambda shape: nn.Conv2d(3, 8, 3), flat):
        message = 'needs a vision transformer.* backbone="small_vit".* use SimMIMTransformer'
        refused(photos[:20], message, backbone=backbone)


def test_images_that_cannot_be_cut_into_patches_are_refused(photos):
    """Also where the network has patches; those of one pixel only where they are asked for."""
    rng = np.random.default_rng(0)
    message = r"square images.* have 24 x 36 pixels.*\(size=24\), or use SimMIMTransformer"
    refused(rng.random((9, 24, 36)), message)
    refused(rng.random((9, 24, 36)), "requires square images", backbone="small_vit")
    refused(rng.random((9, 13, 13)), "patches of 2 pixels or more.* 13 x 13 pixels.*size=8")
    assert network(rng.random((9, 13, 13)), backbone="small_vit") == ("small_vit", 1)
    vit = AnySizeVisionTransformer(32, 8, 1, 1, 16, 16)
    refused(photos[:9, :28, :28], "patches of 8 pixels.* have 28 x 28.*=24", backbone=vit)


def test_larger_patches_hide_whole_patches_of_the_network(photos):
    model = shrunk(MAETransformer, patch_size=16, mask_ratio=0.5).fit(photos[:20])
    told = model.reconstruct(photos[:20], random_state=0)
    changed = (told != photos[:20]).reshape(20, 2, 16, 2, 16, 3).any(axis=(2, 4, 5))
    assert (changed.sum(axis=(1, 2)) == 2).all()


def test_half_precision_stays_near(photos):
    net, batch = (
        masked_objective().train(),
        torch.from_numpy(photo_patches(20)).permute(0, 3, 1, 2) / 255,
    )
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(net([batch])["loss"])
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("normalized", [True, False])
def test_mae(normalized):
    torch.manual_seed(0)
    mean, std = torch.tensor([0.4, 0.6]), torch.tensor([0.2, 0.3])
    encoder = make_encoder("small_vit", (2, 8, 8), mean, std)
    net = MAEObjective(encoder, 128, 4, 0.5, normalized, 6, 2).double().eval()
    images = pictures()
    torch.manual_seed(0)
    masks = net.masks(images)
    torch.manual_seed(0)
    loss, errors = net([images])["loss"], []
    vit, decode = encoder.backbone, net.decode
    for image, mask in zip(images, masks[:, 0], strict=True):
        seen, tokens = [], [vit.class_token[0, 0] + vit.encoder.pos_embedding[0, 0]]
        patches = slow_patches(image, mean, std, 2)
        for k, patch in enumerate(patches):
            if not mask[2 * (k // 4), 2 * (k % 4)]:
                projected = (vit.conv_proj.weight * patch).sum(dim=(1, 2, 3)) + vit.conv_proj.bias
                tokens.append(projected + vit.encoder.pos_embedding[0, 1 + k])
                seen.append(k)
        assert len(seen) == 8
        encoded = decode.embed(vit.encoder.ln(vit.encoder.layers(torch.stack(tokens)[None]))[0])
        row = [encoded[0]]
        for k in range(16):
            waves = []  # of the place's row and column, by sine and cosine, six numbers in all
            for place in (k // 4, k % 4):
                angles = [place, place * 10000 ** (-1 / 2)]
                waves += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            token = encoded[1 + seen.index(k)] if k in seen else decode.mask
            row.append(token + torch.tensor(waves[:6], dtype=torch.float64))
        told = decode.last(decode.blocks(torch.stack(row)[None]))[0, 1:]
        raw = slow_patches(image, torch.zeros(2), torch.ones(2), 2)
        for k in range(16):
            target = patches[k].flatten()
            if normalized:
                values = raw[k].flatten()
                target = (values - values.mean()) / (values.var(correction=1) + 1e-6).sqrt()
            if k not in seen:
                errors.append((told[k] - target).square().mean())
    expected = sum(errors) / len(errors)
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)
