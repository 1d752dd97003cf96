"""
Which way up?
=============

:class:`~sklearn_ssl.RotationTransformer` learns features by telling how an image was rotated,
which it can only do where images have an up and a down. The picture shows unseen digits in all
four rotations with what was predicted, those that were hardest of each class, and how often it is
right: an 8 looks nearly the same upside down.
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

# A mirrored digit is another one, or none; and a turned view would be a wrong label.
views = ImageViews(hflip=0.0, scale=(0.7, 1.0), n_views=1)
rotation = RotationTransformer(views=views, max_epochs=EPOCHS, random_state=0).fit(X)
turned = np.stack([np.rot90(X_test, turns, axes=(1, 2)) for turns in range(4)])  # (4, 500, 8, 8)
predicted = np.stack([rotation.predict_pretext(images) for images in turned])
right = predicted == np.arange(4)[:, None]

print(f"Rotations told right, of unseen digits: {rotation.score_pretext(X_test):.3f}")
probe = LogisticRegression(max_iter=1000).fit(rotation.transform(X[:100]), y[:100])
accuracy = probe.score(rotation.transform(X_test), y_test)
print(f"Digits told right, by a linear model that saw 100 labels: {accuracy:.3f}")

# %%
# Of each digit the unseen image that is told wrong most often, and the rotation that is seen in
# it, in red where it is wrong: many look right in two directions.

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
# All unseen digits.

figure, axes = plt.subplots(layout="constrained")
axes.bar(range(10), [right[:, y_test == digit].mean() for digit in range(10)])
axes.axhline(0.25, color="black", linestyle=":", label="chance")
axes.set(xticks=range(10), xlabel="digit", ylabel="share of rotations told right", ylim=(0, 1))
axes.legend(loc="lower right")

plt.show()
