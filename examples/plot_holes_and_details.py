"""
Can a network fill in what it does not see?
===========================================

:class:`~sklearn_ssl.InpaintingTransformer` learns by filling holes, and
:class:`~sklearn_ssl.SuperResolutionTransformer` by telling details from a smaller copy. Both can be
looked at: here with parts of a photograph that were in no training.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ssl import InpaintingTransformer, SuperResolutionTransformer
from sklearn_ssl.inspection import PretextDisplay
from sklearn_ssl.metrics import peak_signal_noise_ratio

EPOCHS = 30

photograph = load_sample_image("flower.jpg")
left, right = photograph[:, :400], photograph[:, 432:]
train = extract_patches_2d(left, (32, 32), max_patches=1500, random_state=0)
test = extract_patches_2d(right, (32, 32), max_patches=200, random_state=0)

# %%
# A hole of a quarter of the image. Of what is smooth it can be filled.

inpainting = InpaintingTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(inpainting, test, n_samples=5, random_state=0)
hole = np.zeros((32, 32), bool)
hole[8:24, 8:24] = True
filled = inpainting.inpaint(test, hole)
mean = np.broadcast_to(train.mean(axis=(0, 1, 2)), filled.shape).round().astype(np.uint8)
for name, told in {"the network": filled, "the mean colour": mean}.items():
    decibels = peak_signal_noise_ratio(test[:, hole], told[:, hole])
    print(f"hole filled by {name}: {decibels:.1f} decibels")

# %%
# Details. What is added to the interpolated copy makes its edges sharper.

enlarging = SuperResolutionTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(enlarging, test, n_samples=5, random_state=0)
print(f"enlarged: {enlarging.score_pretext(test):.1f} decibels")

plt.show()
