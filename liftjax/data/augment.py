"""Random changes of samples that keep picture, 2D, 3D and camera consistent.

There are two kinds. `rotation` and `scale` change only the crop that the detector sees: they are
part of `crop_to_image`, labels stay the same, and a lifter still gets an upright pose in the
original picture. `flip` and `roll` change the view itself (:func:`transform_view`): the original
picture is mirrored or turned, and with it 2D joints, 3D pose and camera.

The changes of a sample depend only on the seed, the step and its row in the batch.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from liftjax import geometry
from liftjax.errors import LiftjaxError, check_name

_STREAM = 2**31  # keeps these random numbers apart from those of the order of samples
_LUMA = np.array([0.299, 0.587, 0.114])
_MIDDLE_GREY = 128.0


@dataclasses.dataclass(frozen=True)
class Augment:
    """The largest changes, drawn uniformly up to these; all are zero by default.

    Attributes:
      flip: probability of the mirror image.
      rotation: the crop turns by up to this many degrees either way.
      scale: the crop shows up to this share more or less of the picture; 0.25 means 0.75 to 1.25.
      color: contrast and saturation change by up to this share, brightness by up to this share of
        half its range, each independently.
      roll: the whole view turns about the optical axis by up to this many degrees either way.
    """

    flip: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    color: float = 0.0
    roll: float = 0.0

    def __post_init__(self):
        most = {"flip": 1, "rotation": 180, "scale": 0.9, "color": 1, "roll": 180}
        for key, limit in most.items():
            if not 0 <= getattr(self, key) <= limit:
                raise LiftjaxError(
                    f"config.data.augment.{key} is {getattr(self, key)}; choose a number from 0 to "
                    f"{limit}."
                )

    @classmethod
    def of(cls, amounts: "Augment | Mapping | None") -> "Augment":
        """The amounts of a recipe's section; None means no change."""
        if isinstance(amounts, Augment):
            return amounts
        known = [field.name for field in dataclasses.fields(cls)]
        for key in amounts or {}:
            check_name("config.data.augment", key, known)
        return cls(**(amounts or {}))

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))


class Draws(NamedTuple):
    """The changes of each sample of a batch.

    Attributes:
      reflect: (B,) bool.
      roll: (B,) radians.
      rotation: (B,) radians, of the crop.
      scale: (B,) factor of the region that the crop shows.
      color: (B, 3, 4) affine of the colours R, G, B (see :func:`color_matrix`), or None.
    """

    reflect: np.ndarray
    roll: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    color: np.ndarray | None

    def repeated(self, times: int) -> "Draws":
        """The changes of `times` frames of each sample: (B * times, ...)."""
        return Draws(*(None if draw is None else draw.repeat(times, axis=0) for draw in self))


def draw_changes(amounts: Augment, seed: int, step: int, rows: slice, batch_size: int) -> Draws:
    """The changes for `rows` of the batch of `step`; the same for a row whatever `rows` are."""
    uniform = np.random.default_rng([seed, step, _STREAM]).random((batch_size, 7))[rows]
    chance, turn, size, roll, *colors = uniform.T
    color = None
    if amounts.color:
        color = color_matrix(*(amounts.color * (2 * u - 1) for u in colors))
    return Draws(
        reflect=chance < amounts.flip,
        roll=np.radians(amounts.roll) * (2 * roll - 1),
        rotation=np.radians(amounts.rotation) * (2 * turn - 1),
        scale=1 + amounts.scale * (2 * size - 1),
        color=color,
    )


def color_matrix(brightness, contrast, saturation) -> np.ndarray:
    """(B, 3, 4) maps of colours (R, G, B, 1) from amounts (B,); 0 changes nothing."""
    brightness, contrast, saturation = (np.asarray(a) for a in (brightness, contrast, saturation))
    full, grey = np.eye(3), np.tile(_LUMA, (3, 1))
    mix = grey + (1 + saturation)[:, None, None] * (full - grey)
    gain = 1 + contrast
    shift = _MIDDLE_GREY * (brightness - contrast)
    return np.concatenate(
        [gain[:, None, None] * mix, np.broadcast_to(shift[:, None, None], (len(gain), 3, 1))], -1
    )


