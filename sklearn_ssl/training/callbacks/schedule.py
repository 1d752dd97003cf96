"""Learning rate and weight decay of each step."""

import math

from skorch.callbacks import Callback

from sklearn_ssl.training.schedule import learning_rate_factor


class Schedule(Callback):
    """Sets learning rate and weight decay before each step."""

    def on_batch_begin(self, net, **kwargs):
        """Set them for the middle of the step."""
        s = net.settings
        horizon = s.max_epochs if s.anneal else None
        factor = learning_rate_factor(net.position, s.warmup_epochs, horizon, s.final_lr)
        constant = learning_rate_factor(net.position, s.warmup_epochs, None)
        rise = 0.5 * (1 - math.cos(math.pi * min(1.0, net.progress)))
        for group in net.optimizer_.param_groups:
            group["lr"] = s.lr * (constant if group["constant_lr"] else factor)
            final = group.get("final_weight_decay")
            if final is not None:
                group["weight_decay"] = s.weight_decay + (final - s.weight_decay) * rise
