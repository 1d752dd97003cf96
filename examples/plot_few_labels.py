"""
How many labels are needed?
===========================

The network learns from all images, and the classifier from few of them, which have a label. The
curves show the accuracy by the number of labels per class: SimCLR saves labels where raw values
need more for the same accuracy.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from sklearn_ssl import LinearProbe, SimCLRTransformer
from sklearn_ssl.inspection import LabelEfficiencyDisplay
from sklearn_ssl.views import ImageViews

EPOCHS = 15

images, digits = load_digits().images, load_digits().target
views = ImageViews(hflip=0.0, rotation=15.0, scale=(0.5, 1.0))
display = LabelEfficiencyDisplay.from_estimator(
    {"SimCLR": SimCLRTransformer(views=views, max_epochs=EPOCHS, random_state=0)},
    images,
    digits,
    n_labels=(1, 3, 10, 30),
    cv=2,
    probe=LinearProbe(C=0.1),
    random_state=0,
)
display.ax_.set_title("Accuracy on held-out digits")
print(display.comparison)

plt.show()
