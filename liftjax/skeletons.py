"""Named joint sets and the conversions between them.

A pose array means nothing without its joint set. Every data set, detector and lifter names one, and
arrays pass from one set to another only through :func:`convert`. For a pair of sets
:func:`correspondence` tells how each joint of the target is found: copied from the joint of the
same name, or derived from others. Some may be missing. These conversions miss no joint:

    from                          to                   derived
    human36m                      panoptic             neck (its thorax)
    coco, wholebody               human36m             hip, spine, thorax, head_top
    body25                        human36m             spine, thorax (its neck), head_top
    halpe26                       human36m             spine, thorax (its neck)
    body25b, posetrack18          human36m             hip, spine, thorax
    coco, body25b, wholebody      panoptic             hip, neck
    posetrack18                   panoptic             hip, neck
    body25b                       posetrack18          nothing
    body25, halpe26               panoptic             nothing
    body25, body25b, halpe26, wholebody    coco        nothing
    body25b, wholebody            body25               hip, neck
    halpe26                       body25               nothing
    wholebody                     halpe26              hip, neck, head_top
    body25                        halpe26              head_top
    body25b                       halpe26              hip, neck
    body25b, posetrack18          mpii                 hip, thorax
"""

import dataclasses
import functools

import numpy as np

from liftjax.errors import LiftjaxError, check_name, unknown_name
from liftjax.ops.numerics import matmul, namespace


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A joint set.

    Joints named ``left_*`` and ``right_*`` mirror each other, and so do the pairs in `mirrored`.

    Attributes:
      name: of the set.
      joints: their names in array order.
      bones: pairs of names.
      root: the joint at the origin of 3D poses; None for sets of 2D joints without one.
      mirrored: further pairs of names.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[str, str], ...]
    root: str | None
    mirrored: tuple[tuple[str, str], ...] = ()

    @property
    def num_joints(self) -> int:
        """K, the length of a pose's joint axis."""
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Position of `joint` in arrays of this set.

        Raises:
          LiftjaxError: there is no such joint; the message names the nearest.
        """
        try:
            return self.joints.index(joint)
        except ValueError:
            raise unknown_name(f"joint of {self.name}", joint, self.joints) from None

    @functools.cached_property
    def root_index(self) -> int:
        """Position of the root joint; a LiftjaxError where there is none."""
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
        other = dict(self.mirrored) | {b: a for a, b in self.mirrored}
        images = []
        for joint in self.joints:
            side = next((s for s in swap if joint.startswith(s)), "")
            image = swap.get(side, "") + joint.removeprefix(side)
            images.append(self.index(other.get(joint, image)))
        return np.asarray(images)


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


HALPE26 = Skeleton(
    name="halpe26",  # RTMPose's "body with feet": the first 17 are COCO's
    joints=(
        *_COCO_JOINTS, "head_top", "neck", "hip", "left_big_toe", "right_big_toe",
        "left_small_toe", "right_small_toe", "left_heel", "right_heel",
    ),
    bones=(
        ("hip", "neck"), ("neck", "head_top"), ("neck", "left_shoulder"),
        ("neck", "right_shoulder"), ("hip", "left_hip"), ("hip", "right_hip"), *_LIMBS,
    ),
    root="hip",
)  # fmt: skip

MPII = Skeleton(
    name="mpii",
    joints=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "hip",
        "thorax", "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder",
        "left_shoulder", "left_elbow", "left_wrist",
    ),
    bones=(
        ("hip", "thorax"), ("thorax", "upper_neck"), ("upper_neck", "head_top"),
        ("thorax", "left_shoulder"), ("thorax", "right_shoulder"), ("hip", "left_hip"),
        ("hip", "right_hip"), *_LIMBS,
    ),
    root="hip",
)  # fmt: skip


POSETRACK18 = Skeleton(
    name="posetrack18",
    joints=("nose", "upper_neck", "head_top", *_COCO_JOINTS[3:]),
    bones=(
        ("nose", "head_top"), ("nose", "upper_neck"), ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"), ("left_hip", "right_hip"),
        *_LIMBS,
    ),
    root=None,
)  # fmt: skip

HUMANEVA15 = Skeleton(
    name="humaneva15",  # as VideoPose3D has it; the head is one point
    joints=(
        "hip", "thorax", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder",
        "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle", "right_hip",
        "right_knee", "right_ankle", "head",
    ),
    bones=(
        ("hip", "thorax"), ("thorax", "head"), ("thorax", "left_shoulder"),
        ("thorax", "right_shoulder"), ("hip", "left_hip"), ("hip", "right_hip"), *_LIMBS,
    ),
    root="hip",
)  # fmt: skip


def _wholebody_joints() -> tuple[str, ...]:
    feet = tuple(f"{s}_{p}" for s in ("left", "right") for p in ("big_toe", "small_toe", "heel"))
    face = tuple(f"face_{i}" for i in range(68))
    hands = tuple(f"{s}_hand_{i}" for s in ("left", "right") for i in range(21))
    return _COCO_JOINTS + feet + face + hands


def _face_pairs() -> tuple[tuple[str, str], ...]:
    """Mirror images among the 68 points of the face (iBUG 300-W)."""
    # In each run the first is the mirror image of the last, and so on: jaw, brows, nostrils, then
    # eyes and lips in two parts each.
    runs = [range(17), range(17, 27), range(31, 36)]
    runs += [[*range(36, 40), *range(42, 46)], [40, 41, 46, 47]]
    runs += [range(48, 55), range(55, 60), range(60, 65), range(65, 68)]
    pairs = [p for run in runs for p in zip(run, reversed(run), strict=True) if p[0] < p[1]]
    return tuple((f"face_{a}", f"face_{b}") for a, b in pairs)


WHOLEBODY = Skeleton(
    name="wholebody",  # COCO-WholeBody
    joints=_wholebody_joints(),
    bones=_COCO_BONES,
    root=None,
    mirrored=_face_pairs(),
)

SKELETONS = {
    s.name: s
    for s in (
        HUMAN36M, PANOPTIC, COCO, BODY25, BODY25B, HALPE26, MPII, WHOLEBODY, POSETRACK18, HUMANEVA15
    )
}  # fmt: skip


def get_skeleton(name: str) -> Skeleton:
    """The joint set called `name`, a key of SKELETONS.

    Raises:
      LiftjaxError: there is none; the message names the nearest.
    """
    check_name("skeleton", name, SKELETONS)
    return SKELETONS[name]


# How a joint follows from others if the source lacks it; the first rule whose joints are all there
# counts. The crown lies on the line from the neck through the point between the ears, 0.6 of that
# distance further, which matches Human3.6M's proportions to about two centimetres.
_MID_SHOULDER = {"left_shoulder": 0.5, "right_shoulder": 0.5}
_RULES: dict[str, tuple[dict[str, float], ...]] = {
    "hip": ({"left_hip": 0.5, "right_hip": 0.5},),
    "thorax": ({"neck": 1.0}, _MID_SHOULDER),
    "neck": ({"thorax": 1.0}, _MID_SHOULDER),
    "spine": (
        {"hip": 0.5, "neck": 0.5},
        {"hip": 0.5, "thorax": 0.5},
        {"left_hip": 0.25, "right_hip": 0.25, "left_shoulder": 0.25, "right_shoulder": 0.25},
    ),
    "head_top": (
        {"left_ear": 0.8, "right_ear": 0.8, "neck": -0.6},
        {"left_ear": 0.8, "right_ear": 0.8, "left_shoulder": -0.3, "right_shoulder": -0.3},
    ),
}


@functools.cache
def correspondence(source: str, target: str) -> dict[str, dict[str, float]]:
    """Each joint of `target` as a weighted sum of joints of `source` (weights sum to 1).

    A joint that the source has is copied, whatever rules there are; a joint that it neither has nor
    implies is absent (see :func:`missing_joints`).
    """
    have = set(get_skeleton(source).joints)
    found = {}
    for joint in get_skeleton(target).joints:
        rules = ({joint: 1.0}, *_RULES.get(joint, ()))
        weights = next((rule for rule in rules if have.issuperset(rule)), None)
        if weights is not None:
            found[joint] = weights
    return found


def missing_joints(source: str, target: str) -> tuple[str, ...]:
    """Joints of `target` that `source` neither has nor implies."""
    found = correspondence(source, target)
    return tuple(joint for joint in get_skeleton(target).joints if joint not in found)


def derived_joints(source: str, target: str) -> tuple[str, ...]:
    """Joints of `target` that follow from joints of other names in `source`."""
    found = correspondence(source, target)
    return tuple(joint for joint, weights in found.items() if joint not in weights)


@functools.cache
def conversion_matrix(source: str, target: str) -> np.ndarray:
    """(K_target, K_source) weights of the conversion; every row sums to 1.

    Raises:
      LiftjaxError: the source lacks joints; the message names them.
    """
    missing = missing_joints(source, target)
    if missing:
        complete = [t for t in SKELETONS if t != source and not missing_joints(source, t)]
        more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        raise LiftjaxError(
            f"No conversion {source} -> {target}: {source} has no {', '.join(missing[:6])}{more}; "
            f"it converts to {', '.join(complete) or 'no other set'}."
        )
    return partial_matrix(source, target)[1]


@functools.cache
def partial_matrix(source: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    """The joints of `target` that `source` gives: positions (J,) and weights (J, K_source)."""
    a, b = get_skeleton(source), get_skeleton(target)
    found = correspondence(source, target)
    matrix = np.zeros((len(found), a.num_joints))
    for row, weights in zip(matrix, found.values(), strict=True):
        for name, weight in weights.items():
            row[a.index(name)] = weight
    return np.array([b.index(joint) for joint in found]), matrix


def check_joints(array, skeleton: str, axis: int = -2, what: str = "pose") -> None:
    """Raises a LiftjaxError unless `array` has the joint count of `skeleton` on `axis`.

    Args:
      what: the array's name in the message.
    """
    expected = get_skeleton(skeleton).num_joints
    if array.shape[axis] != expected:
        same = [s.name for s in SKELETONS.values() if s.num_joints == array.shape[axis]]
        hint = f" (that is the count of {', '.join(same)})" if same else ""
        raise LiftjaxError(
            f"The {what} has {array.shape[axis]} joints{hint}, but {skeleton} has {expected}; "
            f"convert it with liftjax.skeletons.convert(..., source, {skeleton!r})."
        )


def convert(points, source: str, target: str):
    """Points of one joint set as points (..., K_target, D) of another, in the same unit.

    Args:
      points: (..., K_source, D), NumPy or JAX; at least float32 comes out.
      source, target: names of joint sets.

    Raises:
      LiftjaxError: the points have another number of joints than `source`, or `source` lacks
        joints of `target`.
    """
    check_joints(points, source)
    xp = namespace(points)
    dtype = xp.promote_types(points.dtype, xp.float32)  # integers would lose halves
    matrix = conversion_matrix(source, target).astype(dtype)
    converted = matmul(matrix, points.astype(dtype).reshape(-1, *points.shape[-2:]))
    return converted.reshape(*points.shape[:-2], *converted.shape[-2:])


def convert_confidence(confidence, source: str, target: str):
    """Confidences (..., K_source) as (..., K_target); a derived joint has the lowest it is made of.

    Raises:
      LiftjaxError: as for :func:`convert`.
    """
    check_joints(confidence, source, axis=-1, what="confidence")
    return lowest(confidence, conversion_matrix(source, target))


def lowest(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(..., J) for values (..., K): the lowest of those that each row of a (J, K) matrix uses."""
    return np.stack([values[..., row != 0].min(axis=-1) for row in matrix], axis=-1)
