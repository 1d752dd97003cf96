"""SupCon: its loss beside a slow reference."""

import pytest
import torch
from common import check_inputs

from methods.contrastive.references import slow_nt_xent
from sklearn_ssl.methods.contrastive.supcon import supcon


def slow_supcon(z, labels, temperature):
    z, losses = [row / row.norm() for row in z], []
    for i, anchor in enumerate(z):
        exp = {k: torch.exp(anchor @ z[k] / temperature) for k in range(len(z)) if k != i}
        positives = [k for k in exp if labels[k] == labels[i]]
        if positives:
            terms = [-torch.log(exp[k] / sum(exp.values())) for k in positives]
            losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("labels", "value"), [([0, 0, 1, 1, 2, 2], 1.620202), ([0, 1, 1, 3, 1, 2], None)]
)
def test_supcon(labels, value):
    a, b = (t.requires_grad_() for t in check_inputs())
    labels = torch.tensor(labels).repeat(2)
    loss, expected = supcon(torch.cat([a, b]), labels, 0.5), slow_supcon([*a, *b], labels, 0.5)
    torch.testing.assert_close(loss, expected)
    assert value is None or loss.item() == pytest.approx(value, abs=1e-6)
    ours, theirs = (torch.autograd.grad(x, (a, b)) for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_supcon_of_one_positive_is_nt_xent():
    a, b = check_inputs()
    loss = supcon(torch.cat([a, b]), torch.arange(6).repeat(2), 0.5)
    torch.testing.assert_close(loss, slow_nt_xent(a, b, 0.5))


def test_supcon_skips_anchors_without_a_positive():
    a, _ = (t.requires_grad_() for t in check_inputs())
    labels = torch.tensor([0, 0, 1, 2, 3, 4])
    torch.testing.assert_close(supcon(a, labels, 0.5), slow_supcon(a, labels, 0.5))
    alone = supcon(a, torch.arange(6), 0.5)
    assert alone.item() == 0
    assert not torch.autograd.grad(alone, a)[0].any()
