"""
Did training go wrong?
======================

A network may learn nothing, or collapse and embed all images alike, without an error. ``fit`` warns
of both. Here one network learns, and another one has a learning rate that is much too high.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.inspection import TrainingDisplay

EPOCHS = 15

images = load_digits().images[:600]
simclr = SimCLRTransformer(max_epochs=EPOCHS, random_state=0).fit(images)
TrainingDisplay.from_estimator(simclr).figure_.suptitle("Default learning rate")

# %%
# The warning says what happened, and which parameters to change.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ConvergenceWarning)
    too_fast = SimCLRTransformer(lr=100.0, max_epochs=EPOCHS, random_state=0).fit(images)
for warning in caught:
    print(warning.message)
TrainingDisplay.from_estimator(too_fast).figure_.suptitle("Learning rate of 100")

# %%
# ``health_`` has the figures, here of the last epoch, with the default learning rate and with 100.
# An ``embedding_std`` near 0 means that all images have the same embedding (complete collapse), an
# ``effective_rank`` near 1 that they differ in one direction only (dimensional collapse).
# ``chance_loss`` is the loss at chance level.

for figure in ("embedding_std", "effective_rank", "train_loss", "chance_loss"):
    print(f"{figure:15} {simclr.health_[figure][-1]:8.3f} {too_fast.health_[figure][-1]:8.3f}")

plt.show()
