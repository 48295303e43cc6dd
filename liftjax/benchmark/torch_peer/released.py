"""The training step as the authors' trainer takes it, in our own code.

What decides its speed is kept:

- Inputs and targets are made on the host, sample by sample.
- For every lifter in turn the detector's output is copied to the host. There the soft-argmax runs
  and, sample by sample, the affine map to the image, both under the gradient.
- Losses are computed joint by joint, and hard joints are chosen sample by sample.
- The lifters' parameters gather gradients that nobody reads.
- Every step fetches losses for the log, and the lifters' losses for their weights.
- Everything is float32 and NCHW, and nothing is compiled.

Two slow parts of the original that do not belong to the mathematics are left out: the quarter-pixel
shift, a Python loop over all joints, and the 2D accuracy of the training batch.

Legend: B batch, K joints.
"""

import collections
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor

from liftjax import geometry
from liftjax.benchmark.released_loader import normalised
from liftjax.benchmark.torch_peer import twin_of
from liftjax.benchmark.torch_peer.lifting import FrozenLifter
from liftjax.benchmark.torch_peer.released_detection import Heatmaps, SimCC
from liftjax.benchmark.torch_peer.trainer import Trainer, check_labelled
from liftjax.errors import LiftjaxError
from liftjax.losses import DEFAULT_WEIGHTS

_PIXEL_STD = 200.0  # the unit of a crop's scale in HRNet
_TOP_K = 10


class Released(Trainer):
    """The trainer that the module describes."""

    def __init__(self, module: nnx.Module, lifters: Sequence[nnx.Module], learning_rate: float):
        super().__init__()
        self.spec = module.spec
        self.kind = {"heatmap": Heatmaps, "simcc": SimCC}[self.spec.kind](self.spec)
        self.weights = DEFAULT_WEIGHTS[self.spec.kind]
        self.detector = twin_of(module).to(self.device).train()
        self.lifters = [FrozenLifter(lifter) for lifter in lifters]
        for lifter in self.lifters:
            lifter.to(self.device)
            lifter.statistics_2d = lifter.statistics_2d.cpu()  # pixels are scaled on the host
        self.optimizer = torch.optim.Adam(self.detector.parameters(), learning_rate)
        ones = [torch.tensor(1.0) for _ in lifters]
        self.history = collections.deque([ones, ones], maxlen=3)

    def put(self, batch: dict[str, np.ndarray]) -> tuple:
        check_labelled(batch)
        samples = [
            self._sample({key: value[i] for key, value in batch.items()})
            for i in range(len(batch["image_u8"]))
        ]
        images, targets, weight_BK1, meta = torch.utils.data.default_collate(samples)
        targets = tuple(target.to(self.device) for target in targets)
        return images.to(self.device), targets, weight_BK1.to(self.device), meta

    def _sample(self, sample: dict[str, np.ndarray]) -> tuple:
        """(input, targets, weights, meta) of a sample, as the authors' dataset class gives them."""
        to_crop_23 = geometry.invert_affine(sample["crop_to_image"])
        joints = sample["joints_px"].copy()
        for k in range(len(joints)):
            joints[k] = geometry.apply_affine(to_crop_23, joints[k])
        targets, weights = self.kind.targets(joints, sample["joint_visible"])
        center, scale = _center_and_scale(sample["crop_to_image"], self.spec.image_size)
        meta = {
            "center": center,
            "scale": scale,
            "joints_3d": sample["pose_m"],
            "size": sample["image_size"],
        }
        return normalised(sample["image_u8"]), targets, weights, meta

    @torch.no_grad()
    def forward(self, placed: tuple) -> Any:
        self.detector.eval()
        out = self.detector(placed[0])
        self.detector.train()
        return out

    def step(self, placed: tuple) -> dict[str, Tensor | float]:
        images, targets, weight_BK1, meta = placed
        out = self.detector(images)
        out = out if isinstance(out, tuple) else (out,)
        loss_2d = self.kind.loss(out, targets, weight_BK1)
        if self.lifters:
            loss, logged = self._guided(out, targets, weight_BK1, meta, loss_2d)
        else:
            loss, logged = self.weights.l_2d * loss_2d, {}
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        logged = {"loss": loss, "loss_2d": loss_2d} | logged
        return {name: value.item() for name, value in logged.items()}

    def _guided(self, out, targets, weight_BK1, meta, loss_2d) -> tuple[Tensor, dict]:
        true_BK3 = meta["joints_3d"].to(self.device)
        poses, mse, xy, z, hard = [], [], [], [], []
        for lifter in self.lifters:
            px_BK2 = self._image_pixels(tuple(o.clone().cpu() for o in out), meta)
            x_BK2 = lifter.to_input(px_BK2, meta["size"]).to(self.device)
            pose_BK3 = lifter.to_metres(lifter.lift(x_BK2))
            poses.append(pose_BK3)
            mse.append(F.mse_loss(pose_BK3, true_BK3))
            xy.append(F.mse_loss(pose_BK3[..., :2], true_BK3[..., :2]))
            z.append(F.mse_loss(pose_BK3[..., 2], true_BK3[..., 2]))
            loss_2d_BK = self.kind.loss_per_joint(out, targets, weight_BK1)
            error_BK = F.mse_loss(pose_BK3, true_BK3, reduction="none").mean(dim=2)
            hard.append(_hard_joints(loss_2d_BK, error_BK))
        pairs = 0.0
        for a in range(len(poses)):
            for b in range(a + 1, len(poses)):
                pairs = pairs + F.mse_loss(poses[a], poses[b])
        mean = F.mse_loss(torch.stack(poses).mean(dim=0), true_BK3)
        self.history.append([loss.detach() for loss in mse])
        factors = _lifter_weights(self.history)
        hard, xy, z = (
            sum(f * loss for f, loss in zip(factors, each, strict=True)) for each in (hard, xy, z)
        )
        w = self.weights
        loss = w.l_single * (w.l_2d * loss_2d + w.l_o * hard + w.l_xy * xy + w.l_z * z)
        loss = loss + w.l_global * mean + w.l_local * pairs
        logged = {
            "ohklm": hard,
            "xy": xy,
            "z": z,
            "local_consistency": torch.as_tensor(pairs),
            "global_consistency": mean,
            **{f"mse_{m}": value for m, value in enumerate(mse)},
        }
        return loss, logged

    def _image_pixels(self, out: tuple[Tensor, ...], meta: dict) -> Tensor:
        """Soft-argmax (B, K, 2) of an output on the host, in pixels of the image."""
        coordinates = self.kind.coordinates(out)
        pixels = coordinates.clone()
        for i in range(len(pixels)):
            affine = _image_affine(meta["center"][i], meta["scale"][i], self.spec.output_size)
            ones = torch.ones(len(coordinates[i]), 1, dtype=torch.float32)
            homogeneous = torch.cat([coordinates[i], ones], dim=1)
            pixels[i] = torch.matmul(homogeneous, torch.tensor(affine.T, dtype=torch.float32))
        return pixels


