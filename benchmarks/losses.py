"""Losses beside those of lightly, on random projections: value and gradient.

    python benchmarks/losses.py

Prints the relative difference of the values, and of the gradients with respect to the projections
of the first view. lightly comes with `pip install -e ".[bench]"`. Where definitions differ, "why"
says how, and the values are those after that is accounted for.
"""

import torch
from common import write
from lightly import loss as theirs
from torch.nn.functional import normalize

from sklearn_ssl.methods._multi_crop import multi_crop_loss
from sklearn_ssl.methods._sinkhorn import sinkhorn
from sklearn_ssl.methods.contrastive.dcl import decoupled_contrastive
from sklearn_ssl.methods.contrastive.simclr import nt_xent
from sklearn_ssl.methods.distillation._prototypes import koleo
from sklearn_ssl.methods.distillation.msn import msn_terms, sharpened
from sklearn_ssl.methods.non_contrastive.barlow_twins import barlow_twins
from sklearn_ssl.methods.non_contrastive.emp_ssl import coding_rate
from sklearn_ssl.methods.non_contrastive.frossl import frossl
from sklearn_ssl.methods.non_contrastive.lejepa import epps_pulley
from sklearn_ssl.methods.non_contrastive.mmcr import mmcr
from sklearn_ssl.methods.non_contrastive.tico import tico_loss
from sklearn_ssl.methods.non_contrastive.vicreg import covariance, variance

N, DIM, N_PROTOTYPES = 64, 16, 10


def ours_of_barlow_twins(a, b):
    """Return the loss with lightly's weight."""
    invariance, redundancy = barlow_twins(a, b)
    return invariance + 0.005 * redundancy


def ours_of_vicreg(a, b):
    """Return the loss of the paper: half of the variance term of each view."""
    invariance, spread = (a - b).square().mean(), (variance(a) + variance(b)) / 2
    return 25 * invariance + 25 * spread + covariance(a) + covariance(b)


def ours_of_tico(a, b):
    """Return the loss of a first step."""
    a, b = normalize(a), normalize(b)
    return tico_loss(a, b, 0.1 * a.detach().T @ a.detach() / len(a), 8.0)


def ours_of_mmcr(a, b):
    """Return the loss with lightly's weight."""
    capacity, extent = mmcr(torch.stack([a, b], dim=1))
    return 0.005 * extent - capacity


def ours_of_swav(a, b, prototypes):
    """Return the loss of two global views, without a queue."""
    scores = torch.stack([normalize(z) @ prototypes.T for z in (a, b)])
    return multi_crop_loss(torch.stack([sinkhorn(part) for part in scores]), scores, 0.1)


def theirs_of_swav(a, b, prototypes):
    """Return lightly's loss of the same scores."""
    return theirs.SwaVLoss()([normalize(z) @ prototypes.T for z in (a, b)], [])


def ours_of_dino(a, b):
    """Return the loss of a teacher whose logits are those of the student."""
    logits = torch.stack([a, b])
    return multi_crop_loss((logits.detach() / 0.04).softmax(dim=2), logits, 0.1)


def theirs_of_dino(a, b):
    """Return lightly's loss of the same logits, with a center of 0."""
    criterion = theirs.DINOLoss(output_dim=DIM, teacher_temp=0.04, warmup_teacher_temp=0.04)
    return criterion([a.detach(), b.detach()], [a, b], teacher_temp=0.04)


def ours_of_msn(a, b, prototypes):
    """Return the loss of one anchor view, with a uniform prior and three Sinkhorn iterations."""
    scores = [normalize(z) @ normalize(prototypes).T for z in (a, b.detach())]
    logs = (scores[0] / 0.1).log_softmax(dim=1)[None]
    uniform = torch.full((len(prototypes),), 1 / len(prototypes)).log()
    cross_entropy, divergence = msn_terms(logs, sharpened(scores[1], 0.1, 0.25, 3), uniform)
    return cross_entropy + divergence


def theirs_of_msn(a, b, prototypes):
    """Return lightly's loss."""
    return theirs.MSNLoss()(a, b.detach(), prototypes)


def ours_of_emp_ssl(a, b):
    """Return the loss with the weight of the paper."""
    z = normalize(torch.stack([a, b]), dim=2)
    cosines = torch.cosine_similarity(z, z.mean(dim=0, keepdim=True), dim=2)
    return -coding_rate(z).mean() - 200 * cosines.mean()


