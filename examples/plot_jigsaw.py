"""
Can a network put the tiles of an image back in place?
======================================================

:class:`~sklearn_ssl.JigsawTransformer` learns by solving jigsaw puzzles, and
:class:`~sklearn_ssl.RelativePatchTransformer` by predicting the position of a patch relative to the
center. Here both are applied to handwritten digits that were not in training.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_ssl import JigsawTransformer, RelativePatchTransformer
from sklearn_ssl.inspection import PretextDisplay

EPOCHS = 15

images = load_digits().images
train, test = images[:1400], images[1400:]

# %%
# Puzzles of four tiles, with 24 permutations.

jigsaw = JigsawTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(jigsaw, test, n_samples=6, random_state=0)
print(f"puzzles solved: {jigsaw.score_pretext(test):.2f}, chance level {1 / 24:.2f}")

# %%
# Some that failed, because the exchanged tiles look alike.

puzzles = jigsaw.shuffle(test, np.arange(len(test)) % 24)
solved = jigsaw.solve(puzzles)
failed = np.flatnonzero((solved != test).any(axis=(1, 2)))[:6]
_, axes = plt.subplots(3, 6, figsize=(6, 3))
for row, (name, shown) in zip(
    axes, {"input": puzzles, "output": solved, "image": test}.items(), strict=True
):
    row[0].set_ylabel(name)
    for axis, picture in zip(row, shown[failed], strict=False):
        axis.imshow(picture, cmap="gray_r")
        axis.set(xticks=[], yticks=[])

# %%
# Accuracy of the predicted position, for each of the eight patches around the center.

relative = RelativePatchTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
right = (relative.predict_pretext(test) == np.arange(8)).mean(axis=0)
print(f"positions predicted: {relative.score_pretext(test):.2f}, chance level {1 / 8:.2f}")
_, axis = plt.subplots()
picture = axis.imshow(np.insert(right, 4, np.nan).reshape(3, 3), vmin=0, vmax=1)
axis.set(xticks=[], yticks=[], title="accuracy by position")
plt.colorbar(picture)

plt.show()
