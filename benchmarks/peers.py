"""Two SimCLR views as other libraries make them, with changes as strong as those of ImageViews.

The libraries come with `pip install -e ".[bench]"`, and are imported where they are used.
"""

import torch


class Pictures(torch.utils.data.Dataset):
    """Images as Pillow's, all in memory, seen through a transform."""

    def __init__(self, X, transform):
        from PIL import Image

        self.images, self.transform = [Image.fromarray(x) for x in X], transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index])


def lightly_transform(side, **settings):
    """Return lightly's SimCLRTransform for images of a side, with views as strong as ours."""
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(
        input_size=side,
        cj_strength=0.5,  # of 0.8, 0.8, 0.8 and 0.2
        min_scale=0.2,
        gaussian_blur=0.5 if side > 32 else 0.0,
        **settings,
    )


def in_workers(dataset, batch_size, workers):
    """Return a DataLoader of a data set in workers, which persist over epochs.

    Starting them in each epoch would only slow lightly down.
    """
    return torch.utils.data.DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def lightly_loader(X, batch_size, workers, **settings):
    """Return lightly's way to two views: SimCLRTransform, in the workers of a DataLoader."""
    return in_workers(Pictures(X, lightly_transform(X.shape[1], **settings)), batch_size, workers)


def kornia_views(X, device):
    """Return a function from indices of X to two views by kornia."""
    from kornia import augmentation

    side, kernel = X.shape[1], kernel_size(X.shape[1])
    transforms = [
        augmentation.RandomResizedCrop((side, side), scale=(0.2, 1.0)),
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        augmentation.RandomGrayscale(p=0.2),
    ]
    if side > 32:
        transforms.append(augmentation.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=0.5))
    transform = augmentation.AugmentationSequential(*transforms, data_keys=["input"])

    def make_views(indices):
        batch = torch.from_numpy(X[indices]).to(device)
        batch = batch.permute(0, 3, 1, 2).contiguous().float().div_(255)
        return [transform(batch) for _ in range(2)]

    return make_views


def torchvision_views(X, device):
    """Return a function from indices of X to two views by torchvision, one draw a batch."""
    from torchvision.transforms import v2

    transforms = [
        v2.RandomResizedCrop(X.shape[1], scale=(0.2, 1.0)),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
    ]
    if X.shape[1] > 32:
        blur = v2.GaussianBlur(kernel_size(X.shape[1]), (0.1, 2.0))
        transforms.append(v2.RandomApply([blur], p=0.5))
    # Bytes until the end, as torchvision's documentation advises.
    transform = v2.Compose([*transforms, v2.ToDtype(torch.float32, scale=True)])

    def make_views(indices):
        batch = torch.from_numpy(X[indices]).to(device).permute(0, 3, 1, 2).contiguous()
        return [transform(batch) for _ in range(2)]

    return make_views


def kernel_size(side):
    """Return the side of the kernel of ImageViews' blur, about a tenth of the image's side."""
    return 2 * max(1, round(side / 20)) + 1