def transform_view(labels: Mapping, reflect, angle, flip_permutation) -> dict[str, np.ndarray]:
    """The labels of N samples after their pictures were mirrored and turned about their centre.

    Q is the 2x2 matrix of mirroring and turning, A the same change as a map of the picture's
    pixels. Points in camera axes become Q X, pixels A x, and the camera matrix A K Q^-1. The radial
    terms of the lens distortion stay, and its tangential vector (p2, p1) becomes Q (p2, p1), in
    both distortion models. The rotation R of the camera stays a proper one, because a mirrored
    picture is a picture of the mirrored world, x to -x.

    Left and right joints are exchanged where a picture is mirrored. The new box encloses the turned
    old one. Joints keep their visibility, as all of the picture is still there. Samples without a
    3D pose or a camera, whose fields are zero, keep zeros.

    Args:
      labels: stacked fields of `Record`; `image_size` is needed, unknown fields stay.
      reflect: (N,) bool, whether to mirror left to right first.
      angle: (N,) radians by which to turn then, from x towards y (clockwise as seen).
      flip_permutation: (K,) indices that swap left and right joints.
    """
    reflect, angle = np.asarray(reflect, bool), np.asarray(angle, np.float64)
    Q = _turn(reflect, angle)
    A = _about(Q, (np.asarray(labels["image_size"], np.float64) - 1) / 2)
    changed = {
        "joints_px": lambda v: geometry.apply_affine(A, _swapped(v, reflect, flip_permutation)),
        "joint_visible": lambda v: _swapped(v, reflect, flip_permutation),
        "pose_m": lambda v: _swapped(v, reflect, flip_permutation) @ np.swapaxes(_in_3d(Q), 1, 2),
        "root_m": lambda v: (_in_3d(Q) @ v[..., None])[..., 0],
        "box_xyxy": lambda v: _enclosing(A, v),
        "stored_to_image": lambda v: geometry.compose_affine(A, v),
        "camera_K": lambda v: _affine_3x3(A) @ v @ np.swapaxes(_in_3d(Q), 1, 2),
        "camera_R": lambda v: _in_3d(Q) @ v @ _world_mirror(reflect),
        "camera_t": lambda v: (_in_3d(Q) @ v[..., None])[..., 0],
        "camera_distortion": lambda v: _turned_distortion(Q, v),
    }
    result = dict(labels)
    for key in changed.keys() & labels.keys():
        value = np.asarray(labels[key])
        wide = value if value.dtype == bool else value.astype(np.float64)
        result[key] = changed[key](wide).astype(value.dtype)
    return result


def _turn(reflect, angle) -> np.ndarray:
    """(N, 2, 2): x to -x where `reflect`, then the turn."""
    cos, sin = np.cos(angle), np.sin(angle)
    sign = np.where(reflect, -1.0, 1.0)
    return np.stack([np.stack([sign * cos, -sin], -1), np.stack([sign * sin, cos], -1)], -2)


def _about(Q, center) -> np.ndarray:
    """(N, 2, 3) affine maps Q (x - center) + center."""
    shift = center - (Q @ center[..., None])[..., 0]
    return np.concatenate([Q, shift[..., None]], axis=-1)


def _in_3d(Q) -> np.ndarray:
    """(N, 3, 3): Q on x and y, z as it is."""
    full = np.tile(np.eye(3), (len(Q), 1, 1))
    full[:, :2, :2] = Q
    return full


def _affine_3x3(A) -> np.ndarray:
    return np.concatenate([A, np.tile([[[0.0, 0.0, 1.0]]], (len(A), 1, 1))], axis=1)


def _world_mirror(reflect) -> np.ndarray:
    full = np.tile(np.eye(3), (len(reflect), 1, 1))
    full[:, 0, 0] = np.where(reflect, -1.0, 1.0)
    return full


def _turned_distortion(Q, distortion) -> np.ndarray:
    """(N, 5) k1, k2, p1, p2, k3; the tangential vector is (p2, p1)."""
    turned = distortion.copy()
    turned[:, [3, 2]] = (Q @ distortion[:, [3, 2], None])[..., 0]
    return turned


def _swapped(values, reflect, flip_permutation) -> np.ndarray:
    """Joints on axis 1, left and right exchanged where `reflect`."""
    where = reflect.reshape(-1, *(1,) * (values.ndim - 1))
    return np.where(where, values[:, flip_permutation], values)


def _enclosing(A, box_xyxy) -> np.ndarray:
    """(N, 4) upright boxes around the turned ones."""
    corners = geometry.apply_affine(A, box_xyxy[:, [[0, 1], [2, 1], [0, 3], [2, 3]]])
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=-1)
