"""
Did training go wrong?
======================

A network may learn nothing, or embed all images alike, without an error. ``fit`` watches for both:
here one network learns, and one has a learning rate that is far too high.
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
# The warning says what happened, and what to change.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ConvergenceWarning)
    too_fast = SimCLRTransformer(lr=100.0, max_epochs=EPOCHS, random_state=0).fit(images)
for warning in caught:
    print(warning.message)
TrainingDisplay.from_estimator(too_fast).figure_.suptitle("Learning rate of 100")

# %%
# ``health_`` has the figures: here those of the last epoch, by the default learning rate and by
# 100. An ``embedding_std`` near 0 would say that all images look alike to the network, an
# ``effective_rank`` near 1 that they differ in one way alone. A loss at ``chance_loss`` is at
# chance level.

for figure in ("embedding_std", "effective_rank", "train_loss", "chance_loss"):
    print(f"{figure:15} {simclr.health_[figure][-1]:8.3f} {too_fast.health_[figure][-1]:8.3f}")

plt.show()
