"""What is reported of a loss that is not finite; other warnings are in ``test_health.py``."""

from functools import partial

import pytest
from common import shrunk

from sklearn_ssl import SimCLRTransformer

simclr = partial(shrunk, SimCLRTransformer)


def test_loss_that_is_not_finite_is_reported(images):
    with pytest.raises(ValueError, match=r"The loss became nan in step 2 of epoch 1, at lr=1e\+30"):
        simclr(lr=1e30, max_epochs=1, optimizer="sgd", batch_size=32).fit(images)
