"""One small lifter of each kind, for tests of what they have in common."""

from flax import nnx

from liftjax.lifters.iganet import IGANet
from liftjax.lifters.mixste import MixSTE
from liftjax.lifters.simple_baseline import SimpleBaseline
from liftjax.lifters.videopose3d import VideoPose3D

SMALL = {
    "simple_baseline": (SimpleBaseline, {"linear_size": 32, "num_stages": 1}),
    "videopose3d": (VideoPose3D, {"channels": 32, "filter_widths": (1, 1, 1)}),
    "iganet": (IGANet, {"layers": 2, "channels": 16}),
    "mixste": (MixSTE, {"embed_dim": 16, "depth": 2, "num_heads": 4, "drop_path": 0.5}),
}
PAPER = {
    "simple_baseline": (SimpleBaseline, "simple_baseline"),
    "videopose3d": (VideoPose3D, "videopose_t1"),
    "iganet": (IGANet, "iganet_h36m"),
    "mixste": (MixSTE, "mixste_t1"),
}


def build(name, skeleton="human36m", num_frames=1, **overrides):
    cls, sizes = SMALL[name]
    return cls(skeleton, num_frames, **(sizes | overrides), rngs=nnx.Rngs(0))


@nnx.jit
def forward(lifter, x):
    """`lifter(x)` as one program to compile, not one for each kind of operation and shape."""
    return lifter(x)


@nnx.jit
def lift(lifter, px, size):
    """`lifter.lift(px, size)`, likewise."""
    return lifter.lift(px, size)
