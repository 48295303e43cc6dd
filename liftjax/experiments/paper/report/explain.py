"""Why a sample fails: several measures of it, each as its place among all test samples.

Legend: N samples, K joints, L limbs, P points along a limb.
"""

from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from liftjax import geometry
from liftjax.data import crops
from liftjax.data.records import PoseDataset
from liftjax.experiments.paper.outcomes import Outcome
from liftjax.skeletons import Skeleton

BORDER = 0.02  # of the picture's longer side: a joint this near to the edge counts as cut off
_LIMB_ENDS = ("knee", "ankle", "elbow", "wrist")
_CROP = (256, 192)  # (height, width) at which contrast is measured
_ALONG = np.linspace(0.15, 0.85, 12)  # P positions on a limb
_ACROSS = np.array([-0.05, 0.05])  # beside it, in longer sides of the person's box


class Term(NamedTuple):
    """One measure of all test samples.

    Attributes:
      title: its name.
      values_N: NaN where it cannot be measured.
      template: of the number as text, such as "{:.1f} px".
      high_is_hard: whether large values make a sample hard; else small ones do.
    """

    title: str
    values_N: np.ndarray
    template: str
    high_is_hard: bool = True

    def text(self, i: int) -> str:
        return self.template.format(self.values_N[i]) if self.measured(i) else "-"

    def measured(self, i: int) -> bool:
        return bool(np.isfinite(self.values_N[i]))

    def percentile(self, i: int) -> float:
        """Per cent of the test samples that are easier than sample `i` in this respect."""
        if not self.measured(i):
            return 0.0
        sign = 1 if self.high_is_hard else -1
        known = self.values_N[np.isfinite(self.values_N)]
        return 100 * float(np.mean(sign * known < sign * self.values_N[i]))


def explain_error(
    outcome: Outcome,
    truth: Outcome,
    lifter: str,
    contrast_N: np.ndarray,
    peaks_NK: np.ndarray,
) -> list[Term]:
    """The terms of a 3D error: of the picture, of the detector, of the lifter.

    Args:
      outcome: of the detector that fails.
      truth: of ground-truth 2D, through the same lifters.
      contrast_N: see :func:`limb_contrast`.
      peaks_NK: heights of the detector's peaks, see `maps.peak_heights`.
    """
    cut_off_N = cut_off(outcome.labels).sum(axis=-1).astype(float)
    peak_N = outcome.mean_over_visible(peaks_NK)
    return [
        Term("joints cut off by the picture's edge", cut_off_N, "{:.0f}"),
        Term("limb contrast (ΔE)", contrast_N, "{:.0f}", False),
        Term("mean peak of the heatmaps", peak_N, "{:.2f}", False),
        Term("2D error", outcome.mean_error_px_N, "{:.1f} px"),
        Term("3D error left with true 2D", truth.error_mm(lifter), "{:.0f} mm"),
    ]


def cut_off(labels) -> np.ndarray:
    """(N, K) joints that lie outside the picture or at its border."""
    size_N12 = np.asarray(labels["image_size"], np.float64)[:, None]
    margin_N11 = BORDER * size_N12.max(axis=-1, keepdims=True)
    joints_px_NK2 = labels["joints_px"]
    inside = (joints_px_NK2 >= margin_N11) & (joints_px_NK2 <= size_N12 - 1 - margin_N11)
    return ~inside.all(axis=-1)


def limb_contrast(dataset: PoseDataset) -> np.ndarray:
    """(N,) how much arms and legs differ in colour from what is beside them.

    It is the colour difference CIE76 (Lab units; 2 is just noticeable) between a limb's mean
    colour and that of a strip beside it, on the side where the limb stands out more. A sample has
    the lower quartile over the limbs in the picture, because a few hidden ones suffice to fail.
    """
    labels, skeleton = dataset.labels, dataset.skeleton
    to_crop = crops.image_to_crop(labels["box_xyxy"], _CROP)
    stored_to_crop = geometry.compose_affine(to_crop, labels["stored_to_image"])
    reduction_N = crops.reductions(stored_to_crop)
    side_N = (labels["box_xyxy"][:, 2:] - labels["box_xyxy"][:, :2]).max(axis=-1)
    side_N = side_N * np.sqrt(np.abs(np.linalg.det(to_crop[:, :, :2])))
    joints_NK2 = geometry.apply_affine(to_crop, labels["joints_px"].astype(np.float64))
    inside_NK = ~cut_off(labels) & (np.asarray(labels["joint_visible"]) > 0)
    contrast_N = np.full(len(dataset), np.nan)
    for i in tqdm(range(len(dataset)), desc="contrast", unit="img", leave=False, delay=2):
        reduction = int(reduction_N[i])
        stored = dataset.image(i, reduction)
        picture = crops.cut(stored, stored_to_crop[i], _CROP, reduction)
        limbs = contrast_of_limbs(picture, joints_NK2[i], skeleton, float(side_N[i]))
        shown = limbs[inside_NK[i][limb_ends(skeleton)].all(axis=-1)]
        contrast_N[i] = np.percentile(shown, 25) if len(shown) else np.nan
    return contrast_N


def limb_ends(skeleton: Skeleton) -> np.ndarray:
    """(L, 2) joints between which the arms' and legs' bones lie."""
    bones = [bone for bone in skeleton.bones if bone[1].endswith(_LIMB_ENDS)]
    return np.array([[skeleton.index(a), skeleton.index(b)] for a, b in bones])


def contrast_of_limbs(
    image: np.ndarray, kpts_K2: np.ndarray, skeleton: Skeleton, box_side: float
) -> np.ndarray:
    """(L,) difference in colour between each limb and its surroundings, in a picture (H, W, 3).

    Args:
      kpts_K2: pixels of that picture.
      box_side: the person's longer side in it.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    ends_L22 = np.asarray(kpts_K2, np.float32)[limb_ends(skeleton)]
    along_L2 = ends_L22[:, 1] - ends_L22[:, 0]
    normal_L2 = along_L2[:, ::-1] * [-1, 1]
    normal_L2 = normal_L2 / np.maximum(np.linalg.norm(normal_L2, axis=-1, keepdims=True), 1e-6)
    on_LP2 = ends_L22[:, None, 0] + _ALONG[:, None] * along_L2[:, None]
    limb_L3 = _colors(lab, on_LP2).mean(axis=-2)
    offset_LS12 = _ACROSS[:, None, None] * box_side * normal_L2[:, None, None]
    beside_LS3 = _colors(lab, on_LP2[:, None] + offset_LS12).mean(axis=-2)
    return np.linalg.norm(beside_LS3 - limb_L3[:, None], axis=-1).max(axis=-1)


def _colors(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours (..., 3) at points (..., 2), between pixels bilinear."""
    flat = points.reshape(1, -1, 2).astype(np.float32)
    found = cv2.remap(
        image, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.reshape(*points.shape[:-1], 3)
