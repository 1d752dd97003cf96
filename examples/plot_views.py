"""
Which augmentations suit my images?
===================================

Features become invariant to the augmentations of ``views``. The defaults suit photographs, which
may be flipped. Look at the views before you train: can you still recognize the digits?
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ssl import LinearProbe, SimCLRTransformer
from sklearn_ssl.inspection import ViewsDisplay
from sklearn_ssl.views import ImageViews

EPOCHS = 15

images, digits = load_digits().images, load_digits().target
default = SimCLRTransformer(max_epochs=EPOCHS, random_state=0)
display = ViewsDisplay.from_estimator(default, images, random_state=0)
display.figure_.suptitle("Default views")

# %%
# Flipped digits are different ones, or none, and small crops cannot be recognized. Small rotations
# do not change the class.

views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0))
chosen = SimCLRTransformer(views=views, max_epochs=EPOCHS, random_state=0)
display = ViewsDisplay.from_estimator(chosen, images, random_state=0)
display.figure_.suptitle("Chosen views")

# %%
# Does it matter? This is the accuracy of a linear classifier with ten labels per class.

X, X_test, y, y_test = train_test_split(
    images, digits, test_size=500, stratify=digits, random_state=0
)
few, _ = train_test_split(range(len(X)), train_size=100, stratify=y, random_state=0)
for name, simclr in {"default views": default, "chosen views": chosen}.items():
    simclr.fit(X)
    probe = LinearProbe(random_state=0).fit(simclr.transform(X[few]), y[few])
    print(f"{name:14} {probe.score(simclr.transform(X_test), y_test):.3f}")

plt.show()
