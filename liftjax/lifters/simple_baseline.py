"""SimpleBaseline: a residual multilayer perceptron over one pose.

Martinez, Hossain, Romero, Little, "A simple yet effective baseline for 3d human pose
estimation", ICCV 2017.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.lifters.published import published_lifter
from liftjax.lifters.spec import Lifter, LifterSpec
from liftjax.nn.declaration import count_layers
from liftjax.nn.initial import constant, he_normal, ones, zeros
from liftjax.nn.layers import BatchNorm, Dropout, Linear
from liftjax.nn.variables import Statistic

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


PRESETS = {
    "simple_baseline": published_lifter(
        SimpleBaseline,
        "Martinez et al., ICCV 2017",
        "MIT",
        mark=("linear_stages.0.w1.weight", "w1.weight"),
        joints=lambda shapes: shapes["w1.weight"][1] // 2,
        sizes=lambda shapes: {
            "linear_size": shapes["w1.weight"][0],
            "num_stages": count_layers(shapes, r"linear_stages\.(\d+)\."),
        },
        rename=lambda key: key.replace("batch_norm", "bn"),  # its PyTorch authors' name
    )
}
