"""The training step as a PyTorch engineer who cares for speed would write it.

It is vectorised and never waits for the device. Images are channels-last; they are sent as bytes
and normalised on the device, where the targets are made too. With bfloat16 the detector runs under
autocast; soft-argmax, lifters and losses stay float32. Adam is fused. On CUDA, everything from the
images to the loss goes through `torch.compile`; float32 products are TF32, except in the affine
maps of coordinates; and the whole step with its optimizer is replayed as one CUDA graph.

Legend: B batch, K joints, M lifters.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from flax import nnx
from torch import Tensor

from liftjax.benchmark.torch_peer import losses, twin_of
from liftjax.benchmark.torch_peer.compiling import Captured, compiled
from liftjax.benchmark.torch_peer.lifting import FrozenLifter
from liftjax.benchmark.torch_peer.trainer import Trainer, check_labelled
from liftjax.losses import DEFAULT_WEIGHTS

_KEYS = ("image_u8", "crop_to_image", "joints_px", "joint_visible", "pose_m", "image_size")


class Tuned(Trainer):
    """The trainer that the module describes.

    Args:
      precision: of the detector, "float32" or "bfloat16".
      compile_mode: mode of `torch.compile`; with None nothing is compiled and there is no CUDA
        graph.
    """

    def __init__(
        self,
        module: nnx.Module,
        lifters: Sequence[nnx.Module],
        precision: str,
        learning_rate: float,
        compile_mode: str | None,
    ):
        super().__init__()
        self.spec, self.bfloat16 = module.spec, precision == "bfloat16"
        self.weights = DEFAULT_WEIGHTS[self.spec.kind]
        self.detector = self._twin(module).train()
        # It shares the tensors: switching the mode of thousands of layers takes milliseconds.
        self.evaluated = self._twin(module).eval()
        self.evaluated.load_state_dict(self.detector.state_dict(), assign=True)
        frozen = torch.nn.ModuleList(FrozenLifter(lifter) for lifter in lifters)
        self.lifters = frozen.to(self.device).requires_grad_(False)
        self.mean, self.std = (
            torch.tensor(v, device=self.device) for v in (self.spec.mean, self.spec.std)
        )
        self.history_2M = torch.ones(2, len(lifters), device=self.device)
        self.optimizer = torch.optim.Adam(
            self.detector.parameters(), learning_rate, fused=True, capturable=self.on_cuda
        )
        self._objective, self._predict = self.objective, self.predict
        self._step: Callable = self._eager_step
        self._forward: Callable = lambda placed: self._predict(placed["image_u8"])
        if compile_mode is not None:
            self._objective = compiled(self.objective, compile_mode)
            self._predict = compiled(self.predict, compile_mode)
            if self.on_cuda:
                self._step = Captured(self._step, self._state)
                self._forward = Captured(self._forward, self._state)

    def _twin(self, module: nnx.Module) -> torch.nn.Module:
        return twin_of(module).to(self.device, memory_format=torch.channels_last)

    def _state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        optimizer = [t for state in self.optimizer.state.values() for t in state.values()]
        return [*self.detector.state_dict().values(), self.history_2M, *optimizer]

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, Tensor]:
        check_labelled(batch)
        tensors = {key: torch.from_numpy(np.require(batch[key], None, "CW")) for key in _KEYS}
        if not self.on_cuda:
            return tensors
        return {
            key: tensor.pin_memory().to(self.device, non_blocking=True)
            for key, tensor in tensors.items()
        }

    def forward(self, placed: dict[str, Tensor]) -> Any:
        with _tf32(), torch.no_grad():
            return self._forward(placed)

    def step(self, placed: dict[str, Tensor]) -> dict[str, Tensor | float]:
        with _tf32():
            return self._step(placed)

    def _eager_step(self, placed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Everything but the objective is eager."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._objective(placed, self.history_2M)
        terms["loss"].backward()
        self.optimizer.step()
        terms = {name: value.detach() for name, value in terms.items()}
        if self.lifters:
            mse_M = terms.pop("mse_M")
            self.history_2M.copy_(torch.stack([self.history_2M[1], mse_M]))
            terms |= {f"mse_{m}": value for m, value in enumerate(mse_M)}
        return terms

    def predict(self, image_u8_BHWC: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        """The detector's output, as a tuple of float32."""
        images = self._normalize(image_u8_BHWC)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            out = (self.detector if training else self.evaluated)(images)
        out = out if isinstance(out, tuple) else (out,)
        return tuple(o.float() for o in out)

    def objective(self, batch: dict[str, Tensor], history_2M: Tensor) -> dict[str, Tensor]:
        """The loss and its terms, a pure function apart from the running statistics."""
        out = self.predict(batch["image_u8"], training=True)
        loss_2d_BK = self._loss_2d(out, batch)
        if not self.lifters:
            loss_2d = loss_2d_BK.mean()
            return {"loss": self.weights.l_2d * loss_2d, "loss_2d": loss_2d}
        px_BK2 = _apply_affine(batch["crop_to_image"], self._decode(out))
        poses = [lifter(px_BK2, batch["image_size"]) for lifter in self.lifters]
        part_2d, part_3d, terms = losses.guided_loss_terms(
            loss_2d_BK,
            torch.stack(poses),
            batch["pose_m"],
            losses.dwa_weights(history_2M),
            self.weights,
        )
        return {"loss": part_2d + part_3d, **terms}

    def _normalize(self, image_u8_BHWC: Tensor) -> Tensor:
        """(B, 3, H, W), in memory channels last as the bytes are."""
        return ((image_u8_BHWC / 255 - self.mean) / self.std).permute(0, 3, 1, 2)

    def _decode(self, out: tuple[Tensor, ...]) -> Tensor:
        """Joints (B, K, 2) in crop pixels."""
        if self.spec.kind == "heatmap":
            return losses.soft_argmax_2d(*out) * self.spec.stride
        return torch.stack([losses.soft_argmax_1d(o) for o in out], dim=-1) * self.spec.stride

    def _loss_2d(self, out: tuple[Tensor, ...], batch: dict[str, Tensor]) -> Tensor:
        joints_crop_BK2 = _apply_inverse(batch["crop_to_image"], batch["joints_px"])
        spec = self.spec
        places = (joints_crop_BK2, batch["joint_visible"], spec.output_size, spec.stride)
        if spec.kind == "heatmap":
            wanted = losses.gaussian_heatmaps(*places, spec.sigma)
            return losses.heatmap_loss_per_joint(*out, *wanted)
        return losses.simcc_loss_per_joint(*out, *losses.simcc_labels(*places, spec.sigma))


def _apply_affine(affine_B23: Tensor, points_BK2: Tensor) -> Tensor:
    # Written out: a product in TF32 would round pixels.
    matrix_B122 = affine_B23[:, None, :, :2]
    return (matrix_B122 * points_BK2[:, :, None]).sum(-1) + affine_B23[:, None, :, 2]


def _apply_inverse(affine_B23: Tensor, points_BK2: Tensor) -> Tensor:
    (a, b), (c, d) = (row.unbind(-1) for row in affine_B23[:, None, :, :2].unbind(-2))
    x, y = (points_BK2 - affine_B23[:, None, :, 2]).unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], dim=-1) / (a * d - b * c)[..., None]


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """Lets float32 matrix products be TF32 in the block; otherwise the whole process would."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
