"""
Which way up?
=============

:class:`~sklearn_ssl.RotationTransformer` learns features by predicting how an image was rotated,
which is only possible if images have an up and a down. The figures show the hardest held-out digit
of each class in all four rotations with the predictions, and the accuracy by class: an 8 looks
nearly the same upside down.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sklearn_ssl import RotationTransformer
from sklearn_ssl.views import ImageViews

EPOCHS = 20

digits = load_digits()
X, X_test, y, y_test = train_test_split(
    digits.images, digits.target, test_size=500, stratify=digits.target, random_state=0
)

# Flipped digits look different, and rotated views would have a wrong label.
views = ImageViews(hflip=0.0, scale=(0.7, 1.0), n_views=1)
rotation = RotationTransformer(views=views, max_epochs=EPOCHS, random_state=0).fit(X)
turned = np.stack([np.rot90(X_test, turns, axes=(1, 2)) for turns in range(4)])  # (4, 500, 8, 8)
predicted = np.stack([rotation.predict_pretext(images) for images in turned])
right = predicted == np.arange(4)[:, None]

print(f"Accuracy of rotations of held-out digits: {rotation.score_pretext(X_test):.3f}")
probe = LogisticRegression(max_iter=1000).fit(rotation.transform(X[:100]), y[:100])
accuracy = probe.score(rotation.transform(X_test), y_test)
print(f"Accuracy of a linear classifier of digits with 100 labels: {accuracy:.3f}")

# %%
# The held-out image of each digit with the most errors, and the predicted rotations, wrong ones in
# red: many look right in two directions.

figure, rows = plt.subplots(4, 10, figsize=(8, 4.4), layout="constrained")
hard = np.argsort(right.sum(axis=0), kind="stable")
shown = [hard[y_test[hard] == digit][0] for digit in range(10)]
for turns, row in enumerate(rows):
    for axes, sample in zip(row, shown, strict=True):
        axes.imshow(turned[turns, sample], cmap="gray_r")
        color = "black" if right[turns, sample] else "red"
        axes.set_title(f"{90 * predicted[turns, sample]}°", fontsize=9, color=color)
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"by {90 * turns}°")

# %%
# All held-out digits.

figure, axes = plt.subplots(layout="constrained")
axes.bar(range(10), [right[:, y_test == digit].mean() for digit in range(10)])
axes.axhline(0.25, color="black", linestyle=":", label="chance level")
axes.set(xticks=range(10), xlabel="digit", ylabel="accuracy of rotations", ylim=(0, 1))
axes.legend(loc="lower right")

plt.show()
