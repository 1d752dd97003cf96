"""Optimizers by name, without weight decay of biases and normalization layers."""

import copy

import torch

# lr is for batches of 256; it scales linearly with the batch size, except for AdamW.
DEFAULTS = {
    "sgd": {"lr": 0.12, "weight_decay": 5e-4},
    "adamw": {"lr": 2e-3, "weight_decay": 1e-4},
    "lars": {"lr": 0.3, "weight_decay": 1e-4},
}


class LARS(torch.optim.Optimizer):
    """LARS: SGD with momentum and layer-wise adaptive learning rates.

    One-dimensional tensors, biases and norms, have plain momentum steps without weight decay. See
    `You et al. 2017 <https://arxiv.org/abs/1708.03888>`_; the trust coefficient is that of the
    published Barlow Twins and VICReg code, without clipping.
    """

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.9, trust=1e-3):
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust}
        )

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            # Tensors of more than one dimension first.
            weights.sort(key=lambda weight: weight.ndim <= 1)
            n_scaled = sum(weight.ndim > 1 for weight in weights)
            updates = [weight.grad for weight in weights]
            if n_scaled:
                updates[:n_scaled] = self._scaled(weights[:n_scaled], updates[:n_scaled], group)
            for weight in weights:
                if "velocity" not in self.state[weight]:
                    self.state[weight]["velocity"] = torch.zeros_like(weight)
            if weights:
                velocities = [self.state[weight]["velocity"] for weight in weights]
                torch._foreach_mul_(velocities, group["momentum"])
                torch._foreach_add_(velocities, updates)
                torch._foreach_add_(weights, velocities, alpha=-group["lr"])

    @staticmethod
    def _scaled(weights, gradients, group):
        """Return gradients with weight decay, scaled by the trust ratio."""
        decay = group["weight_decay"]
        weight_norm = torch.stack(torch._foreach_norm(weights))
        norm = torch.stack(torch._foreach_norm(gradients))
        ratio = group["trust"] * weight_norm / (norm + decay * weight_norm + 1e-8)
        ratio = torch.where((weight_norm > 0) & (norm > 0), ratio, 1.0)
        updates = torch._foreach_add(gradients, weights, alpha=decay)
        torch._foreach_mul_(updates, list(ratio.unbind()))
        return updates


def make_optimizer(name, given, lr, weight_decay):
    """Return an optimizer of parameter groups, each cut into two, with and without weight decay."""
    groups = []
    for group in given:
        parameters = [p for p in group["params"] if p.requires_grad]
        decayed = {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay}
        decayed["final_weight_decay"] = group.get("final_weight_decay")
        others = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
        rate = {"constant_lr": group.get("constant_lr", False)}
        groups += [decayed | rate, others | rate]
    if name == "lars":
        return LARS(groups, lr=lr)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    # Not fused: that fails if only some tensors have a momentum buffer.
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


def load_moments(optimizer, moments):
    """Load optimizer state, copied and in the memory format of the weights.

    Learning rate and weight decay are not restored, as they may have been changed.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def like(weight, value):
        same = isinstance(value, torch.Tensor) and value.shape == weight.shape
        return torch.empty_like(weight).copy_(value) if same else copy.deepcopy(value)

    state = {
        index: {name: like(weights[index], value) for name, value in given.items()}
        for index, given in moments.items()
    }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def moments_on_cpu(optimizer):
    """Return the state of an optimizer, on the CPU."""
    state = optimizer.state_dict()["state"]
    return {
        index: {name: value.cpu() for name, value in moments.items()}
        for index, moments in state.items()
    }
