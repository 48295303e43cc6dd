"""Named joint sets and the named arrows between them.

A pose array means nothing without its joint set, so every data set, detector and lifter names
one, and arrays pass from one set to another only through :func:`convert`, which refuses a wrong
joint count and tells which joints are exact and which are derived.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from liftjax.errors import LiftjaxError, unknown_name


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A joint set: joint names in array order, bones as pairs of names, and the root joint.

    Joints named ``left_*`` and ``right_*`` mirror each other.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[str, str], ...]
    root: str | None

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Position of `joint` in arrays of this set."""
        try:
            return self.joints.index(joint)
        except ValueError:
            raise unknown_name(f"joint of {self.name}", joint, self.joints) from None

    @functools.cached_property
    def root_index(self) -> int:
        if self.root is None:
            raise LiftjaxError(f"The joint set {self.name} has no root joint; convert it first.")
        return self.index(self.root)

    @functools.cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Bones as index pairs (parent, child)."""
        return tuple((self.index(a), self.index(b)) for a, b in self.bones)

    @functools.cached_property
    def flip_permutation(self) -> np.ndarray:
        """(K,) indices that swap left and right: ``mirrored = pose[..., flip_permutation, :]``."""
        swap = {"left_": "right_", "right_": "left_"}
        mirrored = []
        for joint in self.joints:
            side = next((s for s in swap if joint.startswith(s)), "")
            mirrored.append(self.index(swap.get(side, "") + joint.removeprefix(side)))
        return np.asarray(mirrored)


_LIMBS = tuple(
    bone
    for side in ("left", "right")
    for bone in (
        (f"{side}_hip", f"{side}_knee"),
        (f"{side}_knee", f"{side}_ankle"),
        (f"{side}_shoulder", f"{side}_elbow"),
        (f"{side}_elbow", f"{side}_wrist"),
    )
)

HUMAN36M = Skeleton(
    name="human36m",
    joints=(
        "hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "thorax", "nose", "head_top", "left_shoulder", "left_elbow", "left_wrist",
        "right_shoulder", "right_elbow", "right_wrist",
    ),
    bones=(
        ("hip", "right_hip"), ("hip", "left_hip"), ("hip", "spine"), ("spine", "thorax"),
        ("thorax", "nose"), ("nose", "head_top"), ("thorax", "left_shoulder"),
        ("thorax", "right_shoulder"), *_LIMBS,
    ),
    root="hip",
)  # fmt: skip

PANOPTIC = Skeleton(
    name="panoptic",
    joints=(
        "neck", "nose", "hip", "left_shoulder", "left_elbow", "left_wrist", "left_hip",
        "left_knee", "left_ankle", "right_shoulder", "right_elbow", "right_wrist", "right_hip",
        "right_knee", "right_ankle",
    ),
    bones=(
        ("hip", "neck"), ("neck", "nose"), ("neck", "left_shoulder"), ("neck", "right_shoulder"),
        ("hip", "left_hip"), ("hip", "right_hip"), *_LIMBS,
    ),
    root="hip",
)  # fmt: skip

_COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
_COCO_BONES = (
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"),
    ("right_eye", "right_ear"), ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"), ("left_hip", "right_hip"),
    *_LIMBS,
)  # fmt: skip

COCO = Skeleton(name="coco", joints=_COCO_JOINTS, bones=_COCO_BONES, root=None)

BODY25 = Skeleton(
    name="body25",  # OpenPose
    joints=(
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
        "left_elbow", "left_wrist", "hip", "right_hip", "right_knee", "right_ankle", "left_hip",
        "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear",
        "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe",
        "right_heel",
    ),
    bones=(
        ("hip", "neck"), ("neck", "nose"), ("neck", "left_shoulder"), ("neck", "right_shoulder"),
        ("hip", "left_hip"), ("hip", "right_hip"), *_LIMBS,
    ),
    root="hip",
)  # fmt: skip

BODY25B = Skeleton(
    name="body25b",  # OpenPose's later model: the first 17 are COCO's
    joints=(
        *_COCO_JOINTS, "upper_neck", "head_top", "left_big_toe", "left_small_toe", "left_heel",
        "right_big_toe", "right_small_toe", "right_heel",
    ),
    bones=(*_COCO_BONES, ("upper_neck", "head_top")),
    root=None,
)  # fmt: skip


def _wholebody_joints() -> tuple[str, ...]:
    feet = tuple(f"{s}_{p}" for s in ("left", "right") for p in ("big_toe", "small_toe", "heel"))
    # The face is not mirrored by name: its 68 points have an order of their own (iBUG 300-W).
    face = tuple(f"face_{i}" for i in range(68))
    hands = tuple(f"{s}_hand_{i}" for s in ("left", "right") for i in range(21))
    return _COCO_JOINTS + feet + face + hands


WHOLEBODY = Skeleton(name="wholebody", joints=_wholebody_joints(), bones=_COCO_BONES, root=None)

SKELETONS = {s.name: s for s in (HUMAN36M, PANOPTIC, COCO, BODY25, BODY25B, WHOLEBODY)}


def get_skeleton(name: str) -> Skeleton:
    """The joint set called `name`."""
    if name not in SKELETONS:
        raise unknown_name("skeleton", name, SKELETONS)
    return SKELETONS[name]


# Joints of the target that the source lacks, as weighted sums of source joints. A joint that is
# not named here is copied from the source joint of the same name.
_MID_HIP = {"left_hip": 0.5, "right_hip": 0.5}
_MID_SHOULDER = {"left_shoulder": 0.5, "right_shoulder": 0.5}
# The crown lies on the line from the neck through the point between the ears, 0.6 of that
# distance further: it matches Human3.6M's proportions to about two centimetres.
_COCO_TO_HUMAN36M = {
    "hip": _MID_HIP,
    "thorax": _MID_SHOULDER,
    "spine": {"left_hip": 0.25, "right_hip": 0.25, "left_shoulder": 0.25, "right_shoulder": 0.25},
    "head_top": {"left_ear": 0.8, "right_ear": 0.8, "left_shoulder": -0.3, "right_shoulder": -0.3},
}
_DERIVED: dict[tuple[str, str], dict[str, dict[str, float]]] = {
    ("human36m", "panoptic"): {"neck": {"thorax": 1.0}},
    ("body25", "human36m"): {
        "thorax": {"neck": 1.0},
        "spine": {"hip": 0.5, "neck": 0.5},
        "head_top": {"left_ear": 0.8, "right_ear": 0.8, "neck": -0.6},
    },
    ("coco", "human36m"): _COCO_TO_HUMAN36M,
    ("wholebody", "human36m"): _COCO_TO_HUMAN36M,
    ("body25b", "human36m"): {k: v for k, v in _COCO_TO_HUMAN36M.items() if k != "head_top"},
    ("coco", "panoptic"): {"hip": _MID_HIP, "neck": _MID_SHOULDER},
    ("body25", "panoptic"): {},
    ("wholebody", "coco"): {},
}


@functools.cache
def conversion_matrix(source: str, target: str) -> np.ndarray:
    """(K_target, K_source) weights of the arrow ``source -> target``; every row sums to 1."""
    a, b = get_skeleton(source), get_skeleton(target)
    if source == target:
        return np.eye(a.num_joints)
    if (source, target) not in _DERIVED:
        known = ", ".join(f"{s} -> {t}" for s, t in _DERIVED)
        raise LiftjaxError(f"No conversion {source} -> {target}; there are {known}.")
    derived = _DERIVED[source, target]
    matrix = np.zeros((b.num_joints, a.num_joints))
    for row, joint in enumerate(b.joints):
        for name, weight in derived.get(joint, {joint: 1.0}).items():
            matrix[row, a.index(name)] = weight
    return matrix


def derived_joints(source: str, target: str) -> tuple[str, ...]:
    """Joints of `target` that are weighted sums rather than copies of a joint of `source`."""
    matrix = conversion_matrix(source, target)
    exact = (matrix != 0).sum(axis=1) == 1
    return tuple(j for j, e in zip(get_skeleton(target).joints, exact, strict=True) if not e)


def check_joints(array, skeleton: str, axis: int = -2, what: str = "pose") -> None:
    """Raises unless `array` has the joint count of `skeleton` on `axis`."""
    expected = get_skeleton(skeleton).num_joints
    if array.shape[axis] != expected:
        same = [s.name for s in SKELETONS.values() if s.num_joints == array.shape[axis]]
        hint = f" (that is the count of {', '.join(same)})" if same else ""
        raise LiftjaxError(
            f"The {what} has {array.shape[axis]} joints{hint}, but {skeleton} has {expected}; "
            f"convert it with liftjax.skeletons.convert(..., source, {skeleton!r})."
        )


def convert(points, source: str, target: str):
    """Points (..., K_source, D) of one joint set as points (..., K_target, D) of another."""
    check_joints(points, source)
    matrix = conversion_matrix(source, target).astype(points.dtype)
    flat = points.reshape(-1, *points.shape[-2:])
    if isinstance(points, jax.Array):
        # Accelerators round the operands of a product to ten bits or less unless told.
        converted = jnp.matmul(matrix, flat, precision=jax.lax.Precision.HIGHEST)
    else:
        converted = matrix @ flat
    return converted.reshape(*points.shape[:-2], *converted.shape[-2:])


def convert_confidence(confidence, source: str, target: str):
    """Confidences (..., K_source) as (..., K_target): a derived joint has its worst source's."""
    check_joints(confidence, source, axis=-1, what="confidence")
    used = conversion_matrix(source, target) != 0
    return np.stack([confidence[..., row].min(axis=-1) for row in used], axis=-1)
