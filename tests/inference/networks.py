"""Small networks with fresh weights, and run directories of them."""

from pathlib import Path

import numpy as np
from flax import nnx

from liftjax import create_detector, create_lifter
from liftjax.interchange import exporting

DETECTOR, LIFTER = "rtmpose_tiny", "simple_baseline"


def detector(skeleton: str = "human36m", seed: int = 0) -> nnx.Module:
    return create_detector(DETECTOR, skeleton=skeleton, image_size=(64, 64), rngs=nnx.Rngs(seed))


def lifter(skeleton: str = "human36m") -> nnx.Module:
    return create_lifter(LIFTER, skeleton=skeleton, linear_size=16, num_stages=1, rngs=nnx.Rngs(0))


def runs(folder: Path) -> tuple[str, str, str]:
    """Run directories of a detector, a lifter of single frames, and one of nine frames."""
    wanted = {
        "detector": (DETECTOR, ["image_size=(64,64)"]),
        "lifter": (LIFTER, ["linear_size=16", "num_stages=1"]),
        "video_lifter": ("videopose3d", ["filter_widths=(3,3)", "channels=16", "num_frames=9"]),
    }
    for name, (model, sizes) in wanted.items():
        exporting.export_network(
            str(folder / name), format="orbax", model=model, skeleton="human36m", overrides=sizes
        )
    return tuple(str(folder / name) for name in wanted)


def that_finds(kpts_crop_K2: np.ndarray, picture: np.ndarray, skeleton: str) -> nnx.Module:
    """A detector that finds these joints, each at its place, in the crop `picture`.

    The last layer is linear in a token of each joint, so the one that gives the wanted vectors for
    the tokens of this picture follows from least squares.

    Args:
      kpts_crop_K2: (x, y) in pixels of the crop.
      picture: (64, 64, 3) uint8.
      skeleton: joint set of the K joints.
    """
    count = len(kpts_crop_K2)
    module = create_detector(
        DETECTOR, skeleton=skeleton, image_size=(64, 64), channels=max(64, 2 * count),
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    head, bins = module.head, np.arange(128)
    head.final_layer.kernel[...] *= 1000  # else the joints' tokens are alike
    width = head.cls_x.kernel.shape[0]
    tokens = []
    for first in range(0, width, len(bins)):
        part = np.eye(width, dtype=np.float32)[:, first : first + len(bins)]
        head.cls_x.kernel[...] = np.pad(part, ((0, 0), (0, len(bins) - part.shape[1])))
        out = module(module.spec.normalize(picture[None]))
        tokens.append(np.asarray(out.x)[0, :, : part.shape[1]])
    inverse = np.linalg.pinv(np.concatenate(tokens, axis=1))
    for layer, places in ((head.cls_x, kpts_crop_K2[:, 0]), (head.cls_y, kpts_crop_K2[:, 1])):
        wanted = 3 * np.exp(-np.square((bins / 2 - places[:, None]) / 2))
        layer.kernel[...] = (inverse @ wanted).astype(np.float32)
    return module
