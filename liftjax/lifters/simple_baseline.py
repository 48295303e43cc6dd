"""SimpleBaseline: a residual multilayer perceptron over one pose.

Martinez, Hossain, Romero, Little, "A simple yet effective baseline for 3d human pose
estimation", ICCV 2017.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.lifters.published import mmpose_names, published_lifter, renamed
from liftjax.lifters.spec import Lifter, LifterSpec
from liftjax.nn.declaration import State, count_layers
from liftjax.nn.initial import constant, he_normal, ones, zeros
from liftjax.nn.layers import BatchNorm, Dropout, Linear
from liftjax.nn.variables import Statistic
from liftjax.skeletons import get_skeleton
from liftjax.torch_weights import as_numpy

_EPSILON = 1e-8  # for the root joint, whose deviation is 0
_HE_NORMAL, _ZEROS = he_normal(), constant(0.0)


def _linear(in_features: int, out_features: int, rngs: nnx.Rngs) -> Linear:
    return Linear(in_features, out_features, kernel_init=_HE_NORMAL, bias_init=_ZEROS, rngs=rngs)


class Stage(nnx.Module):
    """Residual block: twice linear, batch norm, ReLU, dropout."""

    def __init__(self, linear_size: int, dropout: float, rngs: nnx.Rngs):
        self.w1 = _linear(linear_size, linear_size, rngs)
        self.bn1 = BatchNorm(linear_size)
        self.w2 = _linear(linear_size, linear_size, rngs)
        self.bn2 = BatchNorm(linear_size)
        self.dropout = Dropout(dropout)

    def __call__(self, x: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        y = self.dropout(nnx.relu(self.bn1(self.w1(x), train=train)), rngs)
        y = self.dropout(nnx.relu(self.bn2(self.w2(y), train=train)), rngs)
        return x + y


class SimpleBaseline(Lifter):
    """Lifts each frame by itself, from standardised pixels to standardised metres.

    The mean and deviation of the training set, per joint and axis, are part of the module:
    (K, 2) in pixels and (K, 3) in metres. They are 0 and 1 until `set_statistics` is called.

    Args:
      skeleton: joint set.
      num_frames: length of clips, in which each frame is lifted by itself.
      linear_size: width of the layers.
      num_stages: how many residual blocks.
      dropout: rate of the dropout.
    """

    def __init__(
        self,
        skeleton: str = "human36m",
        num_frames: int = 1,
        *,
        linear_size: int = 1024,
        num_stages: int = 2,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
    ):
        super().__init__(LifterSpec(skeleton, num_frames, input="zscore", output="zscore"))
        joints = self.spec.num_joints
        self.w1 = _linear(2 * joints, linear_size, rngs)
        self.bn1 = BatchNorm(linear_size)
        stages = [Stage(linear_size, dropout, rngs) for _ in range(num_stages)]
        self.linear_stages = nnx.List(stages)
        self.w2 = _linear(linear_size, 3 * joints, rngs)
        self.dropout = Dropout(dropout)
        self.mean_2d = Statistic(zeros(joints, 2))
        self.std_2d = Statistic(ones(joints, 2))
        self.mean_3d = Statistic(zeros(joints, 3))
        self.std_3d = Statistic(ones(joints, 3))

    def set_statistics(self, mean_2d, std_2d, mean_3d, std_3d) -> None:
        """Sets the training set's mean and deviation: (K, 2) pixels and (K, 3) metres.

        Raises:
          LiftjaxError: a shape is of another joint set.
        """
        given = {"mean_2d": mean_2d, "std_2d": std_2d, "mean_3d": mean_3d, "std_3d": std_3d}
        arrays = {name: jnp.array(value, jnp.float32) for name, value in given.items()}
        for name, value in arrays.items():
            expected = getattr(self, name).shape
            if value.shape != expected:
                raise LiftjaxError(
                    f"The statistic {name} has shape {value.shape}, but {self.spec.skeleton} "
                    f"needs {expected}; measure it on data of that joint set."
                )
        for name, value in arrays.items():
            getattr(self, name)[...] = value

    def embed(self, x_BTK2: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        y = self.w1(x_BTK2.reshape(*x_BTK2.shape[:2], -1))
        return self.dropout(nnx.relu(self.bn1(y, train=train)), rngs)

    def refine(self, features: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        for stage in self.linear_stages:
            features = stage(features, train, rngs)
        return features

    def regress(self, features: jax.Array) -> jax.Array:
        return self.w2(features).reshape(*features.shape[:2], -1, 3)

    def normalize(self, kpts_px_BTK2: jax.Array, image_size_B2: jax.Array) -> jax.Array:
        """Standardised pixels; the image's size does not matter."""
        return _standardize(kpts_px_BTK2, self.mean_2d[...], self.std_2d[...])

    def to_metres(self, raw_BTK3: jax.Array) -> jax.Array:
        return raw_BTK3 * self.std_3d[...][None, None] + self.mean_3d[...][None, None]

    def target(self, pose_m_BTK3: jax.Array) -> jax.Array:
        return _standardize(pose_m_BTK3, self.mean_3d[...], self.std_3d[...])


