"""
Can a network fill in what it does not see?
===========================================

:class:`~sklearn_ssl.InpaintingTransformer` learns by reconstructing masked regions, and
:class:`~sklearn_ssl.SuperResolutionTransformer` by predicting details from a smaller copy. Here
they are applied to images that were not in training.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio
from sklearn.datasets import load_digits, load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d
from torch.nn.functional import interpolate

from sklearn_ssl import InpaintingTransformer, SuperResolutionTransformer
from sklearn_ssl.inspection import PretextDisplay

EPOCHS = 30

photograph = load_sample_image("china.jpg")
train = extract_patches_2d(photograph[:, :400], (32, 32), max_patches=1000, random_state=0)
test = extract_patches_2d(photograph[:, 400:], (32, 32), max_patches=200, random_state=0)

# %%
# A quarter of the image is masked, in pieces of a photograph. Smooth regions can be reconstructed.

inpainting = InpaintingTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(inpainting, test, n_samples=5, random_state=0)
mask = np.zeros((32, 32), bool)
mask[8:24, 8:24] = True
filled = inpainting.inpaint(test, mask)
mean = np.broadcast_to(train.mean(axis=(0, 1, 2)), filled.shape).round().astype(np.uint8)
for name, images in {"the network": filled, "the mean color": mean}.items():
    decibels = peak_signal_noise_ratio(test[:, mask], images[:, mask])
    print(f"masked region, filled by {name}: {decibels:.1f} decibels")

# %%
# Digits of 4 x 4 pixels are upscaled to 8 x 8, sharper than by interpolation.

digits = load_digits().images[:, :, :, np.newaxis] / 16
train, test = digits[:1400], digits[1400:]
super_resolution = SuperResolutionTransformer(max_epochs=EPOCHS, random_state=0).fit(train)
PretextDisplay.from_estimator(super_resolution, test, n_samples=5, random_state=0)
smaller = torch.from_numpy(test.reshape(-1, 1, 4, 2, 4, 2).mean(axis=(3, 5)))
plain = interpolate(smaller, scale_factor=2, mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1)
print(f"upscaled by the network: {super_resolution.score_pretext(test):.1f} decibels")
print(f"upscaled by interpolation: {peak_signal_noise_ratio(test, plain.numpy()):.1f} decibels")

plt.show()