def theirs_of_emp_ssl(a, b):
    """Return lightly's loss with the sign of the coding rate that keeps samples apart."""
    z = [normalize(a), normalize(b)]
    return theirs.EMPSSLLoss()(z) - 2 * theirs.emp_ssl_loss.tcr_loss(torch.stack(z), eps=0.2)


def ours_of_lejepa(a, b):
    """Return SIGReg for the directions that lightly draws."""
    torch.manual_seed(0)
    directions = normalize(torch.randn(DIM, 64), dim=0)
    return epps_pulley(torch.stack([a, b]) @ directions).mean()


def theirs_of_lejepa(a, b):
    """Return lightly's SIGReg."""
    torch.manual_seed(0)
    return theirs.SIGReg(num_vectors=64)(torch.stack([a, b]))


# Ours, theirs, and why they differ before what is accounted for.
CASES = {
    "NT-Xent": (
        lambda a, b: nt_xent(a, b, 0.5),
        lambda a, b: theirs.NTXentLoss(temperature=0.5)(a, b),
        "",
    ),
    "DCL": (
        lambda a, b: decoupled_contrastive(a, b, 0.1),
        lambda a, b: theirs.DCLLoss(temperature=0.1)(a, b),
        "",
    ),
    "DCLW": (
        lambda a, b: decoupled_contrastive(a, b, 0.1, 0.5),
        lambda a, b: theirs.DCLWLoss(temperature=0.1, sigma=0.5)(a, b),
        "",
    ),
    "Barlow Twins": (ours_of_barlow_twins, lambda a, b: theirs.BarlowTwinsLoss()(a, b), ""),
    "VICReg": (ours_of_vicreg, lambda a, b: theirs.VICRegLoss()(a, b), ""),
    "TiCo": (ours_of_tico, lambda a, b: theirs.TiCoLoss()(a, b), ""),
    "MMCR": (
        ours_of_mmcr,
        lambda a, b: theirs.MMCRLoss()(normalize(a)[:, None], normalize(b)[:, None]),
        "lightly does not normalize projections",
    ),
    "FroSSL": (
        lambda a, b: sum(frossl(torch.stack([a, b]))),
        lambda a, b: theirs.FroSSLLoss()([a, b]),
        "",
    ),
    "DINO": (ours_of_dino, theirs_of_dino, ""),
    "KoLeo": (lambda a, b: koleo(a), lambda a, b: theirs.KoLeoLoss()(a), ""),
    "EMP-SSL": (
        ours_of_emp_ssl,
        theirs_of_emp_ssl,
        "lightly adds the coding rate, which the paper subtracts",
    ),
    "SIGReg": (ours_of_lejepa, theirs_of_lejepa, ""),
}
WITH_PROTOTYPES = {
    "SwAV": (ours_of_swav, theirs_of_swav, ""),
    "MSN": (ours_of_msn, theirs_of_msn, ""),
}


def difference(ours, other):
    """Return the norm of a difference, relative to that of ours."""
    return ((ours - other).norm() / ours.norm()).item()


def main():
    """Compare all, and write the results."""
    results = {}
    torch.manual_seed(0)
    a = torch.randn(N, DIM, dtype=torch.float64)
    b = a + 0.5 * torch.randn_like(a)
    prototypes = normalize(torch.randn(N_PROTOTYPES, DIM, dtype=torch.float64))
    torch.set_default_dtype(torch.float64)
    for name, (ours, other, why) in (CASES | WITH_PROTOTYPES).items():
        given = (prototypes,) if name in WITH_PROTOTYPES else ()
        found = []
        for function in (ours, other):
            z = a.clone().requires_grad_()
            loss = function(z, b.clone(), *given)
            found.append((loss.detach(), torch.autograd.grad(loss, z)[0]))
        (value, gradient), (their_value, their_gradient) = found
        results[name] = {
            "ours": value.item(),
            "lightly": their_value.item(),
            "difference": difference(value, their_value),
            "difference of gradients": difference(gradient, their_gradient),
            "why": why,
        }
        print(name, results[name], flush=True)
    write("losses", {"n": N, "dim": DIM}, results)


if __name__ == "__main__":
    main()
