"""Each method's loss, in value and gradient, beside a slow and plain reference."""

from torch import nn

from sklearn_ssl.methods.contrastive.simclr import SimCLRObjective
from sklearn_ssl.training.objective import Epoch


def test_default_epoch_of_objectives_is_empty():
    objective = SimCLRObjective(nn.Identity(), 4, 8, 5, 0.5)
    assert objective.plan_epoch(None, None) == Epoch(None, None, ())