def _standardize(pose_BTKD: jax.Array, mean_KD: jax.Array, std_KD: jax.Array) -> jax.Array:
    dtype = jnp.promote_types(jnp.asarray(pose_BTKD).dtype, mean_KD.dtype)
    return (jnp.asarray(pose_BTKD, dtype) - mean_KD[None, None]) / (std_KD + _EPSILON)[None, None]


_MMPOSE = mmpose_names("w1.", "bn1.", "w2.", r"linear_stages.\1.w\2.", r"linear_stages.\1.bn\2.")
_WITHOUT_ONE = 16  # of Human3.6M's joints


def _unpack(state: State) -> tuple[State, list[str]]:
    """MMPose's SimpleBaseline, a temporal network of width 1 whose poses have no root joint."""
    names = ("backbone.expand_conv.conv.weight", "keypoint_head.conv.weight", "head.conv.weight")
    shapes = [tuple(state[name].shape) for name in names if name in state]
    if len(shapes) != 2 or shapes[0][2:] != (1,) or shapes[1][0] != 3 * _WITHOUT_ONE:
        return state, []
    state = renamed(state, _MMPOSE)
    flat = {key: value[..., 0] if value.ndim == 3 else value for key, value in state.items()}
    linear = [key for key in flat if re.fullmatch(r"(linear_stages\.\d+\.)?w[12]\.weight", key)]
    for key in linear:  # there, layers before a batch norm have no bias
        flat.setdefault(key.replace("weight", "bias"), np.zeros(len(flat[key]), np.float32))
    return flat, ["renamed MMPose's arrays to SimpleBaseline's names"]


def _read(state: State) -> tuple[State, list[str]]:
    """Brings 16 of Human3.6M's joints to all 17.

    Programs leave out the nose from the 2D input and the hip, which is the root, from the poses.
    Here these have no weight: the network is the same, and its root lies at the origin.
    """
    state, notes = renamed(state, {"batch_norm": "bn"}), []  # the PyTorch authors' name
    if state["w1.weight"].shape[1] == 2 * _WITHOUT_ONE:
        nose = 2 * get_skeleton("human36m").index("nose")
        state["w1.weight"] = np.insert(as_numpy(state["w1.weight"]), [nose, nose], 0, axis=1)
        notes.append("input of 16 joints: added the nose, without weight")
    if state["w2.weight"].shape[0] == 3 * _WITHOUT_ONE:
        for key in ("w2.weight", "w2.bias"):
            state[key] = np.insert(as_numpy(state[key]), [0, 0, 0], 0, axis=0)
        notes.append("poses of 16 joints: added the hip, at the origin")
    return state, notes


PRESETS = {
    "simple_baseline": published_lifter(
        SimpleBaseline,
        "Martinez et al., ICCV 2017",
        "MIT",
        marks=(("linear_stages.0.w1.weight", "w1.weight"),),
        joints=lambda shapes: shapes["w1.weight"][1] // 2,
        sizes=lambda shapes: {
            "linear_size": shapes["w1.weight"][0],
            "num_stages": count_layers(shapes, r"linear_stages\.(\d+)\."),
        },
        read=_read,
        unpack=_unpack,
    )
}
