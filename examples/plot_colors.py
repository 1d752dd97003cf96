"""
Which colors may a gray image have?
===================================

:class:`~sklearn_ssl.ColorizationTransformer` learns by predicting the colors of images from their
lightness. Here it learns from pieces of the left half of a photograph, and colorizes pieces of the
right half, which were not in training.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.metrics import peak_signal_noise_ratio
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ssl import ColorizationTransformer
from sklearn_ssl.inspection import PretextDisplay

EPOCHS = 12

photograph = load_sample_image("flower.jpg")[::2, ::2]
train = extract_patches_2d(photograph[:, :160], (32, 32), max_patches=1000, random_state=0)
test = extract_patches_2d(photograph[:, 160:], (32, 32), max_patches=200, random_state=0)
test = test[test.std(axis=(1, 2, 3)) > 40]  # without uniform leaves

colorization = ColorizationTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
display = PretextDisplay.from_estimator(colorization, test, n_samples=5, random_state=0)

# %%
# The baseline is a gray image. ``colorize`` also takes gray images: here the means of red, green
# and blue.

gray = test.mean(axis=3).round().astype(np.uint8)
results = {
    "gray": np.repeat(gray[..., np.newaxis], 3, axis=3),
    "colorized by the network": colorization.colorize(gray),
}
for name, images in results.items():
    print(f"{name}: {peak_signal_noise_ratio(test, images):.1f} decibels")

plt.show()
