"""Small networks with fresh weights, and run directories of them."""

from pathlib import Path

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
