"""
Did training go wrong?
======================

A network that collapsed embeds all images alike, and raises no error. ``fit`` watches for it: here
one learns, and one has a learning rate that is far too high.
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
    collapsed = SimCLRTransformer(lr=100.0, max_epochs=EPOCHS, random_state=0).fit(images)
for warning in caught:
    print(warning.message)
TrainingDisplay.from_estimator(collapsed).figure_.suptitle("Learning rate of 100")

# %%
# ``health_`` has the figures. ``embedding_std`` near 0 says that all images look alike to the
# network, an ``effective_rank`` near 1 that they differ in one way alone, and a loss at
# ``chance_loss`` that it does no better than one who guesses.

for name, values in collapsed.health_.items():
    print(f"{name:15} {values[-1]:.3f}")

plt.show()
