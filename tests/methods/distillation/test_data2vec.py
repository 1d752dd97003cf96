"""data2vec: its loss beside a slow reference, its targets, and its blocks."""

import pytest
import torch
from common import digits, shrunk

from sklearn_ssl.methods.distillation._masks import blanked, drawn_blocks, masks_of
from sklearn_ssl.methods.distillation.data2vec import (
    Data2VecObjective,
    Data2VecTransformer,
    block_targets,
)
from sklearn_ssl.networks.encoder import make_encoder


def data2vec(n_blocks=2):
    torch.manual_seed(0)
    encoder = make_encoder("small_vit", (1, 16, 16), [0.5], [0.25])
    return Data2VecObjective(encoder, 128, 0.9, 0.6, n_blocks, 2.0)


def batch(n=4):
    images = torch.from_numpy(digits()[0][:n]).float()[:, None] / 16
    return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def slow_targets(outputs):
    means = []
    for block in outputs:
        centered = block - block.mean(dim=2, keepdim=True)
        means.append(centered / (block.var(dim=2, keepdim=True, correction=0) + 1e-5).sqrt())
    return sum(means) / len(means)


def test_data2vec():
    """Gradients of the student alone, of masked patches alone, which it does not see."""
    objective, images = data2vec().double().eval(), batch().double()
    for p in objective.student.parameters():
        p.data += 0.01 * torch.randn_like(p)
    torch.manual_seed(1)
    loss = objective([images])["loss"]
    loss.backward()
    ours = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    assert {name.split(".")[0] for name in ours} == {"student", "predict", "blank"}
    objective.zero_grad()

    torch.manual_seed(1)
    places, _ = drawn_blocks(images, (8, 8), 0.6)
    assert places.shape == (4, 38)
    with torch.no_grad():
        blocks = objective.teacher.backbone.block_outputs((images - 0.5) / 0.25)
        targets = slow_targets(blocks[2:])[:, 1:]
    seen = blanked(images, masks_of(places, (8, 8)), objective.blank)
    predicted = objective.predict(objective.student.features(seen).tokens)[:, 1:]
    errors = []
    for i in range(4):
        for place in places[i]:
            d = (predicted[i, place] - targets[i, place]).abs()
            errors.append(torch.where(d < 2, d**2 / 4, d - 1).mean())
    expected = sum(errors) / len(errors)
    torch.testing.assert_close(loss, expected)
    expected.backward()
    for name, p in objective.named_parameters():
        if name in ours:
            torch.testing.assert_close(ours[name], p.grad)


def test_outputs_of_blocks_lead_to_the_tokens():
    backbone, images = data2vec().student.backbone.eval(), batch()
    outputs = backbone.block_outputs(images)
    assert len(outputs) == 4
    torch.testing.assert_close(backbone.encoder.ln(outputs[-1]), backbone.features(images).tokens)
    torch.testing.assert_close(block_targets(outputs), slow_targets(outputs))


def test_more_blocks_than_there_are_are_refused():
    with pytest.raises(ValueError, match="n_blocks=5, but the backbone has only 4 blocks"):
        shrunk(Data2VecTransformer, n_blocks=5).fit(digits()[0][:20])


def test_data2vec_loss_stays_in_full_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert data2vec()([batch()])["loss"].dtype == torch.float32