def _center_and_scale(crop_to_image_23: np.ndarray, image_size: tuple[int, int]):
    """A crop's centre, in pixels, and its size in units of 200 pixels, as HRNet keeps them."""
    size = np.asarray(image_size[::-1], np.float32)
    zoom = crop_to_image_23[0, 0]
    if not np.allclose(crop_to_image_23[:, :2], zoom * np.eye(2), atol=1e-5 * abs(zoom)):
        raise LiftjaxError(
            "The released trainer knows no rotated or mirrored crops; turn augmentation off."
        )
    return geometry.apply_affine(crop_to_image_23, size / 2), zoom * size / _PIXEL_STD


def _image_affine(center_2: Tensor, scale_2: Tensor, map_size: tuple[int, int]) -> np.ndarray:
    """(2, 3) from map to image pixels, solved from three pairs of points made one by one."""
    height, width = map_size
    reach = scale_2[0] * _PIXEL_STD
    image, map_ = torch.zeros(3, 2), torch.zeros(3, 2)
    image[0] = center_2
    image[1] = center_2 + _turned(torch.stack([torch.zeros(()), reach * -0.5]), torch.tensor(0.0))
    map_[0] = torch.tensor([width * 0.5, height * 0.5])
    map_[1] = map_[0] + torch.tensor([0.0, width * -0.5])
    for points in (image, map_):
        direction = points[0] - points[1]
        points[2] = points[1] + torch.stack([-direction[1], direction[0]])
    return cv2.getAffineTransform(map_.numpy(), image.numpy())


def _turned(point_2: Tensor, angle: Tensor) -> Tensor:
    sin, cos = torch.sin(angle), torch.cos(angle)
    turned = torch.zeros(2)
    turned[0] = point_2[0] * cos - point_2[1] * sin
    turned[1] = point_2[0] * sin + point_2[1] * cos
    return turned


def _hard_joints(loss_2d_BK: Tensor, error_BK: Tensor) -> Tensor:
    """The mean 2D loss of the joints that lift worst, chosen sample by sample."""
    total = 0.0
    for loss_K, error_K in zip(loss_2d_BK, error_BK, strict=True):
        _, hardest = torch.topk(error_K, k=_TOP_K, dim=0, sorted=False)
        total = total + torch.gather(loss_K, 0, hardest).sum() / _TOP_K
    return total / len(loss_2d_BK)


def _lifter_weights(history: Sequence[list[Tensor]], temperature: float = 2.0) -> list[float]:
    """Dynamic weight averaging on the host, from the losses of the two steps before this one."""
    older, newer = history[-3], history[-2]
    ratios = [n.cpu().numpy() / o.cpu().numpy() for o, n in zip(older, newer, strict=True)]
    exponentials = [np.exp((ratio - max(ratios)) / temperature) for ratio in ratios]
    return [float(e / sum(exponentials)) for e in exponentials]
