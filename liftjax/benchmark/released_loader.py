"""How the released code feeds its detector, for comparison.

This is our own code, and does the work of L2D-Pose's dataset class: for every sample the whole
frame is read from its file and decoded, turned from BGR to RGB, warped to the input and made a
normalised float32 array, channels first; one Gaussian map a joint is drawn on the host; samples are
stacked to a batch. If PyTorch is installed, its DataLoader stacks them, in this process.

Legend: K joints, H x W input, h x w maps.
"""

import copy
from collections.abc import Iterator

import cv2
import jax
import numpy as np

from liftjax import geometry
from liftjax.detectors.spec import IMAGENET_MEAN, IMAGENET_STD

STRIDE = 4
BOX_SCALE = 1.25


class ReleasedDataset:
    """Gives samples (input (3, H, W), maps (K, h, w), weights (K, 1), meta).

    Args:
      entries: a dictionary for each sample, with "image" (file of the full frame), "joints_2d"
        (K, 2), "visible" (K,), "joints_3d" (K, 3), "width", "height", "camera".
      image_size: (height, width) of the input.
      sigma: deviation of the Gaussians, in pixels of the maps.
    """

    def __init__(self, entries: list[dict], image_size: tuple[int, int], sigma: float = 3.0):
        self.entries, self.image_size, self.sigma = entries, image_size, sigma

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int):
        entry = copy.deepcopy(self.entries[index])
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        frame = cv2.cvtColor(cv2.imread(entry["image"], flags), cv2.COLOR_BGR2RGB)
        box_xyxy = geometry.box_from_joints(entry["joints_2d"], (entry["width"], entry["height"]))
        affine = geometry.crop_affine(box_xyxy.astype(np.float64), self.image_size, BOX_SCALE)
        height, width = self.image_size
        crop = cv2.warpAffine(frame, affine, (width, height), flags=cv2.INTER_LINEAR)
        joints = entry["joints_2d"].copy()
        for k in range(len(joints)):
            if entry["visible"][k] > 0:
                joints[k] = affine[:, :2] @ joints[k] + affine[:, 2]
        size = (height // STRIDE, width // STRIDE)
        maps, weights = label_maps(joints, entry["visible"], size, self.sigma)
        meta = {
            "joints_3d": entry["joints_3d"].astype(np.float32),
            "joints_2d": entry["joints_2d"],
            "visible": entry["visible"],
            "box_xyxy": box_xyxy,
            "camera": entry["camera"],
        }
        return normalised(crop), maps, weights, meta


def normalised(crop_HW3: np.ndarray) -> np.ndarray:
    """(3, H, W) float32 of a uint8 crop, as torchvision's ToTensor and Normalize."""
    image = np.ascontiguousarray(crop_HW3.transpose(2, 0, 1)).astype(np.float32)
    image /= 255
    image -= np.asarray(IMAGENET_MEAN, np.float32)[:, None, None]
    image /= np.asarray(IMAGENET_STD, np.float32)[:, None, None]
    return image


def label_maps(joints_K2, visible_K, size: tuple[int, int], sigma: float):
    """Gaussian maps (K, h, w) and weights (K, 1) of joints in crop pixels, one after the other."""
    height, width = size
    maps = np.zeros((len(joints_K2), height, width), np.float32)
    weights = np.asarray(visible_K, np.float32)[:, None].copy()
    radius = int(3 * sigma)
    for k, (x, y) in enumerate(joints_K2):
        x, y = int(x / STRIDE + 0.5), int(y / STRIDE + 0.5)
        left, top, right, bottom = x - radius, y - radius, x + radius + 1, y + radius + 1
        if left >= width or top >= height or right < 0 or bottom < 0:
            weights[k] = 0
            continue
        if weights[k] <= 0.5:
            continue
        offset = np.arange(2 * radius + 1, dtype=np.float32) - radius
        patch = np.exp(-(offset**2 + offset[:, None] ** 2) / (2 * sigma**2))
        rows = slice(max(top, 0), min(bottom, height))
        columns = slice(max(left, 0), min(right, width))
        maps[k, rows, columns] = patch[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    return maps, weights


def batches(dataset: ReleasedDataset, batch_size: int) -> Iterator:
    """Shuffled batches of one epoch, by PyTorch's DataLoader where it is installed."""
    try:
        import torch
    except ImportError:
        return _numpy_batches(dataset, batch_size)
    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True, num_workers=0)
    return iter(loader)


def _numpy_batches(dataset: ReleasedDataset, batch_size: int) -> Iterator:
    order = np.random.default_rng(0).permutation(len(dataset))
    for start in range(0, len(order), batch_size):
        samples = [dataset[i] for i in order[start : start + batch_size]]
        yield jax.tree.map(lambda *arrays: np.stack(arrays), *samples)
