"""Optimizers by name, with weight decay that leaves biases and norms alone."""

import torch

# lr is for 256 samples a step; it grows with the batch, but for AdamW, which scales its steps.
DEFAULTS = {
    "sgd": {"lr": 0.12, "weight_decay": 5e-4},
    "adamw": {"lr": 2e-3, "weight_decay": 1e-4},
    "lars": {"lr": 0.3, "weight_decay": 1e-4},
}


class LARS(torch.optim.Optimizer):
    """SGD with momentum in which each tensor's step is scaled to the size of its weights.

    Tensors with one dimension, biases and norms, take plain momentum steps without weight decay.
    See `You et al. 2017 <https://arxiv.org/abs/1708.03888>`_; the trust coefficient is that of
    the published Barlow Twins and VICReg code, without clipping.
    """

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.9, trust=1e-3):
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust}
        )

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad
                if weight.ndim > 1:
                    weight_norm, grad_norm = weight.norm(), update.norm()
                    decay = group["weight_decay"]
                    ratio = group["trust"] * weight_norm / (grad_norm + decay * weight_norm + 1e-8)
                    ratio = torch.where((weight_norm > 0) & (grad_norm > 0), ratio, 1.0)
                    update = ratio * update.add(weight, alpha=decay)
                state = self.state[weight]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(weight)
                velocity = state["velocity"]
                velocity.mul_(group["momentum"]).add_(update)
                weight.sub_(velocity, alpha=group["lr"])


def make_optimizer(name, parameters, lr, weight_decay):
    """Build an optimizer over parameters in two groups, with and without weight decay."""
    parameters = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "lars":
        return LARS(groups, lr=lr)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    # Not fused: that fails where some tensors have a momentum already and others have none.
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)
