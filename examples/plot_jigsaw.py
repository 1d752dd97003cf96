"""
Can a network put the tiles of an image back in place?
======================================================

:class:`~sklearn_ssl.JigsawTransformer` learns by solving puzzles, and
:class:`~sklearn_ssl.RelativePatchTransformer` by telling where a patch lies, seen from the one in
the middle. Both can be looked at: here with handwritten digits that were in no training.
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
# Puzzles of four tiles, which can lie in 24 orders.

jigsaw = JigsawTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(jigsaw, test, n_samples=6, random_state=0)
print(f"puzzles solved: {jigsaw.score_pretext(test):.2f}, by chance {1 / 24:.2f}")

# %%
# Some that failed, where what changed places looks alike.

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
# How often the place of each patch around the middle is told.

relative = RelativePatchTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
right = (relative.predict_pretext(test) == np.arange(8)).mean(axis=0)
print(f"places told: {relative.score_pretext(test):.2f}, by chance {1 / 8:.2f}")
_, axis = plt.subplots()
picture = axis.imshow(np.insert(right, 4, np.nan).reshape(3, 3), vmin=0, vmax=1)
axis.set(xticks=[], yticks=[], title="share of places that are told")
plt.colorbar(picture)

plt.show()
