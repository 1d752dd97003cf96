"""Losses of the papers' equations, one anchor after the other."""

import torch


def slow_nt_xent(z1, z2, temperature):
    """The sum over anchors of the paper's equation, one anchor at a time, over their number."""
    z = [row / row.norm() for row in torch.cat([z1, z2])]
    n, losses = len(z1), []
    for i, anchor in enumerate(z):
        exp = {k: torch.exp(anchor @ z[k] / temperature) for k in range(2 * n) if k != i}
        losses.append(-torch.log(exp[(i + n) % (2 * n)] / sum(exp.values())))
    return sum(losses) / (2 * n)


def slow_info_nce(queries, keys, temperature, negatives=None):
    losses = []
    for i, query in enumerate(queries):
        others = list(keys) if negatives is None else [keys[i], *negatives]
        cosines = [query @ key / query.norm() / key.norm() for key in others]
        exp = [torch.exp(cosine / temperature) for cosine in cosines]
        losses.append(-torch.log(exp[i if negatives is None else 0] / sum(exp)))
    return sum(losses) / len(losses)


def slow_nearest(z, known):
    return torch.stack([max(known, key=lambda other: row @ other) for row in z.detach()])
